//! Window stores with timestamps, for users' processors.

use std::{
    fmt,
    ops::{ControlFlow, RangeBounds},
};

use super::{ProcessError, ProcessorStore, StoreContext, StorePlace, key_value_rows::collect, timed_rows::TimedRows};
use crate::{serde::Windowed, state::Direction};

/// A store of the latest value and its timestamp per key and start of a window (`TimestampedWindowStore` of Kafka Streams), for a
/// [`Processor`](super::Processor). A start may be any time: the store knows the size of its windows, not how they are laid.
///
/// A window can be read while its start is later than the latest start that was ever written, less the store's retention. Those of one key are
/// in the order of their starts. Those of several keys lie in segments of half a retention (a minute at the least), and within one in the
/// order of the bytes of key and start.
///
/// In a scan `f` has each row in turn until it breaks; nothing else can be done with the context meanwhile, so whoever forwards
/// what he finds lets it be collected: those functions take the most rows he wants.
pub struct WindowStore<K, V> {
    rows: TimedRows<K, V>,
    size_ms: i64,
}

/// A window of a key: its start in ms since the epoch, its value, the timestamp of that in ms since the epoch.
pub type WindowRow<V> = (i64, V, i64);

// === impl WindowStore ===

impl<K: 'static, V: 'static> WindowStore<K, V> {
    /// The value of a window.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K, start_ms: i64) -> Result<Option<V>, ProcessError> {
        Ok(self.get_with_timestamp(ctx, key, start_ms)?.map(|(value, _)| value))
    }

    /// The value of a window, and its timestamp in ms since the epoch.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn get_with_timestamp(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        self.rows.get(ctx, key, (start_ms, start_ms))
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
        timestamp_ms: i64,
    ) -> Result<bool, ProcessError> {
        self.rows.set(ctx, key, (start_ms, start_ms), Some(value), timestamp_ms)
    }

    /// Deletes a window. `timestamp_ms` is that of the changelog record.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
        timestamp_ms: i64,
    ) -> Result<bool, ProcessError> {
        self.rows.set(ctx, key, (start_ms, start_ms), None, timestamp_ms)
    }

    /// Walks the windows of a key whose starts lie in a range until `f` breaks: start, value, timestamp.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn scan(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(i64, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.rows.scan(ctx, key, &starts, direction, |(start, _), value, at| f(start, value, at))
    }

    /// Walks the windows of a range of keys (by their bytes) whose starts lie in a range until `f` breaks: window, value, timestamp.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn scan_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        starts: impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(Windowed<K>, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let size_ms = self.size_ms;
        self.rows.scan_keys(ctx, &keys, &starts, direction, |key, (start_ms, _), value, at| {
            f(Windowed { key, start_ms, end_ms: start_ms.saturating_add(size_ms) }, value, at)
        })
    }

    /// The first windows of a key whose starts lie in a range, at most `limit` of them.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<WindowRow<V>>, ProcessError> {
        collect(limit, |f| self.scan(ctx, key, starts, Direction::Forward, |start, value, at| f((start, value, at))))
    }

    /// The last windows of a key whose starts lie in a range, the latest first, at most `limit` of them.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn reverse_fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<WindowRow<V>>, ProcessError> {
        collect(limit, |f| self.scan(ctx, key, starts, Direction::Backward, |start, value, at| f((start, value, at))))
    }

    /// The first windows of a range of keys (`..` for all) whose starts lie in a range, at most `limit` of them.
    ///
    /// # Errors
    /// As [`WindowStore::get`].
    pub fn fetch_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        starts: impl RangeBounds<i64>,
        limit: usize,
    ) -> Result<Vec<(Windowed<K>, V, i64)>, ProcessError> {
        collect(limit, |f| {
            self.scan_keys(ctx, keys, starts, Direction::Forward, |window, value, at| f((window, value, at)))
        })
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

impl<K: 'static, V: 'static> ProcessorStore for WindowStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        Self { size_ms: place.window_size_ms, rows: TimedRows::new(place) }
    }
}

impl<K, V> fmt::Debug for WindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowStore").field("rows", &self.rows).field("size_ms", &self.size_ms).finish()
    }
}
