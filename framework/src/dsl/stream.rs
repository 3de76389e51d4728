//! Streams.

mod filter;
mod flat_map;
mod flat_map_values;
mod join_global;
mod join_stream;
mod join_table;
mod join_with_grace;
mod key;
mod map;
mod map_values;
mod merge;
mod nulls;
mod peek;
mod process;
mod repartition;
mod sink;
mod source;
mod split;
mod to_table;

use std::{cell::RefCell, fmt, sync::Arc};

pub use self::{join_stream::JoinedStream, repartition::Repartitioned, split::Split};
pub(super) use self::{
    repartition::Placed,
    sink::Sink,
    source::{source, source_factory, unreadable},
    to_table::table_factory,
};
use crate::{
    processor::{Children, Node},
    serde::{Data, Serdes},
    topology::{
        Factory,
        graph::{Graph, GraphNode, NodeId},
    },
};

/// A stream of records: each one stands for itself. Cheap to clone; it can be used any number of times.
pub struct Stream<'t, K, V> {
    graph: &'t RefCell<Graph>,
    node: NodeId,
    serdes: Serdes<K, V>,
    /// Whether keys were changed since the records were read, so that they are not where their keys belong.
    rekeyed: bool,
}

// === impl Stream ===

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// The same stream with other serdes, for whatever writes its records: sinks and repartition topics.
    #[must_use]
    pub fn with_serdes(self, serdes: Serdes<K, V>) -> Self {
        Self { serdes, ..self }
    }

    pub(super) fn new(graph: &'t RefCell<Graph>, node: NodeId, serdes: Serdes<K, V>) -> Self {
        Self { graph, node, serdes, rekeyed: false }
    }

    pub(super) fn graph(&self) -> &'t RefCell<Graph> {
        self.graph
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn serdes(&self) -> &Serdes<K, V> {
        &self.serdes
    }

    /// The stream behind a new node that needs nothing but its children.
    fn attach<L: Data, W: Data, N: Node<K, V> + 'static>(
        &self,
        operator: &'static str,
        serdes: Serdes<L, W>,
        make: impl Fn(Children<L, W>) -> N + Send + Sync + 'static,
    ) -> Stream<'t, L, W> {
        let factory = Factory::node::<K, V, N>(move |task, id| make(task.children(id)));
        let node = self.graph.borrow_mut().add(GraphNode::operator(operator, vec![self.node], factory));
        Stream { graph: self.graph, node, serdes, rekeyed: self.rekeyed }
    }

    /// [`Stream::attach`] for a node whose function may fail, which is told by the node's name.
    fn attach_named<L: Data, W: Data, N: Node<K, V> + 'static>(
        &self,
        operator: &'static str,
        serdes: Serdes<L, W>,
        make: impl Fn(Arc<str>, Children<L, W>) -> N + Send + Sync + 'static,
    ) -> Stream<'t, L, W> {
        let factory = Factory::node::<K, V, N>(move |task, id| make(task.name(id), task.children(id)));
        let node = self.graph.borrow_mut().add(GraphNode::operator(operator, vec![self.node], factory));
        Stream { graph: self.graph, node, serdes, rekeyed: self.rekeyed }
    }

    /// Says that keys were changed.
    fn rekeyed(self) -> Self {
        Self { rekeyed: true, ..self }
    }
}

impl<K, V> Clone for Stream<'_, K, V> {
    fn clone(&self) -> Self {
        Self { graph: self.graph, node: self.node, serdes: self.serdes.clone(), rekeyed: self.rekeyed }
    }
}

impl<K, V> fmt::Debug for Stream<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("node", &self.node).field("rekeyed", &self.rekeyed).finish_non_exhaustive()
    }
}
