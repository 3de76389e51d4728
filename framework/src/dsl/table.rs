//! Tables.

mod filter;
mod group_by;
mod join;
mod join_on;
mod lookup;
mod map_values;
mod materialized;
mod source;
mod store;
mod suppress;
mod to_stream;
mod transform_values;
mod versioned;

use std::{cell::RefCell, fmt, sync::Arc};

use self::lookup::{StoredRows, TimedRows};
pub(super) use self::{
    lookup::{Lookup, Rows},
    source::source,
};
pub use self::{materialized::Materialized, suppress::Buffer};
use crate::{
    serde::{Data, Serde, Serdes, Windowed},
    topology::graph::{Graph, NodeId},
};

/// A table: the latest value of each key, kept up to date by the changes of what it is made of. Cheap to clone; it can be
/// used any number of times.
///
/// Its rows are kept in a store only where that is needed, or where it is given a name with [`Table::materialized`].
pub struct Table<'t, K, V> {
    graph: &'t RefCell<Graph>,
    node: NodeId,
    serdes: Serdes<K, V>,
    rows: Rows<K, V>,
}

// === impl Table ===

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// The same table with other serdes for its rows, and for streams made of it.
    #[must_use]
    pub fn with_serdes(self, serdes: Serdes<K, V>) -> Self {
        self.graph.borrow_mut().set_serdes(self.node, serdes.clone());
        Self { serdes, ..self }
    }

    /// A table that has a store whenever its rows are looked up.
    pub(super) fn stored(graph: &'t RefCell<Graph>, node: NodeId, serdes: Serdes<K, V>) -> Self {
        let rows: Rows<K, V> = Arc::new(move |task| lookup::as_passed_on(task, node, StoredRows(task.own_store(node))));
        Self { graph, node, serdes, rows }
    }

    /// A table whose rows are those of its store when it has one, and are made of those of other tables when not.
    fn derived(graph: &'t RefCell<Graph>, node: NodeId, serdes: Serdes<K, V>, rows: Rows<K, V>) -> Self {
        let rows: Rows<K, V> = Arc::new(move |task| match task.store(node) {
            Some(store) => lookup::as_passed_on(task, node, StoredRows(store)),
            None => rows(task),
        });
        Self { graph, node, serdes, rows }
    }

    pub(super) fn graph(&self) -> &'t RefCell<Graph> {
        self.graph
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// How a task gets at the rows, which can be looked up from now on.
    pub(super) fn readable(&self) -> Rows<K, V> {
        self.graph.borrow_mut().make_readable(self.node);
        Arc::clone(&self.rows)
    }
}

impl<'t, K: Data, V: Data> Table<'t, Windowed<K>, V> {
    /// A table of windows or sessions, in a store of such: with the serde of the keys in them, and the size of windows in ms.
    pub(super) fn timed(
        graph: &'t RefCell<Graph>,
        node: NodeId,
        serdes: Serdes<Windowed<K>, V>,
        (key_serde, size_ms): (Arc<dyn Serde<K>>, i64),
    ) -> Self {
        graph.borrow_mut().set_window_keys(node, Arc::clone(&key_serde), size_ms);
        let rows: Rows<Windowed<K>, V> = Arc::new(move |task| {
            lookup::as_passed_on(task, node, TimedRows(task.timed_store(node, Arc::clone(&key_serde))))
        });
        Self { graph, node, serdes, rows }
    }
}

impl<K, V> Clone for Table<'_, K, V> {
    fn clone(&self) -> Self {
        Self { graph: self.graph, node: self.node, serdes: self.serdes.clone(), rows: Arc::clone(&self.rows) }
    }
}

impl<K, V> fmt::Debug for Table<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("node", &self.node).finish_non_exhaustive()
    }
}
