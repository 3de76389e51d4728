//! Several streams, grouped by the same keys, aggregated into one table.

mod input;
mod windowed;

use std::{cell::RefCell, fmt, sync::Arc};

use self::input::{Input, Of};
pub use self::windowed::WindowedCogrouped;
use super::{Grouped, OTHER_TOPOLOGY, Table, Windows};
use crate::{
    processor::{Change, Children, Context, Node, ProcessError, Record},
    serde::{Data, Serde, Serdes, default_serde},
    state::StoreKind,
    topology::{
        Factory,
        graph::{Graph, GraphNode, NodeId, TableDef, TableKind},
    },
};

/// Streams grouped by the same keys, each with its own aggregator, to be aggregated into one table.
pub struct Cogrouped<'t, K, A> {
    graph: &'t RefCell<Graph>,
    key_serde: Arc<dyn Serde<K>>,
    inputs: Vec<Box<dyn Input<K, A> + 't>>,
}

/// Where the changes that several aggregators make become those of one table.
struct Merged<K, A>(Children<K, Change<A>>);

// === impl Cogrouped ===

impl<'t, K: Data, A: Data> Cogrouped<'t, K, A> {
    pub(super) fn new<V, R, F>(grouped: Grouped<'t, K, V>, aggregator: F) -> Self
    where
        V: Data,
        R: Into<Option<A>>,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
    {
        let graph = grouped.stream().graph();
        let key_serde = Arc::clone(grouped.stream().serdes().key());
        Self { graph, key_serde, inputs: vec![Box::new(Of::new(grouped, aggregator))] }
    }

    /// Takes in another stream, with its own aggregator.
    ///
    /// # Panics
    ///
    /// When it is of another topology.
    #[must_use]
    pub fn cogroup<V, R, F>(mut self, grouped: Grouped<'t, K, V>, aggregator: F) -> Self
    where
        V: Data,
        R: Into<Option<A>>,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, grouped.stream().graph()), "{OTHER_TOPOLOGY}");
        self.inputs.push(Box::new(Of::new(grouped, aggregator)));
        self
    }

    /// The aggregate of the records of all streams for each key; it begins with what `initializer` gives. Records without key or
    /// value are left out (dropped).
    pub fn aggregate<I>(&self, initializer: I) -> Table<'t, K, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
    {
        let initializer: Arc<dyn Fn() -> A + Send + Sync> = Arc::new(initializer);
        let serdes = Serdes::of(Arc::clone(&self.key_serde), default_serde());
        let factories = self.inputs.iter().map(|input| input.nodes(Arc::clone(&initializer))).collect();
        let node = self.table(&serdes, StoreKind::TimestampedKeyValue, None, factories);
        Table::stored(self.graph, node, serdes)
    }

    /// Aggregates the records of each key within windows or sessions, instead of all of them.
    #[must_use]
    pub fn windowed_by<W: Windows>(self, windows: W) -> WindowedCogrouped<'t, K, A, W> {
        WindowedCogrouped::new(self, windows)
    }

    /// The table that the nodes of these factories, one for each input, make together.
    fn table<L: Data>(
        &self,
        serdes: &Serdes<L, A>,
        kind: StoreKind,
        closes_after_ms: Option<i64>,
        factories: Vec<Factory>,
    ) -> NodeId {
        let first = self.inputs[0].node();
        let mut aggregates = Vec::new();
        for (input, factory) in self.inputs.iter().zip(factories) {
            let node = input.node();
            let mut graph = self.graph.borrow_mut();
            aggregates.push(graph.add(GraphNode::operator("cogroup-aggregate", vec![node], factory)));
            graph.join(first, node);
        }
        let table = TableDef::new(TableKind::Aggregate, Vec::new(), serdes.clone());
        let table = match closes_after_ms {
            Some(ms) => table.closes_after_ms(ms),
            None => table,
        };
        let factory = Factory::node::<L, Change<A>, _>(|task, id| Merged::<L, A>(task.changes(id)));
        let node = GraphNode::operator("cogroup", aggregates, factory).named_after(first).table(table);
        let node = self.graph.borrow_mut().add(node);
        self.graph.borrow_mut().keep_as(node, kind);
        self.inputs.iter().for_each(|input| input.made_for(node));
        node
    }
}

impl<K, A> fmt::Debug for Cogrouped<'_, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cogrouped").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

// === impl Merged ===

impl<K: Data, A: Data> Node<K, Change<A>> for Merged<K, A> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<A>>) -> Result<(), ProcessError> {
        self.0.forward(ctx, record)
    }
}
