//! Session stores, for users' processors.

use std::{
    fmt,
    ops::{ControlFlow, RangeBounds},
};

use super::{ProcessError, ProcessorStore, StoreContext, StorePlace, key_value_rows::collect, timed_rows::TimedRows};
use crate::{serde::Windowed, state::Direction};

/// A store of the latest value per key and session (`SessionStore` of Kafka Streams), for a [`Processor`](super::Processor). Its
/// changelog records have the timestamp of the record at hand.
///
/// A session can be read while its end is later than the latest end that was ever written, less the store's retention. Those of one key
/// are in the order of their ends, then of their starts. Those of several keys lie in segments of half a retention (a minute at the
/// least), and within one in the order of the bytes of key, end and start.
pub struct SessionStore<K, V>(TimedRows<K, V>);

/// A session of a key: its start and its end in ms since the epoch, both inclusive, and its value.
pub type SessionRow<V> = (i64, i64, V);

// === impl SessionStore ===

impl<K: 'static, V: 'static> SessionStore<K, V> {
    /// The value of a session.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Option<V>, ProcessError> {
        Ok(self.0.get(ctx, key, (start_ms, end_ms))?.map(|(value, _)| value))
    }

    /// Sets the value of a session. Gives whether it was taken: one that is too old for the store is not, and counts as dropped.
    ///
    /// # Errors
    /// When key or value cannot be serialized.
    pub fn put(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
        end_ms: i64,
        value: &V,
    ) -> Result<bool, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.0.set(ctx, key, (start_ms, end_ms), Some(value), timestamp_ms)
    }

    /// Removes a session.
    ///
    /// # Errors
    /// When the key cannot be serialized.
    pub fn delete(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<bool, ProcessError> {
        let timestamp_ms = ctx.timestamp_ms();
        self.0.set(ctx, key, (start_ms, end_ms), None, timestamp_ms)
    }

    /// Walks the sessions of a key that meet a range of times until `f` breaks: those that end at its beginning or later, and start at
    /// its end or earlier. `f` has start, end, value.
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn scan(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        direction: Direction,
        mut f: impl FnMut(i64, i64, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan(ctx, key, &(earliest_end_ms..), direction, |(start, end), value, _| {
            if start <= latest_start_ms { f(start, end, value) } else { ControlFlow::Continue(()) }
        })
    }

    /// Walks the sessions of a range of keys (by their bytes) whose ends lie in a range until `f` breaks.
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn scan_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        ends: impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(Windowed<K>, V) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        self.0.scan_keys(ctx, &keys, &ends, direction, |key, (start_ms, end_ms), value, _| {
            f(Windowed { key, start_ms, end_ms }, value)
        })
    }

    /// The first sessions of a key that meet a range of times, at most `limit` of them; see [`SessionStore::scan`].
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn find(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        limit: usize,
    ) -> Result<Vec<SessionRow<V>>, ProcessError> {
        collect(limit, |f| {
            self.scan(ctx, key, earliest_end_ms, latest_start_ms, Direction::Forward, |start, end, value| {
                f((start, end, value))
            })
        })
    }

    /// The last sessions of a key that meet a range of times, the latest first, at most `limit` of them; see [`SessionStore::scan`].
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn reverse_find(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        limit: usize,
    ) -> Result<Vec<SessionRow<V>>, ProcessError> {
        collect(limit, |f| {
            self.scan(ctx, key, earliest_end_ms, latest_start_ms, Direction::Backward, |start, end, value| {
                f((start, end, value))
            })
        })
    }

    /// The first sessions of a key, at most `limit` of them.
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        limit: usize,
    ) -> Result<Vec<SessionRow<V>>, ProcessError> {
        self.find(ctx, key, 0, i64::MAX, limit)
    }

    /// The last sessions of a key, the latest first, at most `limit` of them.
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn reverse_fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        limit: usize,
    ) -> Result<Vec<SessionRow<V>>, ProcessError> {
        self.reverse_find(ctx, key, 0, i64::MAX, limit)
    }

    /// The first sessions of a range of keys (`..` for all), at most `limit` of them.
    ///
    /// # Errors
    /// As [`SessionStore::get`].
    pub fn fetch_keys(
        &mut self,
        ctx: &mut impl StoreContext,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(Windowed<K>, V)>, ProcessError> {
        collect(limit, |f| self.scan_keys(ctx, keys, .., Direction::Forward, |session, value| f((session, value))))
    }

    /// The latest end of a session that was ever written, in ms since the epoch; -1 before the first.
    #[must_use]
    pub fn stream_time_ms(&self, ctx: &mut impl StoreContext) -> i64 {
        self.0.stream_time_ms(ctx)
    }

    /// About how many sessions there are, without those that are not committed, and with some that are too old.
    ///
    /// # Errors
    /// When the state fails.
    pub fn approximate_entries(&self, ctx: &mut impl StoreContext) -> Result<u64, ProcessError> {
        self.0.approximate_entries(ctx)
    }
}

impl<K: 'static, V: 'static> ProcessorStore for SessionStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        Self(TimedRows::new(place))
    }
}

impl<K, V> fmt::Debug for SessionStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionStore").field(&self.0).finish()
    }
}
