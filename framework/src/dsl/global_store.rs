//! Global stores: whole on every instance, kept up to date by a user's function.

use std::{cell::RefCell, fmt, sync::Arc};

use super::stores::{KeyValue, StoreBuilder, Stores, TaskStoresOf, Used};
use crate::{
    processor::{
        GlobalContext, GlobalNode, GlobalRows, GlobalUpdater, ProcessorResult, ProcessorStore, Record, StorePlace,
    },
    serde::{Data, Serdes},
    state::StoreId,
    topology::{
        Upkeep,
        graph::{GlobalIndex, Graph},
    },
};

/// A store that every instance has whole, to be read by processors: a [global store](super::TopologyBuilder::global_store), or a
/// [global table](super::GlobalTable::store).
pub struct GlobalStore<K, V> {
    index: GlobalIndex,
    serdes: Serdes<K, V>,
}

/// A global store that `update` maintains.
pub(super) fn add<S, K, V>(
    graph: &RefCell<Graph>,
    store: StoreBuilder<S>,
    topic: &str,
    serdes: Serdes<K, V>,
    update: impl Fn(&mut S, &mut GlobalContext<'_>, Record<K, V>) -> ProcessorResult + Send + Sync + 'static,
) -> GlobalStore<S::Key, S::Value>
where
    S: ProcessorStore + KeyValue + Send,
    S::Key: Data,
    S::Value: Data,
    K: Data,
    V: Data,
{
    let (topic_formats, update, rows) = (serdes.formats(), Arc::new(update), store.serdes());
    let row_serdes = rows.clone();
    let upkeep = Upkeep::Updater(Arc::new(move |id: StoreId, name: Arc<str>| {
        let place = StorePlace { id, name: Arc::clone(&name), serdes: row_serdes.clone(), window_size_ms: 0 };
        let (store, serdes, update) = (S::open(place), serdes.clone(), Arc::clone(&update));
        Box::new(GlobalUpdater { name, store, serdes, update }) as Box<dyn GlobalNode + Send>
    }));
    let index = graph.borrow_mut().add_global(store.into_global(topic, topic_formats, upkeep));
    GlobalStore::new(index, rows)
}

// === impl GlobalStore ===

impl<K: Data, V: Data> GlobalStore<K, V> {
    pub(super) fn new(index: GlobalIndex, serdes: Serdes<K, V>) -> Self {
        Self { index, serdes }
    }
}

impl<K: Data, V: Data> Stores for GlobalStore<K, V> {
    type Open = GlobalRows<K, V>;

    fn list(&self, into: &mut Used) {
        into.globals.push(self.index);
    }

    fn open(&self, TaskStoresOf(task): &mut TaskStoresOf<'_, '_>) -> GlobalRows<K, V> {
        task.global_rows(self.index, self.serdes.clone())
    }
}

impl<K, V> Clone for GlobalStore<K, V> {
    fn clone(&self) -> Self {
        Self { index: self.index, serdes: self.serdes.clone() }
    }
}

impl<K, V> fmt::Debug for GlobalStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalStore").field("index", &self.index).finish_non_exhaustive()
    }
}
