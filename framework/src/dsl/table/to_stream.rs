//! `to_stream`.

use super::Table;
use crate::{
    dsl::Stream,
    processor::{Change, Children, Context, Node, ProcessError, Record},
    serde::Data,
    topology::{Factory, graph::GraphNode},
};

/// Forgets old values.
struct ToStream<K, V>(Children<K, Option<V>>);

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// The changes of the table as a stream: new values, and `None` for rows that were deleted.
    #[must_use]
    pub fn to_stream(&self) -> Stream<'t, K, Option<V>> {
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| ToStream(task.children::<K, Option<V>>(id)));
        let node = self.graph.borrow_mut().add(GraphNode::operator("to-stream", vec![self.node], factory));
        Stream::new(self.graph, node, self.serdes.nullable_values())
    }
}

// === impl ToStream ===

impl<K: Data, V: Data> Node<K, Change<V>> for ToStream<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value, timestamp_ms, headers } = record;
        self.0.forward(ctx, Record { key, value: value.new, timestamp_ms, headers })
    }
}
