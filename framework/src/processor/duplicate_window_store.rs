//! Typed access to stores that keep all values of each key and window.

use std::{
    any::type_name,
    fmt,
    ops::{Bound, ControlFlow, RangeInclusive},
    sync::Arc,
};

use super::{Context, ProcessError, ProcessorStore, StoreContext, StorePlace, Target, store_context::HasStores};
use crate::{
    serde::{Presence, Serde, SerdeError},
    state::{Direction, StoreId, TimedKey},
};

/// A store for a [`Processor`](super::Processor) that keeps all values of each key and start of a window, in the order in which they
/// came, for as long as its retention says: a window store of Kafka Streams that retains duplicates. Nothing is replaced or deleted.
pub struct DuplicateWindowStore<K, V> {
    values: WindowValues<V>,
    key_serde: Arc<dyn Serde<K>>,
    key: Vec<u8>,
}

/// A value of a window: key, start in ms since the epoch, value.
pub type DuplicateWindowRow<K, V> = (K, i64, V);

/// The same store for nodes, which have their keys as bytes.
pub(crate) struct WindowValues<V> {
    id: StoreId,
    name: Arc<str>,
    serde: Arc<dyn Serde<V>>,
    value: Vec<u8>,
}

/// A value that was found.
#[derive(Debug)]
pub(crate) struct Found<V> {
    /// The start of its window, in ms since the epoch.
    pub(crate) start_ms: i64,
    sequence: u32,
    pub(crate) value: V,
}

/// Values of one key that are read one page after the other.
#[derive(Debug)]
pub(crate) struct Pages {
    times: RangeInclusive<i64>,
    /// Start and number of the last one.
    after: Option<(i64, u32)>,
    is_done: bool,
}

/// Values that are read at once, at the most.
const PAGE_ROWS: usize = 1000;

// === impl Pages ===

impl Pages {
    /// Those of windows whose starts lie in a range.
    pub(crate) fn of(times: RangeInclusive<i64>) -> Self {
        Self { is_done: times.is_empty(), times, after: None }
    }

    /// Whether all were read.
    pub(crate) fn are_done(&self) -> bool {
        self.is_done
    }
}

// === impl WindowValues ===

impl<V: 'static> WindowValues<V> {
    /// Access to a store of the task.
    pub(crate) fn new(id: StoreId, name: Arc<str>, serde: Arc<dyn Serde<V>>) -> Self {
        Self { id, name, serde, value: Vec::new() }
    }

    /// The latest start of any window that was written, in ms; -1 before the first.
    pub(crate) fn stream_time_ms(&self, ctx: &Context) -> i64 {
        ctx.stores().stream_time_ms(self.id)
    }

    /// Adds a value behind those of its key and window. Gives whether it was taken: it is not when the store has forgotten that time. A value
    /// that serializes as null is none, and only logged.
    pub(crate) fn add(
        &mut self,
        ctx: &mut impl HasStores,
        key: &[u8],
        start_ms: i64,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<bool, ProcessError> {
        self.value.clear();
        match self.serde.serialize(value, &mut self.value) {
            Ok(presence) => {
                let value = (presence == Presence::Value).then_some(self.value.as_slice());
                Ok(ctx.stores_mut().add_timed(self.id, key, start_ms, value, timestamp_ms))
            }
            Err(source) => Err(failed(&self.name, source)),
        }
    }

    /// Reads the next page of the values of a key, in the order of their windows and as they came.
    pub(crate) fn read(
        &self,
        ctx: &mut Context,
        key: &[u8],
        pages: &mut Pages,
        page: &mut Vec<Found<V>>,
    ) -> Result<(), ProcessError> {
        page.clear();
        let Pages { times, after, is_done } = pages;
        let from = after.map_or(*times.start(), |(start_ms, _)| start_ms);
        let mut wrong = None;
        *is_done = true;
        ctx.stores_mut().scan_times(self.id, key, from..=*times.end(), Direction::Forward, |found, row| {
            let place = (found.start_ms, found.sequence);
            if after.is_some_and(|after| place <= after) {
                return ControlFlow::Continue(());
            }
            if page.len() == PAGE_ROWS {
                *is_done = false;
                return ControlFlow::Break(());
            }
            match self.serde.deserialize(Some(row.value)) {
                Ok(value) => {
                    page.push(Found { start_ms: found.start_ms, sequence: found.sequence, value });
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        *after = page.last().map(|last| (last.start_ms, last.sequence));
        wrong.map_or(Ok(()), |source| Err(failed(&self.name, source)))
    }
}

impl<V> fmt::Debug for WindowValues<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowValues").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl DuplicateWindowStore ===

impl<K: 'static, V: 'static> DuplicateWindowStore<K, V> {
    /// Adds a value to those of a key's window, which begins at `start_ms` since the epoch. Gives whether it was taken: it is not when the store
    /// has forgotten that time. A value that its serde writes as null adds none; as in Kafka Streams the changelog has a tombstone for it.
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
        self.write_key(key)?;
        self.values.add(ctx, &self.key, start_ms, value, timestamp_ms)
    }

    /// The values of a key whose windows begin in a range of times, at most `limit` of them: start and value, in the order of time
    /// and as they came; or the other way around, last one first.
    ///
    /// # Errors
    /// When the key cannot be serialized, a value cannot be deserialized, or the state fails.
    pub fn fetch(
        &mut self,
        ctx: &mut impl StoreContext,
        key: &K,
        starts: RangeInclusive<i64>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(i64, V)>, ProcessError> {
        self.write_key(key)?;
        let WindowValues { id, name, serde, .. } = &self.values;
        let read = |found: TimedKey<'_>, value: &[u8]| Ok(Some((found.start_ms, serde.deserialize(Some(value))?)));
        let mut rows = Limited::new(name, limit, read);
        if limit > 0 {
            let stores = ctx.stores_mut();
            stores.scan_times(*id, &self.key, starts, direction, |key, row| rows.visit(key, row.value))?;
        }
        rows.finish()
    }

    /// The values of a range of keys whose windows begin in a range of times, at most `limit` of them. They are in the order in which the store keeps
    /// them: by the segment of time that their windows begin in, within one by the bytes of the key and by start.
    ///
    /// # Errors
    /// As [`DuplicateWindowStore::fetch`].
    pub fn range(
        &mut self,
        ctx: &mut impl StoreContext,
        (from, to): (Bound<&K>, Bound<&K>),
        starts: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<DuplicateWindowRow<K, V>>, ProcessError> {
        let (from, to) = (self.bound(from)?, self.bound(to)?);
        let WindowValues { id, name, serde, .. } = &self.values;
        let read = |found: TimedKey<'_>, value: &[u8]| {
            if !is_within(found.key, &from, &to) {
                return Ok(None);
            }
            let key = self.key_serde.deserialize(Some(found.key))?;
            Ok(Some((key, found.start_ms, serde.deserialize(Some(value))?)))
        };
        let mut rows = Limited::new(name, limit, read);
        if limit > 0 {
            let stores = ctx.stores_mut();
            stores.scan_all_times(*id, starts, None, Direction::Forward, |key, row| rows.visit(key, row.value))?;
        }
        rows.finish()
    }

    fn bound(&mut self, key: Bound<&K>) -> Result<Bound<Vec<u8>>, ProcessError> {
        Ok(match key {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included(self.write_key(key)?.to_vec()),
            Bound::Excluded(key) => Bound::Excluded(self.write_key(key)?.to_vec()),
        })
    }

    fn write_key(&mut self, key: &K) -> Result<&[u8], ProcessError> {
        write_key(&self.values.name, &self.key_serde, key, &mut self.key)?;
        Ok(&self.key)
    }
}

impl<K: 'static, V: 'static> ProcessorStore for DuplicateWindowStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        let StorePlace { id, name, serdes, .. } = place;
        let values = WindowValues::new(id, name, Arc::clone(serdes.value()));
        Self { values, key_serde: Arc::clone(serdes.key()), key: Vec::new() }
    }
}

impl<K, V> fmt::Debug for DuplicateWindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicateWindowStore").field("values", &self.values).finish_non_exhaustive()
    }
}

/// Writes a key, which is not null, as bytes.
pub(crate) fn write_key<K: 'static>(
    store: &Arc<str>,
    serde: &Arc<dyn Serde<K>>,
    key: &K,
    out: &mut Vec<u8>,
) -> Result<(), ProcessError> {
    out.clear();
    match serde.serialize(key, out) {
        Ok(Presence::Value) => Ok(()),
        Ok(Presence::Null) => Err(failed(store, SerdeError::Null { type_name: type_name::<K>() })),
        Err(error) => Err(failed(store, error)),
    }
}

fn is_within(key: &[u8], from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    let above = match from {
        Bound::Unbounded => true,
        Bound::Included(from) => key >= from.as_slice(),
        Bound::Excluded(from) => key > from.as_slice(),
    };
    above
        && match to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to.as_slice(),
            Bound::Excluded(to) => key < to.as_slice(),
        }
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}

/// The rows of a scan, up to a limit or to the first that cannot be read.
struct Limited<'s, R, F> {
    store: &'s Arc<str>,
    limit: usize,
    read: F,
    rows: Result<Vec<R>, SerdeError>,
}

// === impl Limited ===

impl<'s, R, F: FnMut(TimedKey<'_>, &[u8]) -> Result<Option<R>, SerdeError>> Limited<'s, R, F> {
    fn new(store: &'s Arc<str>, limit: usize, read: F) -> Self {
        Self { store, limit, read, rows: Ok(Vec::new()) }
    }

    fn visit(&mut self, key: TimedKey<'_>, value: &[u8]) -> ControlFlow<()> {
        let Ok(rows) = &mut self.rows else { return ControlFlow::Break(()) };
        match (self.read)(key, value) {
            Ok(row) => rows.extend(row),
            Err(error) => {
                self.rows = Err(error);
                return ControlFlow::Break(());
            }
        }
        if rows.len() < self.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn finish(self) -> Result<Vec<R>, ProcessError> {
        self.rows.map_err(|source| failed(self.store, source))
    }
}
