//! Stores of processors that keep all values of each key and window.

use std::{cell::RefCell, fmt, marker::PhantomData};

use super::process::{StoreIndexOf, Stores, TaskStoresOf};
use crate::{
    processor::DuplicateWindowStore,
    serde::{Data, Serdes},
    state::{Retention, StoreKind},
    topology::graph::{Graph, StoreIndex},
};

/// A store for processors that keeps all values of each key and window, made by
/// [`TopologyBuilder::duplicate_windows`](crate::dsl::TopologyBuilder::duplicate_windows).
pub struct DuplicateWindows<K, V> {
    index: StoreIndex,
    rows: PhantomData<fn() -> (K, V)>,
}

/// A store for processors.
pub(in crate::dsl) fn duplicate_windows<K: Data, V: Data>(
    graph: &RefCell<Graph>,
    name: &str,
    serdes: Serdes<K, V>,
    retention: Retention,
) -> DuplicateWindows<K, V> {
    let kind = StoreKind::DuplicateWindow(retention);
    DuplicateWindows { index: graph.borrow_mut().add_store_as(kind, name.into(), serdes), rows: PhantomData }
}

// === impl DuplicateWindows ===

impl<K, V> Clone for DuplicateWindows<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for DuplicateWindows<K, V> {}

impl<K, V> fmt::Debug for DuplicateWindows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DuplicateWindows").field(&self.index).finish()
    }
}

impl<K: Data, V: Data> Stores for DuplicateWindows<K, V> {
    type Open = DuplicateWindowStore<K, V>;

    fn list(&self, into: &mut Vec<StoreIndexOf>) {
        into.push(StoreIndexOf(self.index));
    }

    fn open(&self, TaskStoresOf(task): &mut TaskStoresOf<'_, '_>) -> DuplicateWindowStore<K, V> {
        task.duplicate_window_store(self.index)
    }
}
