//! Tables: whose rows are kept, who knows old values.
//!
//! A table's rows are kept only where someone needs them. The rules are those of Kafka Streams, since they decide which
//! changes are visible downstream: they are applied when an operator is added, in the order of the program.

use std::{any::Any, sync::Arc};

use super::{Graph, NodeId, StoreDef, StoreIndex, StoreOwner, TableDef, TableKind, WindowKeys};
use crate::{
    serde::{Serde, Serdes},
    state::StoreKind,
    topology::{TopologyError, names::Names},
};

// === impl Graph ===

impl Graph {
    /// What a node is as a table.
    pub(crate) fn table(&self, node: NodeId) -> &TableDef {
        self.node(node).table.as_ref().expect("handles of tables point to nodes that are tables")
    }

    fn table_mut(&mut self, node: NodeId) -> &mut TableDef {
        self.nodes[node.0].table.as_mut().expect("handles of tables point to nodes that are tables")
    }

    /// Keeps the rows of a table, if they are not kept already.
    pub(crate) fn keep(&mut self, table: NodeId) -> &mut StoreDef {
        self.keep_as(table, StoreKind::TimestampedKeyValue)
    }

    /// Keeps the rows of a table in a store of this kind, if they are not kept already.
    pub(crate) fn keep_as(&mut self, table: NodeId, kind: StoreKind) -> &mut StoreDef {
        let next = StoreIndex::new(self.stores.len());
        let store = *self.table_mut(table).store.get_or_insert(next);
        if store == next {
            self.stores.push(StoreDef::new(StoreOwner::Table(table), kind, None));
        }
        &mut self.stores[store.0]
    }

    /// Names a table's store, which it has from now on.
    pub(crate) fn name_store(&mut self, table: NodeId, name: Arc<str>) {
        self.keep(table).name = Some(name);
    }

    /// Says what is in the keys of a table whose store knows windows or sessions. The size of windows is in ms.
    pub(crate) fn set_window_keys<K: 'static>(&mut self, table: NodeId, serde: Arc<dyn Serde<K>>, size_ms: i64) {
        self.table_mut(table).windows = Some(WindowKeys { serde: Box::new(serde), size_ms });
    }

    /// The store of a table, for processors: it has one from now on. It must be of the kind of this name.
    pub(crate) fn open_store(&mut self, table: NodeId, kind: &'static str) -> StoreIndex {
        self.keep(table);
        let store = self.table(table).store.expect("it is kept");
        self.opened.push((store, kind));
        store
    }

    /// Finds stores of tables that are of another kind than processors take them for.
    pub(in crate::topology) fn check_opened(&self, names: &Names) -> Result<(), TopologyError> {
        let wrong = self.opened.iter().find(|(store, kind)| self.stores[store.0].kind.name() != *kind);
        wrong.map_or(Ok(()), |(store, _)| {
            let reason = "it is a table's, and of another kind than a processor takes it for: of a table of windows it is its \
                          `window_store`, of sessions its `session_store`, of versions its `versioned_store`, of others its `store`; \
                          what `suppress` gives has none";
            Err(TopologyError::Store { store: names.store(*store).to_string(), reason })
        })
    }

    /// Sets the serdes of a table's rows.
    pub(crate) fn set_serdes<K: 'static, V: 'static>(&mut self, table: NodeId, serdes: Serdes<K, V>) {
        let table = self.table_mut(table);
        table.formats = serdes.formats();
        table.serdes = Box::new(serdes);
    }

    /// Makes a table send old values with its changes, if it can; `force` keeps the rows of a source for that.
    /// Gives whether it does.
    pub(crate) fn send_old_values(&mut self, id: NodeId, force: bool) -> bool {
        let table = self.table(id);
        if table.sends_old {
            return true;
        }
        let (kind, kept, parents) = (table.kind, table.store.is_some(), table.parents.clone());
        let sends_old = match kind {
            TableKind::Source if kept => true,
            TableKind::Source if force => {
                self.keep(id);
                true
            }
            TableKind::Source => false,
            TableKind::Aggregate => true,
            TableKind::Derived if kept => true,
            TableKind::Derived | TableKind::Suppressed => {
                parents.iter().all(|parent| self.send_old_values(*parent, force))
            }
            TableKind::Joined => parents.iter().all(|parent| self.send_old_values(*parent, true)),
        };
        self.table_mut(id).sends_old = sends_old;
        sends_old
    }

    /// Lets the updates of a table wait for the commit; `false` when they wait anyway. Its rows must be kept.
    pub(crate) fn coalesce(&mut self, id: NodeId) -> bool {
        if self.table(id).kind == TableKind::Suppressed {
            return false;
        }
        self.send_old_values(id, true);
        self.table_mut(id).coalesced = true;
        true
    }

    /// Makes sure that the rows of a table can be looked up: from its own store or from those it is made of.
    pub(crate) fn make_readable(&mut self, id: NodeId) {
        let table = self.table(id);
        match table.kind {
            TableKind::Source => {
                self.keep(id);
            }
            TableKind::Aggregate => {}
            TableKind::Derived | TableKind::Joined if table.store.is_some() => {}
            TableKind::Derived | TableKind::Joined | TableKind::Suppressed => {
                for parent in table.parents.clone() {
                    self.make_readable(parent);
                }
            }
        }
    }

    /// How much later than their end the windows close that are the keys of a table, in ms: the latest of those behind it.
    pub(crate) fn closes_after_ms(&self, id: NodeId) -> Option<i64> {
        let node = self.node(id);
        let own = node.table.as_ref().and_then(|table| table.closes_after_ms);
        own.or_else(|| node.parents.iter().filter_map(|parent| self.closes_after_ms(*parent)).max())
    }

    /// Whether the updates of a node's table wait for the commit. `all`: also of tables that were not told to, if they are read or
    /// aggregated, and kept.
    pub(in crate::topology) fn coalesces(&self, id: NodeId, all: bool) -> bool {
        self.node(id).table.as_ref().is_some_and(|table| {
            let by_default = matches!(table.kind, TableKind::Source | TableKind::Aggregate) && table.store.is_some();
            // Each version counts.
            table.coalesced || (all && by_default && !self.keeps_versions(id))
        })
    }

    /// The stores that are read when a row of a table is looked up.
    pub(in crate::topology) fn stores_behind(&self, id: NodeId, stores: &mut Vec<StoreIndex>) {
        let table = self.table(id);
        match table.store {
            Some(store) => {
                if !stores.contains(&store) {
                    stores.push(store);
                }
                if table.kind == TableKind::Suppressed {
                    table.parents.iter().for_each(|parent| self.stores_behind(*parent, stores));
                }
            }
            None => table.parents.iter().for_each(|parent| self.stores_behind(*parent, stores)),
        }
    }
}

// === impl TableDef ===

impl TableDef {
    /// A table without a store.
    pub(crate) fn new<K: 'static, V: 'static>(kind: TableKind, parents: Vec<NodeId>, serdes: Serdes<K, V>) -> Self {
        let formats = serdes.formats();
        let serdes: Box<dyn Any + Send + Sync> = Box::new(serdes);
        Self {
            kind,
            parents,
            store: None,
            sends_old: false,
            serdes,
            formats,
            windows: None,
            coalesced: false,
            closes_after_ms: None,
        }
    }

    /// Its keys are windows that close so much later than their end, in ms.
    pub(crate) fn closes_after_ms(self, ms: i64) -> Self {
        Self { closes_after_ms: Some(ms), ..self }
    }
}
