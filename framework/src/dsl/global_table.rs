//! Global tables: whole on every instance.

use std::{cell::RefCell, fmt, ops::Deref};

use super::GlobalStore;
use crate::{
    processor::GlobalRows,
    serde::{Data, Serdes},
    state::StoreKind,
    topology::{
        Instantiation, Upkeep,
        graph::{GlobalDef, GlobalIndex, Graph},
    },
};

/// A table that every instance has whole, for joins by any key. It has no time: its rows are what they are when a
/// record is joined.
pub struct GlobalTable<'t, K, V> {
    graph: &'t RefCell<Graph>,
    index: GlobalIndex,
    serdes: Serdes<K, V>,
}

/// A global table with a name.
#[derive(Debug)]
pub struct MaterializedGlobal<'t, K, V>(GlobalTable<'t, K, V>);

/// The global table of a topic.
pub(super) fn source<'t, K: Data, V: Data>(
    graph: &'t RefCell<Graph>,
    topic: &str,
    serdes: Serdes<K, V>,
) -> GlobalTable<'t, K, V> {
    let index = graph.borrow_mut().add_global(GlobalDef {
        topic: topic.into(),
        kind: StoreKind::TimestampedKeyValue,
        name: None,
        queryable: false,
        persistent: true,
        formats: serdes.formats(),
        topic_formats: serdes.formats(),
        upkeep: Upkeep::rows(serdes.clone()),
    });
    GlobalTable { graph, index, serdes }
}

// === impl GlobalTable ===

impl<'t, K: Data, V: Data> GlobalTable<'t, K, V> {
    /// Names the table's store.
    pub fn materialized(self, name: &str) -> MaterializedGlobal<'t, K, V> {
        self.graph.borrow_mut().global_mut(self.index).name = Some(name.into());
        MaterializedGlobal(self)
    }

    /// The table for processors: a store that they can read.
    pub fn store(&self) -> GlobalStore<K, V> {
        GlobalStore::new(self.index, self.serdes.clone())
    }

    pub(super) fn graph(&self) -> &'t RefCell<Graph> {
        self.graph
    }

    pub(super) fn index(&self) -> GlobalIndex {
        self.index
    }

    /// How a task gets at the rows.
    pub(super) fn rows(&self) -> impl Fn(&mut Instantiation<'_>) -> GlobalRows<K, V> + Send + Sync + use<K, V> {
        let (index, serdes) = (self.index, self.serdes.clone());
        move |task| task.global_rows(index, serdes.clone())
    }
}

impl<K, V> fmt::Debug for GlobalTable<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalTable").field("index", &self.index).finish_non_exhaustive()
    }
}

// === impl MaterializedGlobal ===

impl<'t, K: Data, V: Data> MaterializedGlobal<'t, K, V> {
    /// Keeps the table in memory, not on disk: each start reads its topic from the beginning.
    ///
    /// It is outside of what
    /// [`memory_bytes`](crate::Config::memory_bytes) bounds, as it has no disk to go to: `millpond_memory_bytes{part="in_memory"}` shows what it takes.
    pub fn in_memory(self) -> Self {
        self.0.graph.borrow_mut().global_mut(self.0.index).persistent = false;
        self
    }

    /// Lets the REST interface read the table.
    pub fn queryable(self) -> GlobalTable<'t, K, V> {
        self.0.graph.borrow_mut().global_mut(self.0.index).queryable = true;
        self.0
    }
}

impl<'t, K, V> Deref for MaterializedGlobal<'t, K, V> {
    type Target = GlobalTable<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
