//! Tables that keep versions.

use std::sync::Arc;

use super::{Graph, NodeId, TableKind};
use crate::{
    state::{Retention, StoreKind},
    topology::{TopologyError, names::Names},
};

// === impl Graph ===

impl Graph {
    /// Keeps the rows of a table, with their versions, in a store of this name.
    pub(crate) fn keep_versions(&mut self, table: NodeId, name: Arc<str>, retention: Retention) {
        let store = self.keep(table);
        if matches!(store.kind, StoreKind::TimestampedKeyValue | StoreKind::Versioned(_)) {
            store.kind = StoreKind::Versioned(retention);
        } else {
            let (place, kind) = (format!("store `{name}`"), store.kind.name());
            let reason =
                format!("a {kind} store cannot keep versions: only tables of plain keys do, before `suppress`");
            self.refuse(TopologyError::Versions { place, reason });
        }
        self.keep(table).name = Some(name);
    }

    /// Whether the store of a table keeps versions.
    pub(in crate::topology) fn keeps_versions(&self, table: NodeId) -> bool {
        self.history_ms(table).is_some()
    }

    /// Whether rows of a table can be looked up as of a time: it keeps versions, or is made, row by row, of one that does.
    pub(in crate::topology) fn has_versions(&self, id: NodeId) -> bool {
        let table = self.table(id);
        match (table.store, table.kind) {
            (Some(_), _) => self.keeps_versions(id),
            (None, TableKind::Derived) => table.parents.iter().all(|parent| self.has_versions(*parent)),
            (None, _) => false,
        }
    }

    /// Says that a node looks rows of a table up as of a time that may be so many ms ago.
    pub(crate) fn reads_history(&mut self, node: NodeId, table: NodeId, ms: i64) {
        self.reads_history.push((node, table, ms));
    }

    /// Finds what needs versions that are not kept, and what cannot do with them.
    pub(in crate::topology) fn check_versions(&self, names: &Names) -> Result<(), TopologyError> {
        let error =
            |node: NodeId, reason| Err(TopologyError::Versions { place: format!("`{}`", names.node(node)), reason });
        for (node, table, ms) in &self.reads_history {
            let name = names.node(*table);
            if !self.has_versions(*table) {
                return error(
                    *node,
                    format!(
                        "a join with grace looks rows up as they were at the time of its records, but table `{name}` does not keep \
                         versions: give it some with `versioned`"
                    ),
                );
            }
            if let Some(history_ms) = self.shortest_history_ms(*table).filter(|history_ms| history_ms < ms) {
                return error(
                    *node,
                    format!(
                        "its grace is {ms} ms, but table `{name}` keeps its history for {history_ms} ms only: that must be as long at the \
                         least"
                    ),
                );
            }
        }
        for node in self.node_ids() {
            let Some(table) = &self.node(node).table else { continue };
            if table.kind == TableKind::Suppressed && table.parents.iter().any(|parent| self.has_versions(*parent)) {
                return error(
                    node,
                    "`suppress` cannot hold back the changes of a table that keeps versions".to_owned(),
                );
            }
            if table.coalesced && self.keeps_versions(node) {
                return error(
                    node,
                    "the updates of a table that keeps versions cannot be coalesced: each counts".to_owned(),
                );
            }
        }
        Ok(())
    }

    /// For how long a table that has versions knows them, in ms.
    fn shortest_history_ms(&self, id: NodeId) -> Option<i64> {
        self.history_ms(id)
            .or_else(|| self.table(id).parents.iter().filter_map(|parent| self.shortest_history_ms(*parent)).min())
    }

    fn history_ms(&self, table: NodeId) -> Option<i64> {
        match self.stores[self.table(table).store?.index()].kind {
            StoreKind::Versioned(retention) => Some(retention.retention_ms),
            _ => None,
        }
    }
}
