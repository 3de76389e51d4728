//! Typed access to the window and session stores of a task.

use std::{
    any::type_name,
    fmt,
    ops::{ControlFlow, RangeInclusive},
    sync::Arc,
};

use super::{Context, ProcessError, Target, store_context::HasStores};
use crate::{
    serde::{Presence, Serde, SerdeError},
    state::{Direction, Row, StoreId, TimedKey},
};

/// A store of rows by key and window, or by key and session. It owns the buffers that keys and values are written into.
pub struct TimedStore<K, V> {
    id: StoreId,
    name: Arc<str>,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The windows or sessions of one key in a store: the key is serialized once.
pub struct TimedEntry<'s, V> {
    id: StoreId,
    name: &'s Arc<str>,
    serde: &'s Arc<dyn Serde<V>>,
    key: &'s [u8],
    buffer: &'s mut Vec<u8>,
}

/// Rows of all keys on their way to a function.
struct Reading<'s, K, V, F> {
    store: &'s TimedStore<K, V>,
    f: F,
    /// Why it ended early, when a row cannot be read.
    wrong: Option<SerdeError>,
}

// === impl TimedStore ===

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// Access to a store of the task.
    #[must_use]
    pub fn new(id: StoreId, name: Arc<str>, key_serde: Arc<dyn Serde<K>>, value_serde: Arc<dyn Serde<V>>) -> Self {
        Self { id, name, key_serde, value_serde, key: Vec::new(), value: Vec::new() }
    }

    /// The windows or sessions of a key.
    ///
    /// # Errors
    ///
    /// When the key cannot be serialized, or is null.
    pub fn entry(&mut self, key: &K) -> Result<TimedEntry<'_, V>, ProcessError> {
        self.key_bytes(key)?;
        Ok(TimedEntry {
            id: self.id,
            name: &self.name,
            serde: &self.value_serde,
            key: &self.key,
            buffer: &mut self.value,
        })
    }

    /// A key as bytes.
    pub(super) fn key_bytes(&mut self, key: &K) -> Result<&[u8], ProcessError> {
        self.key.clear();
        let written = match self.key_serde.serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(SerdeError::Null { type_name: type_name::<K>() }),
            Err(error) => Err(error),
        };
        written.map_err(|source| failed(&self.name, source))?;
        Ok(&self.key)
    }

    /// The latest time of any row that was written, in ms; -1 before the first. After a restart it is the least that the stream time of
    /// whoever wrote it had come to.
    #[must_use]
    pub fn stream_time_ms(&self, ctx: &Context) -> i64 {
        ctx.stores().stream_time_ms(self.id)
    }

    /// Up to which time windows were closed and passed on, in ms; see [`TimedStore::set_closed_ms`].
    ///
    /// # Errors
    ///
    /// When the state fails.
    pub fn closed_ms(&self, ctx: &mut impl HasStores) -> Result<Option<i64>, ProcessError> {
        Ok(ctx.stores_mut().closed_ms(self.id)?)
    }

    /// Keeps, with the rows, up to which time windows were closed and passed on.
    pub fn set_closed_ms(&self, ctx: &mut impl HasStores, closed_ms: i64, timestamp_ms: i64) {
        ctx.stores_mut().set_closed_ms(self.id, closed_ms, timestamp_ms);
    }

    /// Walks the rows of all keys whose times lie in a range, in the order in which the store keeps them: their key, start, end,
    /// value and timestamp in ms, until `f` breaks; only those behind the window `after`, if there is one. The time of a window is its
    /// start, that of a session its end; windows do not know their end.
    ///
    /// # Errors
    ///
    /// When a row cannot be deserialized or the state fails.
    pub fn scan_all(
        &mut self,
        ctx: &mut impl HasStores,
        times: RangeInclusive<i64>,
        after: Option<&(K, i64)>,
        f: impl FnMut(K, (i64, i64), V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        if let Some((key, _)) = after {
            self.entry(key)?;
        }
        let after = after.map(|(_, time)| TimedKey::window(&self.key, *time));
        let mut reading = Reading::new(self, f);
        let each = |found: TimedKey<'_>, row: Row<'_>| reading.visit(found, row);
        ctx.stores_mut().scan_all_times(self.id, times, after, Direction::Forward, each)?;
        reading.finish()
    }

    /// As [`TimedStore::scan_all`], with the rows that cannot be read any more and are not removed yet.
    ///
    /// # Errors
    ///
    /// When a row cannot be deserialized or the state fails.
    pub fn scan_kept(
        &self,
        ctx: &mut impl HasStores,
        times: RangeInclusive<i64>,
        f: impl FnMut(K, (i64, i64), V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let mut reading = Reading::new(self, f);
        ctx.stores_mut().scan_kept_times(self.id, times, |found, row| reading.visit(found, row))?;
        reading.finish()
    }
}

impl<K, V> fmt::Debug for TimedStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedStore").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Reading ===

impl<'s, K, V, F> Reading<'s, K, V, F>
where
    K: 'static,
    V: 'static,
    F: FnMut(K, (i64, i64), V, i64) -> ControlFlow<()>,
{
    const fn new(store: &'s TimedStore<K, V>, f: F) -> Self {
        Self { store, f, wrong: None }
    }

    fn visit(&mut self, found: TimedKey<'_>, row: Row<'_>) -> ControlFlow<()> {
        let key = self.store.key_serde.deserialize(Some(found.key));
        match key.and_then(|key| Ok((key, self.store.value_serde.deserialize(Some(row.value))?))) {
            Ok((key, value)) => (self.f)(key, (found.start_ms, found.end_ms), value, row.timestamp_ms),
            Err(error) => {
                self.wrong = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn finish(self) -> Result<(), ProcessError> {
        self.wrong.map_or(Ok(()), |source| Err(failed(&self.store.name, source)))
    }
}

// === impl TimedEntry ===

impl<V: 'static> TimedEntry<'_, V> {
    /// The row of a window (its end does not matter) or session, and its timestamp in ms.
    ///
    /// # Errors
    ///
    /// When the row cannot be deserialized or the state fails.
    pub fn read(&self, ctx: &mut impl HasStores, start_ms: i64, end_ms: i64) -> Result<Option<(V, i64)>, ProcessError> {
        let key = TimedKey::session(self.key, start_ms, end_ms);
        let row = ctx.stores_mut().read_timed(self.id, key, |row| {
            row.map(|row| Ok((self.serde.deserialize(Some(row.value))?, row.timestamp_ms))).transpose()
        })?;
        row.map_err(|source| failed(self.name, source))
    }

    /// Replaces the row of a window (its end does not matter) or session; `None`, and a value that serializes as null, deletes it.
    /// Gives whether the row was taken: it is not when the store has forgotten its time.
    ///
    /// # Errors
    ///
    /// When the value cannot be serialized.
    pub fn write(
        &mut self,
        ctx: &mut impl HasStores,
        (start_ms, end_ms): (i64, i64),
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<bool, ProcessError> {
        self.buffer.clear();
        let presence = match value {
            Some(value) => self.serde.serialize(value, self.buffer).map_err(|source| failed(self.name, source))?,
            None => Presence::Null,
        };
        let key = TimedKey::session(self.key, start_ms, end_ms);
        Ok(ctx.stores_mut().write_timed(self.id, key, presence.of(self.buffer), timestamp_ms))
    }

    /// Walks the rows whose times (the start of a window, the end of a session) lie in a range, in their order, until `f` breaks:
    /// start, end, value and timestamp in ms.
    ///
    /// # Errors
    ///
    /// When a row cannot be deserialized or the state fails.
    pub fn scan(
        &self,
        ctx: &mut impl HasStores,
        times: RangeInclusive<i64>,
        direction: Direction,
        mut f: impl FnMut((i64, i64), V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let mut wrong = None;
        ctx.stores_mut().scan_times(self.id, self.key, times, direction, |found, row| {
            match self.serde.deserialize(Some(row.value)) {
                Ok(value) => f((found.start_ms, found.end_ms), value, row.timestamp_ms),
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        wrong.map_or(Ok(()), |source| Err(failed(self.name, source)))
    }
}

impl<V> fmt::Debug for TimedEntry<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedEntry").field("store", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}
