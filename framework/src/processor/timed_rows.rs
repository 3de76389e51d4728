//! The rows of window and session stores, typed: what the stores of processors have in common.

use std::{
    fmt,
    ops::{Bound, ControlFlow, RangeBounds, RangeInclusive},
    sync::Arc,
};

use super::{ProcessError, StorePlace, TimedStore, key_value_rows::unreadable, store_context::HasStores};
use crate::{
    serde::{SerdeError, Serdes},
    state::{Direction, StoreId},
};

/// Rows by key and window or session.
pub(super) struct TimedRows<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    store: TimedStore<K, V>,
}

/// Start and end in ms since the epoch; windows do not know their end.
pub(super) type Span = (i64, i64);

// === impl TimedRows ===

impl<K: 'static, V: 'static> TimedRows<K, V> {
    pub(super) fn new(place: StorePlace<K, V>) -> Self {
        let StorePlace { id, name, serdes, .. } = place;
        let (keys, values) = (Arc::clone(serdes.key()), Arc::clone(serdes.value()));
        Self { id, store: TimedStore::new(id, Arc::clone(&name), keys, values), name, serdes }
    }

    pub(super) fn get(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        (start_ms, end_ms): Span,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        self.store.entry(key)?.read(ctx, start_ms, end_ms)
    }

    /// Without a value the row is deleted. Gives whether it was taken.
    pub(super) fn set(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        span: Span,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<bool, ProcessError> {
        let taken = self.store.entry(key)?.write(ctx, span, value, timestamp_ms)?;
        if !taken {
            ctx.row_expired();
        }
        Ok(taken)
    }

    /// Walks the rows of a key whose times lie in a range until `f` breaks.
    pub(super) fn scan(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        times: &impl RangeBounds<i64>,
        direction: Direction,
        f: impl FnMut(Span, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let Some(times) = inclusive(times) else { return Ok(()) };
        self.store.entry(key)?.scan(ctx, times, direction, f)
    }

    /// Walks the rows of a range of keys whose times lie in a range until `f` breaks.
    pub(super) fn scan_keys(
        &mut self,
        ctx: &mut impl HasStores,
        keys: &impl RangeBounds<K>,
        times: &impl RangeBounds<i64>,
        direction: Direction,
        mut f: impl FnMut(K, Span, V, i64) -> ControlFlow<()>,
    ) -> Result<(), ProcessError> {
        let Some(times) = inclusive(times) else { return Ok(()) };
        let (start, end) = (self.bound(keys.start_bound())?, self.bound(keys.end_bound())?);
        let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let (serdes, mut failed) = (&self.serdes, None);
        ctx.stores_mut().scan_keys_and_times(self.id, range, times, direction, |found, row| {
            let read = || {
                let key = serdes.key().deserialize(Some(found.key))?;
                Ok::<_, SerdeError>((key, serdes.value().deserialize(Some(row.value))?))
            };
            match read() {
                Ok((key, value)) => f(key, (found.start_ms, found.end_ms), value, row.timestamp_ms),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |source| Err(unreadable(&self.name, source)))
    }

    pub(super) fn stream_time_ms(&self, ctx: &mut impl HasStores) -> i64 {
        ctx.stores_mut().stream_time_ms(self.id)
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
}

impl<K, V> fmt::Debug for TimedRows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedRows").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The first and last time of a range; `None` when there is none in it.
fn inclusive(times: &impl RangeBounds<i64>) -> Option<RangeInclusive<i64>> {
    let first = match times.start_bound() {
        Bound::Unbounded => i64::MIN,
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.checked_add(1)?,
    };
    let last = match times.end_bound() {
        Bound::Unbounded => i64::MAX,
        Bound::Included(last) => *last,
        Bound::Excluded(behind) => behind.checked_sub(1)?,
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_times_have_a_first_and_a_last_one_or_are_empty() {
        assert_eq!(inclusive(&(..)), Some(i64::MIN..=i64::MAX));
        assert_eq!(inclusive(&(3..7)), Some(3..=6));
        assert_eq!(inclusive(&(Bound::Excluded(3), Bound::Included(7))), Some(4..=7));
        assert_eq!(inclusive(&(3..3)), None);
        assert_eq!(inclusive(&(..i64::MIN)), None);
        assert_eq!(inclusive(&(Bound::Excluded(i64::MAX), Bound::Unbounded)), None);
    }
}
