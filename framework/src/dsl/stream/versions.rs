//! Versioned stores of processors.

use std::{cell::RefCell, fmt, marker::PhantomData};

use super::process::{StoreIndexOf, Stores, TaskStoresOf};
use crate::{
    processor::VersionedStore,
    serde::{Data, Serdes},
    state::{Retention, StoreKind},
    topology::graph::{Graph, StoreIndex},
};

/// A versioned store for processors, made by [`TopologyBuilder::versioned_store`](crate::dsl::TopologyBuilder::versioned_store).
pub struct Versions<K, V> {
    index: StoreIndex,
    rows: PhantomData<fn() -> (K, V)>,
}

/// A versioned store for processors.
pub(in crate::dsl) fn versions<K: Data, V: Data>(
    graph: &RefCell<Graph>,
    name: &str,
    serdes: Serdes<K, V>,
    retention: Retention,
) -> Versions<K, V> {
    let kind = StoreKind::Versioned(retention);
    Versions { index: graph.borrow_mut().add_store_as(kind, name.into(), serdes), rows: PhantomData }
}

// === impl Versions ===

impl<K, V> Clone for Versions<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Versions<K, V> {}

impl<K, V> fmt::Debug for Versions<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Versions").field(&self.index).finish()
    }
}

impl<K: Data, V: Data> Stores for Versions<K, V> {
    type Open = VersionedStore<K, V>;

    fn list(&self, into: &mut Vec<StoreIndexOf>) {
        into.push(StoreIndexOf(self.index));
    }

    fn open(&self, TaskStoresOf(task): &mut TaskStoresOf<'_, '_>) -> VersionedStore<K, V> {
        task.versioned_store(self.index)
    }
}
