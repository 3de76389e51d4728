//! The rows of key-value stores, typed: what [`KeyValueStore`](super::KeyValueStore) and
//! [`PlainKeyValueStore`](super::PlainKeyValueStore) have in common.

use std::{
    fmt,
    ops::{Bound, ControlFlow, RangeBounds},
    sync::Arc,
};

use super::{
    ProcessError, StorePlace, Target, TimestampedStore, key_value_store::behind_prefix, store_context::HasStores,
};
use crate::{
    serde::SerdeError,
    state::{Direction, StoreId},
};

/// Rows by key, with the timestamps that the store keeps.
pub(super) struct KeyValueRows<K, V> {
    id: StoreId,
    name: Arc<str>,
    store: TimestampedStore<K, V>,
}

// === impl KeyValueRows ===

impl<K: 'static, V: 'static> KeyValueRows<K, V> {
    pub(super) fn new(place: StorePlace<K, V>) -> Self {
        let StorePlace { id, name, serdes, .. } = place;
        Self { id, store: TimestampedStore::new(id, Arc::clone(&name), serdes), name }
    }

    pub(super) fn get(&mut self, ctx: &mut impl HasStores, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.store.get(ctx, key)
    }

    /// Without a value the row is deleted.
    pub(super) fn set(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.store.entry(key)?.write(ctx, value, timestamp_ms).map(drop)
    }

    /// Sets the value of a key that has none; gives the row when it has.
    pub(super) fn put_if_absent(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        let mut entry = self.store.entry(key)?;
        let row = entry.read(ctx)?;
        if row.is_none() {
            entry.write(ctx, Some(value), timestamp_ms)?;
        }
        Ok(row)
    }

    /// Deletes the row of a key, and gives what it was.
    pub(super) fn remove(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        timestamp_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        let mut entry = self.store.entry(key)?;
        let row = entry.read(ctx)?;
        if row.is_some() {
            entry.write(ctx, None, timestamp_ms)?;
        }
        Ok(row)
    }

    /// Walks the rows of a range of keys until `f` breaks.
    pub(super) fn scan(
        &mut self,
        ctx: &mut impl HasStores,
        keys: &impl RangeBounds<K>,
        direction: Direction,
        f: impl FnMut(K, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let start = self.bound(keys.start_bound())?;
        let end = self.bound(keys.end_bound())?;
        let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        self.scan_bytes(ctx, range, direction, f)
    }

    /// Walks the rows whose keys, as bytes, begin with `prefix`, until `f` breaks.
    pub(super) fn scan_prefix(
        &mut self,
        ctx: &mut impl HasStores,
        prefix: &[u8],
        direction: Direction,
        f: impl FnMut(K, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let behind = behind_prefix(prefix);
        let end = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.scan_bytes(ctx, (Bound::Included(prefix), end), direction, f)
    }

    pub(super) fn approximate_entries(&self, ctx: &mut impl HasStores) -> Result<u64, ProcessError> {
        Ok(ctx.stores_mut().approximate_rows(self.id)?)
    }

    fn bound(&mut self, bound: Bound<&K>) -> Result<Bound<Vec<u8>>, ProcessError> {
        Ok(match bound {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included(self.store.key_bytes(key)?.to_vec()),
            Bound::Excluded(key) => Bound::Excluded(self.store.key_bytes(key)?.to_vec()),
        })
    }

    fn scan_bytes(
        &self,
        ctx: &mut impl HasStores,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        mut f: impl FnMut(K, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let serdes = self.store.serdes();
        let mut failed = None;
        ctx.stores_mut().scan(self.id, range, direction, |key, row| {
            let read = || Ok((serdes.key().deserialize(Some(key))?, serdes.value().deserialize(Some(row.value))?));
            match read() {
                Ok((key, value)) => f(key, value, row.timestamp_ms),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |source| Err(unreadable(&self.name, source)))
    }
}

impl<K, V> fmt::Debug for KeyValueRows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueRows").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Collects rows, at most `limit` of them, of a scan that hands each of them to the function it is given.
pub(super) fn collect<R>(
    limit: usize,
    scan: impl FnOnce(&mut dyn FnMut(R) -> ControlFlow<()>) -> Result<(), ProcessError>,
) -> Result<Vec<R>, ProcessError> {
    let mut rows = Vec::new();
    if limit > 0 {
        scan(&mut |row| {
            rows.push(row);
            if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(rows)
}

/// The error of a key or value that is not what the serdes of its store write and read.
pub(super) fn unreadable(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}
