//! Repartition topics: they bring records to where their keys belong. `repartition`.

use std::sync::Arc;

use super::{Stream, sink::Sink, source::source_factory};
use crate::{
    processor::{Context, Node, ProcessError, Record},
    serde::{Data, is_null},
    topology::{
        Factory,
        graph::{DataType, NodeId, RepartitionIndex},
    },
};

/// A repartition topic as it was asked for: [`Stream::repartition`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repartitioned {
    name: Option<Arc<str>>,
    partitions: Option<u32>,
}

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

// === impl Repartitioned ===

impl Repartitioned {
    /// A topic `<application id>-<name>-repartition`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// How many partitions it has, 1 at the least. Else it has as many as what it is joined with, or as the largest topic behind it.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions: Some(partitions), ..self }
    }
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// The same records through a repartition topic, whether keys were changed or not: to spread them over more or fewer partitions, or
    /// to give the topic a name. Records without a key are left out, unless a left or outer join downstream takes them.
    ///
    /// ```
    /// use millpond::{Serdes, Topology, dsl::Repartitioned};
    ///
    /// let topology = Topology::builder("flights");
    /// topology
    ///     .stream("flights", Serdes::<String, String>::default())
    ///     .select_key(|_, carrier| carrier.clone())
    ///     .repartition(Repartitioned::named("by-carrier").partitions(24))
    ///     .to("flights-by-carrier");
    /// # topology.build().unwrap();
    /// ```
    #[must_use]
    pub fn repartition(&self, repartitioned: Repartitioned) -> Self {
        let Repartitioned { name, partitions } = repartitioned;
        self.through_topic(name, partitions).stream
    }

    /// The same records where their keys belong: through a repartition topic if keys were changed.
    pub(in crate::dsl) fn placed(&self, name: Option<Arc<str>>) -> Placed<'t, K, V> {
        match self.rekeyed {
            true => self.through_topic(name, None),
            false => Placed { stream: self.clone(), repartition: None },
        }
    }

    fn through_topic(&self, name: Option<Arc<str>>, partitions: Option<u32>) -> Placed<'t, K, V> {
        let serdes = self.serdes.clone();
        let sink = Factory::node::<K, V, _>(move |task, id| RepartitionSink {
            takes_null_keys: task.takes_null_keys(id),
            sink: Sink::new(task.sink_topic(id), serdes.clone()),
        });
        let (data, source) = (DataType::of(&self.serdes), source_factory(self.serdes.clone()));
        let mut graph = self.graph.borrow_mut();
        let (repartition, node) = graph.add_repartition(name, partitions, self.node, data, sink, source);
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
