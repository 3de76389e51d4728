//! Window stores without timestamps, for users' processors.

use std::{
    fmt,
    ops::{ControlFlow, RangeBounds},
};

use super::{ProcessError, ProcessorStore, StoreContext, StorePlace, key_value_rows::collect, timed_rows::TimedRows};
use crate::{serde::Windowed, state::Direction};

/// A store of the latest value per key and start of a window (`WindowStore` of Kafka Streams), for a [`Processor`](super::Processor). It
/// is used like a [`WindowStore`](super::WindowStore) without timestamps: its changelog records have that of the record at hand.
pub struct PlainWindowStore<K, V> {
    rows: TimedRows<K, V>,
    size_ms: i64,
}

// === impl PlainWindowStore ===

impl<K: 'static, V: 'static> PlainWindowStore<K, V> {
    /// The value of a window.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K, start_ms: i64) -> Result<Option<V>, ProcessError> {
        Ok(self.rows.get(ctx, key, (start_ms, start_ms))?.map(|(value, _)| value))
    }

    /// Sets the value of a window. Gives whether it was taken: one that is too old for the store is not, and counts as dropped.
    ///
    /// # Errors
    /// When key or value cannot be serialized.
    pub fn put(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
        value: &V,
    ) -> Result<bool, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.rows.set(ctx, key, (start_ms, start_ms), Some(value), timestamp_ms)
    }

    /// Deletes a window.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete(&mut self, ctx: &mut impl StoreContext, key: &K, start_ms: i64) -> Result<bool, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.rows.set(ctx, key, (start_ms, start_ms), None, timestamp_ms)
    }

    /// Walks the windows of a key whose starts lie in a range until `f` breaks: start, value.
    ///
    /// # Errors
    /// As [`PlainWindowStore::get`].
    pub fn scan(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(i64, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.rows.scan(ctx, key, &starts, direction, |(start, _), value, _| f(start, value))
    }

    /// Walks the windows of a range of keys (by their bytes) whose starts lie in a range until `f` breaks.
    ///
    /// # Errors
    /// As [`PlainWindowStore::get`].
    pub fn scan_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        starts: impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(Windowed<K>, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let size_ms = self.size_ms;
        self.rows.scan_keys(ctx, &keys, &starts, direction, |key, (start_ms, _), value, _| {
            f(Windowed { key, start_ms, end_ms: start_ms.saturating_add(size_ms) }, value)
        })
    }

    /// The first windows of a key whose starts lie in a range, at most `limit` of them: start and value.
    ///
    /// # Errors
    /// As [`PlainWindowStore::get`].
    pub fn fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, V)>, ProcessError> {
        collect(limit, |f| self.scan(ctx, key, starts, Direction::Forward, |start, value| f((start, value))))
    }

    /// The last windows of a key whose starts lie in a range, the latest first, at most `limit` of them: start and value.
    ///
    /// # Errors
    /// As [`PlainWindowStore::get`].
    pub fn reverse_fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, V)>, ProcessError> {
        collect(limit, |f| self.scan(ctx, key, starts, Direction::Backward, |start, value| f((start, value))))
    }

    /// The first windows of a range of keys (`..` for all) whose starts lie in a range, at most `limit` of them.
    ///
    /// # Errors
    /// As [`PlainWindowStore::get`].
    pub fn fetch_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<(Windowed<K>, V)>, ProcessError> {
        collect(limit, |f| self.scan_keys(ctx, keys, starts, Direction::Forward, |window, value| f((window, value))))
    }

    /// The latest start of a window that was ever written, in ms since the epoch; -1 before the first.
    #[must_use]
    pub fn stream_time_ms(&self, ctx: &mut impl StoreContext) -> i64 {
        self.rows.stream_time_ms(ctx)
    }

    /// About how many windows there are, without those that are not committed, and with some that are too old.
    ///
    /// # Errors
    /// When the state fails.
    pub fn approximate_entries(&self, ctx: &mut impl StoreContext) -> Result<u64, ProcessError> {
        self.rows.approximate_entries(ctx)
    }
}

impl<K: 'static, V: 'static> ProcessorStore for PlainWindowStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        Self { size_ms: place.window_size_ms, rows: TimedRows::new(place) }
    }
}

impl<K, V> fmt::Debug for PlainWindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainWindowStore").field("rows", &self.rows).field("size_ms", &self.size_ms).finish()
    }
}
