//! Versioned stores, for users' processors.

use std::{fmt, ops::ControlFlow, sync::Arc};

use super::{ProcessError, ProcessorStore, StoreContext, StorePlace, Target, TimestampedStore};
use crate::state::{StoreId, Written};

/// A store of all values that a key had, by the time from which on each was valid (`VersionedKeyValueStore` of Kafka Streams), for a
/// [`Processor`](super::Processor). What is written is seen at once by the task, and by queries after the commit.
///
/// The time of the store is the latest timestamp of any write. What was valid can be told for times that are not longer ago than the store's
/// history; the latest version of a key can be read however old it is.
pub struct VersionedStore<K, V> {
    id: StoreId,
    name: Arc<str>,
    store: TimestampedStore<K, V>,
}

/// A version of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedValue<V> {
    /// The value.
    pub value: V,
    /// Since when it is valid, in ms since the epoch.
    pub valid_from_ms: i64,
    /// Up to when it was valid (exclusive), in ms since the epoch; `None` for the latest.
    pub valid_to_ms: Option<i64>,
}

// === impl VersionedStore ===

impl<K: 'static, V: 'static> VersionedStore<K, V> {
    /// The latest value of a key, and since when it is valid, in ms since the epoch.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.store.get(ctx, key)
    }

    /// The value of a key at some time, and since when it was valid, in ms since the epoch.
    ///
    /// # Errors
    /// As [`VersionedStore::get`].
    pub fn get_as_of(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        as_of_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        self.store.get_as_of(ctx, key, as_of_ms)
    }

    /// The versions of a key that can be read still and were valid at `from_ms` or later, the earliest first, at most `limit` of them.
    ///
    /// # Errors
    /// As [`VersionedStore::get`].
    pub fn versions(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        from_ms: i64,
        limit: usize,
    ) -> Result<Vec<VersionedValue<V>>, ProcessError> {
        let (mut found, mut failed) = (Vec::new(), None);
        if limit == 0 {
            return Ok(found);
        }
        let serde = Arc::clone(self.store.serdes().value());
        let key = self.store.key_bytes(key)?;
        ctx.stores_mut().scan_versions(self.id, key, from_ms, |version| {
            match serde.deserialize(Some(version.value)) {
                Ok(value) => found.push(VersionedValue {
                    value,
                    valid_from_ms: version.valid_from_ms,
                    valid_to_ms: version.valid_to_ms,
                }),
                Err(error) => failed = Some(error),
            }
            if failed.is_some() || found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match failed {
            Some(source) => Err(ProcessError::Serialization { target: Target::Store(Arc::clone(&self.name)), source }),
            None => Ok(found),
        }
    }

    /// Sets the value of a key from `timestamp_ms` on, in ms since the epoch, up to the next version that is there; `None` says that it has
    /// none. A version that is older than the store's history is refused: that counts as dropped.
    ///
    /// # Errors
    /// When key or value cannot be serialized, or the state fails.
    pub fn put(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<Written, ProcessError> {
        let written = self.store.entry(key)?.write(ctx, value, timestamp_ms)?;
        written.is_latest_or_drop(ctx);
        Ok(written)
    }

    /// As [`VersionedStore::put`] without a value. Gives the version that was valid at `timestamp_ms`; none when it is refused.
    ///
    /// # Errors
    /// As [`VersionedStore::get`].
    pub fn delete(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        timestamp_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        let before = self.get_as_of(ctx, key, timestamp_ms)?;
        let written = self.put(ctx, key, None, timestamp_ms)?;
        Ok(before.filter(|_| written != Written::Refused))
    }
}

impl<K: 'static, V: 'static> ProcessorStore for VersionedStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        let StorePlace { id, name, serdes, .. } = place;
        Self { id, store: TimestampedStore::new(id, Arc::clone(&name), serdes).with_versions(), name }
    }
}

impl<K, V> fmt::Debug for VersionedStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionedStore").field("name", &self.name).finish_non_exhaustive()
    }
}
