//! Global tables: whole on every instance.

use std::{any::type_name, cell::RefCell, fmt, ops::Deref, sync::Arc};

use crate::{
    processor::{Context, ProcessError, Target},
    serde::{Data, Presence, SerdeError, Serdes},
    state::{StoreId, StoreKind},
    topology::{
        Instantiation, check_by,
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

/// Access to the rows of a global table.
pub(super) struct GlobalRows<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
}

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
        formats: serdes.formats(),
        check: check_by(serdes.clone()),
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

    pub(super) fn graph(&self) -> &'t RefCell<Graph> {
        self.graph
    }

    pub(super) fn index(&self) -> GlobalIndex {
        self.index
    }

    /// How a task gets at the rows.
    pub(super) fn rows(&self) -> impl Fn(&mut Instantiation<'_>) -> GlobalRows<K, V> + Send + Sync + use<K, V> {
        let (index, serdes) = (self.index, self.serdes.clone());
        move |task| {
            let (id, name) = task.global_store(index);
            GlobalRows { id, name, serdes: serdes.clone(), key: Vec::new() }
        }
    }
}

impl<K, V> fmt::Debug for GlobalTable<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalTable").field("index", &self.index).finish_non_exhaustive()
    }
}

// === impl MaterializedGlobal ===

impl<'t, K: Data, V: Data> MaterializedGlobal<'t, K, V> {
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

// === impl GlobalRows ===

impl<K: Data, V: Data> GlobalRows<K, V> {
    /// The row of a key.
    pub(super) fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<V>, ProcessError> {
        self.key.clear();
        match self.serdes.key().serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(SerdeError::Null { type_name: type_name::<K>() }),
            Err(error) => Err(error),
        }
        .map_err(|source| self.failed(source))?;
        let value = self.serdes.value();
        let row = ctx
            .globals()
            .read(self.id, &self.key, |row| row.map(|row| value.deserialize(Some(row.value))).transpose())?;
        row.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: SerdeError) -> ProcessError {
        ProcessError::Serialization { target: Target::Store(Arc::clone(&self.name)), source }
    }
}
