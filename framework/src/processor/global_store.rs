//! Global stores that a user's function maintains.

use std::{fmt, sync::Arc};

use super::{
    Origin, ProcessError, ProcessorResult, Record, RecordPart, StoreContext, custom::user_error,
    store_context::HasStores,
};
use crate::{
    log::{RecordRef, TopicPartition},
    serde::{SerdeError, Serdes},
    state::TaskStores,
};

/// What maintains a store that every instance has whole: it is given every record of the store's topic.
pub(crate) trait GlobalNode {
    /// Does what a record says.
    fn process(
        &mut self,
        stores: &mut TaskStores,
        source: &TopicPartition,
        record: &RecordRef<'_>,
    ) -> Result<(), ProcessError>;
}

/// A user's function, with the store in hand.
pub(crate) struct GlobalUpdater<S, K, V, F> {
    /// The name of the store.
    pub(crate) name: Arc<str>,
    pub(crate) store: S,
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) update: Arc<F>,
}

/// What the function that maintains a global store may do: use that store.
pub struct GlobalContext<'a> {
    stores: &'a mut TaskStores,
    source: &'a TopicPartition,
    offset: i64,
    timestamp_ms: i64,
}

// === impl GlobalUpdater ===

impl<S, K, V, F> GlobalNode for GlobalUpdater<S, K, V, F>
where
    K: 'static,
    V: 'static,
    F: Fn(&mut S, &mut GlobalContext<'_>, Record<K, V>) -> ProcessorResult,
{
    fn process(
        &mut self,
        stores: &mut TaskStores,
        source: &TopicPartition,
        record: &RecordRef<'_>,
    ) -> Result<(), ProcessError> {
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        let unreadable = |part| {
            move |error: SerdeError| ProcessError::Deserialization {
                part,
                topic: Arc::clone(&source.topic),
                partition: source.partition,
                offset,
                source: error,
            }
        };
        let key = self.serdes.key().deserialize(record.key).map_err(unreadable(RecordPart::Key))?;
        let value = self.serdes.value().deserialize(record.value).map_err(unreadable(RecordPart::Value))?;
        let headers = record.headers.to_owned();
        let mut ctx = GlobalContext { stores, source, offset, timestamp_ms };
        (self.update)(&mut self.store, &mut ctx, Record { key, value, timestamp_ms, headers })
            .map_err(|error| user_error(&self.name, error))
    }
}

// === impl GlobalContext ===

impl GlobalContext<'_> {
    /// Where the record at hand comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let TopicPartition { topic, partition } = self.source;
        Origin { topic: Arc::clone(topic), partition: *partition, offset: self.offset }
    }
}

impl HasStores for GlobalContext<'_> {
    fn stores_mut(&mut self) -> &mut TaskStores {
        self.stores
    }

    fn row_expired(&mut self) {
        // Global stores have no times.
    }
}

impl StoreContext for GlobalContext<'_> {
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

impl fmt::Debug for GlobalContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalContext")
            .field("source", &self.source)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
