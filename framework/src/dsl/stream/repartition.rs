//! Repartition topics: they bring records to where their keys belong.

use std::sync::Arc;

use super::{Stream, sink::Sink, source};
use crate::{
    processor::{Context, Node, ProcessError, Record},
    serde::{Data, is_null},
    topology::{
        Factory,
        graph::{DataType, NodeId, RepartitionIndex},
    },
};

/// Writes to a repartition topic. Records without a key belong nowhere: they stay out, unless a join downstream gives
/// results for them.
struct RepartitionSink<K, V> {
    takes_null_keys: bool,
    sink: Sink<K, V>,
}

/// A stream whose records are where their keys belong.
pub(in crate::dsl) struct Placed<'t, K, V> {
    /// The stream.
    pub(in crate::dsl) stream: Stream<'t, K, V>,
    repartition: Option<RepartitionIndex>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// The same records where their keys belong: through a repartition topic if keys were changed.
    pub(in crate::dsl) fn placed(&self, name: Option<Arc<str>>) -> Placed<'t, K, V> {
        if !self.rekeyed {
            return Placed { stream: self.clone(), repartition: None };
        }
        let serdes = self.serdes.clone();
        let sink = Factory::node::<K, V, _>(move |task, id| RepartitionSink {
            takes_null_keys: task.takes_null_keys(id),
            sink: Sink::new(task.sink_topic(id), serdes.clone()),
        });
        let source = source::factory(self.serdes.clone());
        let data = DataType::of(&self.serdes);
        let (repartition, node) = self.graph.borrow_mut().add_repartition(name, self.node, data, sink, source);
        let stream = Stream { graph: self.graph, node, serdes: self.serdes.clone(), rekeyed: false };
        Placed { stream, repartition: Some(repartition) }
    }
}

// === impl Placed ===

impl<K: Data, V: Data> Placed<'_, K, V> {
    /// Says which node needed the records to be there.
    pub(in crate::dsl) fn made_for(&self, node: NodeId) {
        if let Some(repartition) = self.repartition {
            self.stream.graph.borrow_mut().repartition_made_for(repartition, node);
        }
    }
}

// === impl RepartitionSink ===

impl<K: Data, V: Data> Node<K, V> for RepartitionSink<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.key) && !self.takes_null_keys {
            return Ok(());
        }
        self.sink.push(ctx, record)
    }
}
