//! What the stores of processors need of a context, and what makes them.

use std::sync::Arc;

use super::{Context, DropReason, Globals};
use crate::{
    serde::Serdes,
    state::{StoreId, TaskStores},
};

/// Whoever has the stores of a task. Outside of this crate nobody can name it: stores are used through the typed handles.
pub trait HasStores {
    /// The stores.
    fn stores_mut(&mut self) -> &mut TaskStores;

    /// A row was not taken, since its store has forgotten its time: it counts as dropped.
    fn row_expired(&mut self);
}

/// A context in which stores can be used: that of a [`Processor`](super::Processor), of a
/// [`FixedKeyProcessor`](super::FixedKeyProcessor), of a [`ValueTransformer`](super::ValueTransformer), of what maintains a global store.
pub trait StoreContext: HasStores {
    /// Event time in ms since the epoch: that of the record at hand; in a punctuation the time that it was called with.
    fn timestamp_ms(&self) -> i64;
}

/// A context in which global tables and stores can be read.
pub trait HasGlobals {
    /// The global tables.
    fn globals(&self) -> &Globals;
}

/// A store as processors have it in hand, for example [`KeyValueStore`](super::KeyValueStore).
pub trait ProcessorStore: Sized + 'static {
    /// Its keys.
    type Key: 'static;
    /// Its values.
    type Value: 'static;

    /// Access to a store of a task.
    #[doc(hidden)]
    fn open(place: StorePlace<Self::Key, Self::Value>) -> Self;
}

/// Where a store is, and what its rows are. Opaque.
#[derive(Debug)]
pub struct StorePlace<K: 'static, V: 'static> {
    pub(crate) id: StoreId,
    pub(crate) name: Arc<str>,
    pub(crate) serdes: Serdes<K, V>,
    /// The size of its windows in ms, when it has such.
    pub(crate) window_size_ms: i64,
}

// === impl Context ===

impl HasStores for Context {
    fn stores_mut(&mut self) -> &mut TaskStores {
        self.stores_mut()
    }

    fn row_expired(&mut self) {
        self.drop_record(DropReason::Expired);
    }
}

impl HasGlobals for Context {
    fn globals(&self) -> &Globals {
        self.globals()
    }
}
