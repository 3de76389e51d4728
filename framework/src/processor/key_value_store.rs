//! Key-value stores with timestamps, for users' processors.

use std::{
    fmt,
    ops::{ControlFlow, RangeBounds},
};

use super::{
    ProcessError, ProcessorStore, StoreContext, StorePlace,
    key_value_rows::{KeyValueRows, collect},
};
use crate::state::Direction;

/// A store of the latest value and its timestamp per key (`TimestampedKeyValueStore` of Kafka Streams), for a
/// [`Processor`](super::Processor). What is written is seen at once by the task, and by queries after the commit.
///
/// Rows are in the order of the bytes of their keys. In a scan `f` has each row in turn until it breaks; nothing else can be done with the
/// context meanwhile, so whoever forwards what he finds lets it be collected: those functions take the most rows he wants.
pub struct KeyValueStore<K, V>(KeyValueRows<K, V>);

/// A row: key, value, timestamp in ms since the epoch.
pub type KeyValueRow<K, V> = (K, V, i64);

// === impl KeyValueStore ===

impl<K: 'static, V: 'static> KeyValueStore<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<V>, ProcessError> {
        Ok(self.0.get(ctx, key)?.map(|(value, _)| value))
    }

    /// The value of a key, and its timestamp in ms since the epoch.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn get_with_timestamp(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.get(ctx, key)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// When key or value cannot be serialized.
    pub fn put(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.0.set(ctx, key, Some(value), timestamp_ms)
    }

    /// Sets the value of a key that has none. Gives the value when there is one.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`], and when the value cannot be serialized.
    pub fn put_if_absent(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<Option<V>, ProcessError> {
        Ok(self.0.put_if_absent(ctx, key, value, timestamp_ms)?.map(|(value, _)| value))
    }

    /// Deletes a key. `timestamp_ms` is that of the changelog record.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete(&mut self, ctx: &mut impl StoreContext, key: &K, timestamp_ms: i64) -> Result<(), ProcessError> {
        self.0.set(ctx, key, None, timestamp_ms)
    }

    /// Deletes a key and gives the value that it had.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn remove(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        timestamp_ms: i64,
    ) -> Result<Option<V>, ProcessError> {
        Ok(self.0.remove(ctx, key, timestamp_ms)?.map(|(value, _)| value))
    }

    /// Walks the rows of a range of keys (by their bytes) until `f` breaks: key, value, timestamp in ms.
    ///
    /// # Errors
    /// When a key cannot be serialized, a row cannot be deserialized, or the state fails.
    pub fn scan(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        direction: Direction,
        f: impl FnMut(K, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan(ctx, &keys, direction, f)
    }

    /// Walks the rows whose keys, as bytes, begin with `prefix`, until `f` breaks.
    ///
    /// # Errors
    /// As [`KeyValueStore::scan`].
    pub fn scan_prefix(
        &mut self,
        ctx: &mut impl StoreContext,
        prefix: &[u8],
        direction: Direction,
        f: impl FnMut(K, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan_prefix(ctx, prefix, direction, f)
    }

    /// All rows, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::scan`].
    pub fn all(&mut self, ctx: &mut impl StoreContext, limit: usize) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        self.range(ctx, .., limit)
    }

    /// The first rows of a range of keys, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::scan`].
    pub fn range(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        collect(limit, |f| self.scan(ctx, keys, Direction::Forward, |key, value, at| f((key, value, at))))
    }

    /// The last rows of a range of keys, in descending order, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::scan`].
    pub fn reverse_range(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        collect(limit, |f| self.scan(ctx, keys, Direction::Backward, |key, value, at| f((key, value, at))))
    }

    /// The rows whose keys, as bytes, begin with `prefix`, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::scan`].
    pub fn prefix(
        &mut self,
        ctx: &mut impl StoreContext,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        collect(limit, |f| self.scan_prefix(ctx, prefix, Direction::Forward, |key, value, at| f((key, value, at))))
    }

    /// About how many rows there are, without those that are not committed.
    ///
    /// # Errors
    /// When the state fails.
    pub fn approximate_entries(&self, ctx: &mut impl StoreContext) -> Result<u64, ProcessError> {
        self.0.approximate_entries(ctx)
    }
}

impl<K: 'static, V: 'static> ProcessorStore for KeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        Self(KeyValueRows::new(place))
    }
}

impl<K, V> fmt::Debug for KeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyValueStore").field(&self.0).finish()
    }
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
pub(crate) fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let len = prefix.iter().rposition(|byte| *byte < u8::MAX)? + 1;
    let mut behind = prefix[..len].to_vec();
    behind[len - 1] += 1;
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::behind_prefix;

    #[test]
    fn what_is_behind_a_prefix_is_the_next_that_does_not_begin_with_it() {
        assert_eq!(behind_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(behind_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(behind_prefix(b"\xff"), None);
        assert_eq!(behind_prefix(b""), None);
    }
}
