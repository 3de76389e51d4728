//! Rows of windows and sessions.

use std::ops::{ControlFlow, RangeInclusive};

use super::TaskStores;
use crate::state::{
    Direction, Row, StateError, StoreId,
    range::KeyRange,
    timed::{CLOSED_KEY, Layout, TimedKey, Visible},
};

// === impl TaskStores ===

impl TaskStores {
    /// The latest time of any row that was written to a window or session store, as the task sees it; -1 before the first.
    #[must_use]
    pub fn stream_time_ms(&self, store: StoreId) -> i64 {
        self.times.live(store)
    }

    /// Reads the row of a window or session as the task sees it: none when it is too old.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    pub fn read_timed<R>(
        &mut self,
        store: StoreId,
        key: TimedKey<'_>,
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        let layout = self.layout(store);
        let time = layout.time(key);
        if time < layout.retention().visible_from(self.times.live(store)) {
            return Ok(f(None));
        }
        let mut stored = std::mem::take(&mut self.keys.0);
        layout.put_key(&mut stored, key);
        let all_at_hand = self.overlay.has_all_of(store, time);
        let read = match self.overlay.get(store, &stored) {
            Some(entry) => Ok(f(entry.row())),
            None if all_at_hand => Ok(f(None)),
            None => self.read_committed(store, &stored, f),
        };
        self.keys.0 = stored;
        read
    }

    /// Sets the row of a window or session; without a value it is deleted. Moves the store's time on. Gives whether the row was
    /// taken: it is not when its segment has expired. It is logged in any case, as by Kafka Streams.
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    #[must_use]
    pub fn write_timed(&mut self, store: StoreId, key: TimedKey<'_>, value: Option<&[u8]>, timestamp_ms: i64) -> bool {
        let layout = self.layout(store);
        let time = layout.time(key);
        self.times.observe(store, time);
        let now = self.times.live(store);
        layout.put_key(&mut self.keys.0, key);
        self.overlay.write(store, &self.keys.0, value, timestamp_ms);
        time >= layout.retention().accepted_from(now)
    }

    /// Adds a value to those of a key's window, behind them. Moves the store's time on. Gives whether the row was taken: it is not when
    /// its segment has expired. Without a value there is nothing to be added: that is logged only, under a number of its own.
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    #[must_use]
    pub fn add_timed(
        &mut self,
        store: StoreId,
        key: &[u8],
        start_ms: i64,
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> bool {
        let sequence = self.times.next_sequence(store);
        let key = TimedKey::numbered(key, start_ms, sequence);
        if value.is_some() {
            return self.write_timed(store, key, value, timestamp_ms);
        }
        self.layout(store).put_key(&mut self.keys.0, key);
        self.overlay.write(store, &self.keys.0, None, timestamp_ms);
        true
    }

    /// Walks the rows of a key whose times lie in a range, in the order of time (sessions that end together: by their start; values
    /// of one window: as they came), until
    /// `f` breaks.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    pub fn scan_times(
        &mut self,
        store: StoreId,
        key: &[u8],
        times: RangeInclusive<i64>,
        direction: Direction,
        mut f: impl FnMut(TimedKey<'_>, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let Some(visible) = self.visible(store, times) else { return Ok(()) };
        let mut bounds = std::mem::take(&mut self.keys);
        let all_at_hand = self.overlay.scans_all_of(store, visible.from);
        let mut result = Ok(());
        for bucket in visible.buckets(direction) {
            Layout::put_bounds(&mut bounds, bucket, key, visible.from, visible.to);
            let Some(range) = KeyRange::new(&(bounds.0.as_slice()..=bounds.1.as_slice())) else { continue };
            let mut each = |stored: &[u8], row: Row<'_>| match visible.key(stored) {
                // Keys that begin with this one lie in between.
                Some(found) if found.key == key => f(found, row),
                _ => ControlFlow::Continue(()),
            };
            let scanned = if all_at_hand {
                Ok(self.scan_at_hand(store, &range, direction, &mut each))
            } else {
                self.scan_range(store, &range, direction, &mut each)
            };
            match scanned {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.keys = bounds;
        result
    }

    /// Walks the rows of all keys whose times lie in a range, until `f` breaks: bucket by bucket, by the bytes of key and time
    /// within one. With `after`, only those behind this one in ascending order.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    pub fn scan_all_times(
        &mut self,
        store: StoreId,
        times: RangeInclusive<i64>,
        after: Option<TimedKey<'_>>,
        direction: Direction,
        f: impl FnMut(TimedKey<'_>, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let visible = self.visible(store, times);
        self.scan_visible(store, visible, after, direction, f)
    }

    /// Walks the rows of all keys whose times lie in a range, bucket by bucket, until `f` breaks; also those that cannot be read any more,
    /// and are not removed yet.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    pub fn scan_kept_times(
        &mut self,
        store: StoreId,
        times: RangeInclusive<i64>,
        f: impl FnMut(TimedKey<'_>, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let kept = Visible::kept(self.layout(store), self.times.live(store), times);
        self.scan_visible(store, kept, None, Direction::Forward, f)
    }

    fn scan_visible(
        &mut self,
        store: StoreId,
        visible: Option<Visible>,
        after: Option<TimedKey<'_>>,
        direction: Direction,
        mut f: impl FnMut(TimedKey<'_>, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let Some(visible) = visible else { return Ok(()) };
        let (first, behind) = visible.bounds();
        let mut lower = first.to_vec();
        if let Some(after) = after {
            self.layout(store).put_key(&mut lower, after);
            // The smallest key that is larger.
            lower.push(0);
        }
        let Some(range) = KeyRange::new(&(&lower[..]..&behind[..])) else { return Ok(()) };
        let scanned = self.scan_range(store, &range, direction, &mut |stored, row| match visible.key(stored) {
            Some(found) => f(found, row),
            None => ControlFlow::Continue(()),
        });
        scanned.map(drop)
    }

    /// Up to which time windows were closed and passed on, in ms; `None` when none was.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn closed_ms(&mut self, store: StoreId) -> Result<Option<i64>, StateError> {
        self.read(store, CLOSED_KEY, |row| row.and_then(|row| Some(i64::from_be_bytes(*row.value.first_chunk()?))))
    }

    /// Keeps, with the rows and in their changelog, up to which time windows were closed and passed on. `timestamp_ms` is that of the
    /// changelog record.
    pub fn set_closed_ms(&mut self, store: StoreId, closed_ms: i64, timestamp_ms: i64) {
        self.overlay.write(store, CLOSED_KEY, Some(&closed_ms.to_be_bytes()), timestamp_ms);
    }

    /// Whatever is not committed is at hand, and nothing is committed behind the stream time.
    pub(super) fn all_since_committed(&mut self) {
        for store in (0..self.specs.len()).map(StoreId::new) {
            self.overlay.has_all_since(store, self.times.committed(store).saturating_add(1));
        }
    }

    pub(super) fn visible(&self, store: StoreId, times: RangeInclusive<i64>) -> Option<Visible> {
        Visible::new(self.layout(store), self.times.live(store), times)
    }

    fn layout(&self, store: StoreId) -> Layout {
        Layout::of(self.specs[store.index()].kind).expect("only window and session stores are read by time")
    }
}
