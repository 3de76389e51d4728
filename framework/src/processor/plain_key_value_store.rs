//! Key-value stores without timestamps, for users' processors.

use std::{
    fmt,
    ops::{ControlFlow, RangeBounds},
};

use super::{
    ProcessError, ProcessorStore, StoreContext, StorePlace,
    key_value_rows::{KeyValueRows, collect},
};
use crate::state::Direction;

/// A store of the latest value per key (`KeyValueStore` of Kafka Streams), for a [`Processor`](super::Processor). It is used like a
/// [`KeyValueStore`](super::KeyValueStore) without timestamps: its changelog records have that of the record at hand.
pub struct PlainKeyValueStore<K, V>(KeyValueRows<K, V>);

// === impl PlainKeyValueStore ===

impl<K: 'static, V: 'static> PlainKeyValueStore<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<V>, ProcessError> {
        Ok(self.0.get(ctx, key)?.map(|(value, _)| value))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// When key or value cannot be serialized.
    pub fn put(&mut self, ctx: &mut impl StoreContext, key: &K, value: &V) -> Result<(), ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.0.set(ctx, key, Some(value), timestamp_ms)
    }

    /// Sets the value of a key that has none. Gives the value when there is one.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::get`], and when the value cannot be serialized.
    pub fn put_if_absent(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        value: &V,
    ) -> Result<Option<V>, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        Ok(self.0.put_if_absent(ctx, key, value, timestamp_ms)?.map(|(value, _)| value))
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<(), ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.0.set(ctx, key, None, timestamp_ms)
    }

    /// Deletes a key and gives the value that it had.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::get`].
    pub fn remove(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<V>, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        Ok(self.0.remove(ctx, key, timestamp_ms)?.map(|(value, _)| value))
    }

    /// Walks the rows of a range of keys (by their bytes) until `f` breaks.
    ///
    /// # Errors
    /// When a key cannot be serialized, a row cannot be deserialized, or the state fails.
    pub fn scan(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        direction: Direction,
        mut f: impl FnMut(K, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan(ctx, &keys, direction, |key, value, _| f(key, value))
    }

    /// Walks the rows whose keys, as bytes, begin with `prefix`, until `f` breaks.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::scan`].
    pub fn scan_prefix(
        &mut self,
        ctx: &mut impl StoreContext,
        prefix: &[u8],
        direction: Direction,
        mut f: impl FnMut(K, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan_prefix(ctx, prefix, direction, |key, value, _| f(key, value))
    }

    /// All rows, at most `limit` of them.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::scan`].
    pub fn all(&mut self, ctx: &mut impl StoreContext, limit: usize) -> Result<Vec<(K, V)>, ProcessError> {
        self.range(ctx, .., limit)
    }

    /// The first rows of a range of keys, at most `limit` of them.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::scan`].
    pub fn range(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, ProcessError> {
        collect(limit, |f| self.scan(ctx, keys, Direction::Forward, |key, value| f((key, value))))
    }

    /// The last rows of a range of keys, in descending order, at most `limit` of them.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::scan`].
    pub fn reverse_range(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, ProcessError> {
        collect(limit, |f| self.scan(ctx, keys, Direction::Backward, |key, value| f((key, value))))
    }

    /// The rows whose keys, as bytes, begin with `prefix`, at most `limit` of them.
    ///
    /// # Errors
    /// As [`PlainKeyValueStore::scan`].
    pub fn prefix(
        &mut self,
        ctx: &mut impl StoreContext,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(K, V)>, ProcessError> {
        collect(limit, |f| self.scan_prefix(ctx, prefix, Direction::Forward, |key, value| f((key, value))))
    }

    /// About how many rows there are, without those that are not committed.
    ///
    /// # Errors
    /// When the state fails.
    pub fn approximate_entries(&self, ctx: &mut impl StoreContext) -> Result<u64, ProcessError> {
        self.0.approximate_entries(ctx)
    }
}

impl<K: 'static, V: 'static> ProcessorStore for PlainKeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        Self(KeyValueRows::new(place))
    }
}

impl<K, V> fmt::Debug for PlainKeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlainKeyValueStore").field(&self.0).finish()
    }
}
