//! The key-value stores of users' processors.

use std::{
    fmt,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{Context, ProcessError, ProcessorContext, Target, TimestampedStore};
use crate::{
    serde::Serdes,
    state::{Direction, StoreId},
};

/// A store of the latest value and its timestamp per key, for a [`Processor`](super::Processor). What is written is seen at once by
/// the task, and by queries after the commit.
pub struct KeyValueStore<K, V> {
    id: StoreId,
    name: Arc<str>,
    store: TimestampedStore<K, V>,
}

/// A row: key, value, timestamp in ms since the epoch.
pub type KeyValueRow<K, V> = (K, V, i64);

// === impl KeyValueStore ===

impl<K: 'static, V: 'static> KeyValueStore<K, V> {
    pub(crate) fn new(id: StoreId, name: Arc<str>, serdes: Serdes<K, V>) -> Self {
        Self { id, store: TimestampedStore::new(id, Arc::clone(&name), serdes), name }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        key: &K,
    ) -> Result<Option<V>, ProcessError> {
        Ok(self.store.get(ctx.inner(), key)?.map(|(value, _)| value))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// When key or value cannot be serialized.
    pub fn put<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        key: &K,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.store.entry(key)?.write(ctx.inner(), Some(value), timestamp_ms).map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        key: &K,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.store.entry(key)?.write(ctx.inner(), None, timestamp_ms).map(drop)
    }

    /// All rows in the order of the bytes of their keys, at most `limit` of them.
    ///
    /// # Errors
    /// When a row cannot be deserialized, or the state fails.
    pub fn all<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        self.rows(ctx.inner(), (Bound::Unbounded, Bound::Unbounded), limit)
    }

    /// The rows from one key to another, both included, in the order of the bytes of their keys, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::all`], and when a key cannot be serialized.
    pub fn range<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        from: &K,
        to: &K,
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        let (from, to) = (self.store.key_bytes(from)?.to_vec(), self.store.key_bytes(to)?.to_vec());
        self.rows(ctx.inner(), (Bound::Included(&from), Bound::Included(&to)), limit)
    }

    /// The rows whose keys, as bytes, begin with `prefix`, in their order, at most `limit` of them.
    ///
    /// # Errors
    /// As [`KeyValueStore::all`].
    pub fn prefix<L: Clone + 'static, W: Clone + 'static>(
        &mut self,
        ctx: &mut ProcessorContext<'_, L, W>,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        let behind = behind_prefix(prefix);
        let end = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.rows(ctx.inner(), (Bound::Included(prefix), end), limit)
    }

    fn rows(
        &self,
        ctx: &mut Context,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<KeyValueRow<K, V>>, ProcessError> {
        let serdes = self.store.serdes();
        let (mut rows, mut failed) = (Vec::new(), None);
        if limit == 0 {
            return Ok(rows);
        }
        ctx.stores_mut().scan(self.id, range, Direction::Forward, |key, row| {
            let read = || Ok((serdes.key().deserialize(Some(key))?, serdes.value().deserialize(Some(row.value))?));
            match read() {
                Ok((key, value)) => rows.push((key, value, row.timestamp_ms)),
                Err(error) => failed = Some(error),
            }
            if failed.is_some() || rows.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match failed {
            Some(source) => Err(ProcessError::Serialization { target: Target::Store(Arc::clone(&self.name)), source }),
            None => Ok(rows),
        }
    }
}

impl<K, V> fmt::Debug for KeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
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
