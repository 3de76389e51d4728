//! `merge`.

use super::Stream;
use crate::{
    dsl::OTHER_TOPOLOGY,
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
    topology::{Factory, graph::GraphNode},
};

/// Passes on the records of several parents.
struct Merge<K, V>(Children<K, V>);

impl<K: Data, V: Data> Stream<'_, K, V> {
    /// The records of both streams, each in its order; there is none between those of one and those of the other.
    ///
    /// # Panics
    ///
    /// When the other stream is of another topology.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        assert!(std::ptr::eq(self.graph, other.graph), "{OTHER_TOPOLOGY}");
        let factory = Factory::node::<K, V, _>(|task, id| Merge(task.children(id)));
        let node = GraphNode::operator("merge", vec![self.node, other.node], factory);
        let node = self.graph.borrow_mut().add(node);
        let rekeyed = self.rekeyed || other.rekeyed;
        Self { graph: self.graph, node, serdes: self.serdes.clone(), rekeyed }
    }
}

// === impl Merge ===

impl<K: Data, V: Data> Node<K, V> for Merge<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        self.0.forward(ctx, record)
    }
}
