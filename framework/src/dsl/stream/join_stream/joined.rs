//! The result of a join of streams, which can be named.

use std::ops::Deref;

use crate::{
    dsl::Stream,
    serde::{Data, Serdes},
    topology::graph::{NodeId, StoreIndex},
};

/// The stream of the results of a join with a stream, or with a table that records wait for; its stores can be named. It is used like the [`Stream`] that it is.
#[derive(Debug, Clone)]
pub struct JoinedStream<'t, K, V> {
    stream: Stream<'t, K, V>,
    /// Its nodes and stores, and what stands behind the name in theirs.
    nodes: Vec<(NodeId, &'static str)>,
    stores: Vec<(StoreIndex, &'static str)>,
}

// === impl JoinedStream ===

impl<'t, K: Data, V: Data> JoinedStream<'t, K, V> {
    pub(in crate::dsl) fn new(
        stream: Stream<'t, K, V>,
        nodes: Vec<(NodeId, &'static str)>,
        stores: Vec<(StoreIndex, &'static str)>,
    ) -> Self {
        Self { stream, nodes, stores }
    }

    /// Names the join. Its stores are called as those of a `StreamJoined` of that name are in Kafka Streams: `<name>-this-join-store`,
    /// `<name>-other-join-store`, for left joins `<name>-this-join-store`, `<name>-outer-other-join-store`, `<name>-left-shared-join-store`,
    /// for outer joins `<name>-outer-this-join-store`, `<name>-outer-other-join-store`, `<name>-outer-shared-join-store`; repartition
    /// topics that it needs are `<name>-left` and `<name>-right`. Records that wait for a table are in `<name>-Buffer`.
    #[must_use]
    pub fn named(self, name: &str) -> Stream<'t, K, V> {
        let mut graph = self.stream.graph().borrow_mut();
        for (node, suffix) in &self.nodes {
            graph.name_node(*node, format!("{name}{suffix}").into());
        }
        for (store, suffix) in &self.stores {
            graph.store_mut(*store).named(format!("{name}{suffix}").into());
        }
        drop(graph);
        self.stream
    }

    /// The same stream with other serdes, for whatever writes its records.
    #[must_use]
    pub fn with_serdes(self, serdes: Serdes<K, V>) -> Stream<'t, K, V> {
        self.stream.with_serdes(serdes)
    }
}

impl<'t, K, V> Deref for JoinedStream<'t, K, V> {
    type Target = Stream<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.stream
    }
}

impl<'t, K, V> From<JoinedStream<'t, K, V>> for Stream<'t, K, V> {
    fn from(joined: JoinedStream<'t, K, V>) -> Self {
        joined.stream
    }
}
