//! `split`: each record goes to one of several branches.

use std::{
    cell::RefCell,
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
    topology::{
        Factory,
        graph::{Graph, GraphNode, NodeId},
    },
};

/// A stream that is being split: see [`Stream::split`].
pub struct Split<'t, K, V> {
    stream: Stream<'t, K, V>,
    node: NodeId,
    /// The predicates of the branches so far, in their order. The factory of the node has them too.
    predicates: Predicates<K, V>,
}

type Predicates<K, V> = Arc<RwLock<Vec<Predicate<K, V>>>>;

/// Whether a record belongs to a branch. It is given the name of the node, which errors tell.
type Predicate<K, V> = Arc<dyn Fn(&Arc<str>, &K, &V) -> Result<bool, ProcessError> + Send + Sync>;

/// Pushes each record into the first branch that it belongs to.
struct Choice<K, V> {
    name: Arc<str>,
    predicates: Vec<Predicate<K, V>>,
    branches: Children<K, V>,
}

/// A branch of a split or an output of a processor: the place for what follows.
struct Output<K, V>(Children<K, V>);

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Splits the stream into branches: a record goes to the first one whose predicate holds, and nowhere when there is none (`split` of
    /// Kafka Streams).
    ///
    /// ```
    /// use millpond::{Serdes, Topology};
    ///
    /// let topology = Topology::builder("temperatures");
    /// let mut readings = topology.stream("readings", Serdes::<String, i64>::default()).split();
    /// readings.branch("hot", |_, degrees| *degrees > 30).to("hot");
    /// readings.branch("cold", |_, degrees| *degrees < 0).to("cold");
    /// readings.default_branch("mild").to("mild");
    /// # topology.build().unwrap();
    /// ```
    #[must_use]
    pub fn split(&self) -> Split<'t, K, V> {
        let predicates: Predicates<K, V> = Arc::default();
        let shared = Arc::clone(&predicates);
        let factory = Factory::node::<K, V, _>(move |task, id| Choice {
            name: task.name(id),
            predicates: shared.read().unwrap_or_else(PoisonError::into_inner).clone(),
            branches: task.children(id),
        });
        let node = self.graph.borrow_mut().add(GraphNode::operator("split", vec![self.node], factory));
        Split { stream: self.clone(), node, predicates }
    }
}

/// Adds a node that passes on what the node before it chooses to give it.
pub(super) fn add_output<K: Data, V: Data>(graph: &RefCell<Graph>, parent: NodeId, name: &str) -> NodeId {
    let factory = Factory::node::<K, V, _>(|task, id| Output(task.children(id)));
    graph.borrow_mut().add_output(GraphNode::operator("output", vec![parent], factory), name)
}

// === impl Split ===

impl<'t, K: Data, V: Data> Split<'t, K, V> {
    /// The next branch: the records for which the predicate holds, and for which that of no branch before holds.
    pub fn branch<F>(&mut self, name: &str, predicate: F) -> Stream<'t, K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.try_branch(name, move |key, value| Ok::<_, Infallible>(predicate(key, value)))
    }

    /// [`Split::branch`] with a predicate that may fail.
    pub fn try_branch<E, F>(&mut self, name: &str, predicate: F) -> Stream<'t, K, V>
    where
        E: UserError,
        F: Fn(&K, &V) -> Result<bool, E> + Send + Sync + 'static,
    {
        let predicate: Predicate<K, V> =
            Arc::new(move |node, key, value| predicate(key, value).map_err(|error| failed(node, error)));
        self.predicates.write().unwrap_or_else(PoisonError::into_inner).push(predicate);
        let Stream { graph, serdes, rekeyed, .. } = self.stream.clone();
        // Its place among the node's children is that of its predicate: no other node is ever attached to it.
        let node = add_output::<K, V>(graph, self.node, name);
        Stream { graph, node, serdes, rekeyed }
    }

    /// The last branch: the records that belong to no other. Without one they are left out.
    pub fn default_branch(mut self, name: &str) -> Stream<'t, K, V> {
        self.branch(name, |_, _| true)
    }
}

impl<K, V> fmt::Debug for Split<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("node", &self.node).finish_non_exhaustive()
    }
}

// === impl Choice ===

impl<K: Data, V: Data> Node<K, V> for Choice<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        for (branch, belongs) in self.predicates.iter().enumerate() {
            if belongs(&self.name, &record.key, &record.value)? {
                return self.branches.forward_to(branch, ctx, record);
            }
        }
        Ok(())
    }
}

// === impl Output ===

impl<K: Data, V: Data> Node<K, V> for Output<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        self.0.forward(ctx, record)
    }
}
