//! Streams grouped by key, to be aggregated.

mod aggregate;
mod reduce;

use std::{cell::OnceCell, fmt, sync::Arc};

use super::{Stream, Table, WindowedGrouped, Windows, stream::Placed};
use crate::{
    serde::{Data, Serdes},
    state::StoreKind,
    topology::{
        Factory,
        graph::{GraphNode, NodeId, TableDef, TableKind},
    },
};

/// Records grouped by key. Several aggregations of one grouping share its repartition topic, if it needs one.
pub struct Grouped<'t, K, V> {
    stream: Stream<'t, K, V>,
    name: Option<Arc<str>>,
    placed: OnceCell<Placed<'t, K, V>>,
}

// === impl Grouped ===

impl<'t, K: Data, V: Data> Grouped<'t, K, V> {
    pub(super) fn new(stream: Stream<'t, K, V>) -> Self {
        Self { stream, name: None, placed: OnceCell::new() }
    }

    /// Names the repartition topic, if there is one: `<application id>-<name>-repartition`. Else it has the name of the
    /// first aggregation's store.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::new(self.stream) }
    }

    /// Other serdes for the repartition topic, and for the keys of the aggregation's rows.
    #[must_use]
    pub fn with_serdes(self, serdes: Serdes<K, V>) -> Self {
        Self { name: self.name, ..Self::new(self.stream.with_serdes(serdes)) }
    }

    /// Aggregates the records of each key within windows or sessions, instead of all of them.
    #[must_use]
    pub fn windowed_by<W: Windows>(self, windows: W) -> WindowedGrouped<'t, K, V, W> {
        WindowedGrouped::new(self, windows)
    }

    pub(super) fn stream(&self) -> &Stream<'t, K, V> {
        &self.stream
    }

    /// The records where their keys belong.
    pub(super) fn placed(&self) -> &Placed<'t, K, V> {
        self.placed.get_or_init(|| self.stream.placed(self.name.clone()))
    }

    /// The table of a new aggregation, whose rows have the default serde of their type.
    fn aggregated<A: Data>(&self, operator: &'static str, factory: Factory) -> Table<'t, K, A> {
        self.aggregated_with(operator, self.stream.serdes().values(), factory)
    }

    fn aggregated_with<A: Data>(
        &self,
        operator: &'static str,
        serdes: Serdes<K, A>,
        factory: Factory,
    ) -> Table<'t, K, A> {
        let node = self.aggregate_node(operator, &serdes, StoreKind::TimestampedKeyValue, factory);
        Table::stored(self.stream.graph(), node, serdes)
    }

    /// A node that aggregates, with the store of its rows.
    pub(super) fn aggregate_node<L: 'static, A: 'static>(
        &self,
        operator: &'static str,
        serdes: &Serdes<L, A>,
        kind: StoreKind,
        factory: Factory,
    ) -> NodeId {
        let placed = self.placed();
        let table = TableDef::new(TableKind::Aggregate, Vec::new(), serdes.clone());
        let node = GraphNode::operator(operator, vec![placed.stream.node()], factory).table(table);
        let graph = self.stream.graph();
        let node = graph.borrow_mut().add(node);
        graph.borrow_mut().keep_as(node, kind);
        placed.made_for(node);
        node
    }
}

impl<K, V> fmt::Debug for Grouped<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("stream", &self.stream).field("name", &self.name).finish_non_exhaustive()
    }
}
