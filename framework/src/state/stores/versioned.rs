//! Versions of values.

use std::ops::ControlFlow;

use super::TaskStores;
use crate::{
    log::Batch,
    state::{
        Direction, Row, StateError, StoreId,
        range::KeyRange,
        versioned::{self, Past, Version, Versions, Written},
    },
};

/// A past version that an update concerns.
struct Found {
    valid_from_ms: i64,
    valid_to_ms: i64,
    stored: Vec<u8>,
}

// === impl TaskStores ===

impl TaskStores {
    /// Reads the latest version of a key as the task sees it: none when that is a tombstone.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn read_latest<R>(
        &mut self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        let _ = self.versions(store);
        let mut stored = std::mem::take(&mut self.keys.0);
        versioned::put_latest_key(&mut stored, key);
        let read = self.read(store, &stored, f);
        self.keys.0 = stored;
        read
    }

    /// Reads the version of a key that was valid at some time, as the task sees it: none when there was none, and none that another one has
    /// followed when that is longer ago than the store keeps its history.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn read_as_of<R>(
        &mut self,
        store: StoreId,
        key: &[u8],
        as_of_ms: i64,
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        let mut f = Some(f);
        let mut answer = |row: Option<Row<'_>>| f.take().map(|f| f(row));
        let latest = |row: Option<Row<'_>>| match row {
            Some(row) if row.timestamp_ms <= as_of_ms => answer(Some(row)),
            _ => None,
        };
        let mut answered = self.read_latest(store, key, latest)?;
        if answered.is_none() && as_of_ms >= self.versions(store).known_from(self.stream_time_ms(store)) {
            self.scan_past(store, key, as_of_ms, |past| {
                if past.valid_from_ms <= as_of_ms
                    && let Some(value) = past.value()
                {
                    answered = answer(Some(Row { value, timestamp_ms: past.valid_from_ms }));
                }
                // Those behind it begin later.
                ControlFlow::Break(())
            })?;
        }
        Ok(answered.or_else(|| answer(None)).expect("it is answered once"))
    }

    /// Walks the versions of a key that can be read still and were valid at `from_ms` or later, the earliest first, until `f` breaks.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn scan_versions(
        &mut self,
        store: StoreId,
        key: &[u8],
        from_ms: i64,
        mut f: impl FnMut(Version<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let from_ms = from_ms.max(self.versions(store).known_from(self.stream_time_ms(store)));
        let mut flow = ControlFlow::Continue(());
        self.scan_past(store, key, from_ms, |past| {
            flow = past.version().map_or(ControlFlow::Continue(()), &mut f);
            flow
        })?;
        if flow.is_break() {
            return Ok(());
        }
        self.read_latest(store, key, |row| {
            if let Some(Row { value, timestamp_ms }) = row {
                let _ = f(Version { value, valid_from_ms: timestamp_ms, valid_to_ms: None });
            }
        })
    }

    /// Adds a version, valid from `timestamp_ms` on; without a value it says that there is none from then on. Says what became of it.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn write_version(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<Written, StateError> {
        // One that is refused is logged too, as Kafka Streams does.
        self.journal.add(store, key, value, timestamp_ms);
        self.times.observe(store, timestamp_ms);
        if timestamp_ms < self.versions(store).known_from(self.stream_time_ms(store)) {
            return Ok(Written::Refused);
        }
        self.add_version(store, key, value, timestamp_ms)
    }

    /// Applies records of a versioned store's changelog as updates of this task's, which are committed with `next_offset`.
    pub(super) fn restore_versions(&mut self, store: StoreId, records: &Batch) -> Result<(), StateError> {
        for record in records.iter() {
            let Some(key) = record.key else { continue };
            self.times.observe(store, record.timestamp_ms);
            // What was too old when it was written is so again: the stream time is that of then.
            if record.timestamp_ms >= self.versions(store).known_from(self.stream_time_ms(store)) {
                self.add_version(store, key, record.value, record.timestamp_ms)?;
            }
        }
        Ok(())
    }

    fn add_version(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<Written, StateError> {
        let mut stored = std::mem::take(&mut self.row);
        let written = self.add_version_with(&mut stored, store, key, value, timestamp_ms);
        self.row = stored;
        written
    }

    /// `stored` is only reused memory.
    fn add_version_with(
        &mut self,
        stored: &mut Vec<u8>,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<Written, StateError> {
        let latest_ms = self.read_latest(store, key, |row| {
            let row = row?;
            if row.timestamp_ms < timestamp_ms {
                versioned::put_stored(stored, Some(row.value));
            }
            Some(row.timestamp_ms)
        })?;
        if let Some(latest_ms) = latest_ms.filter(|latest_ms| *latest_ms <= timestamp_ms) {
            if latest_ms < timestamp_ms {
                self.write_past(store, key, (latest_ms, timestamp_ms), stored);
            }
            self.write_latest(store, key, value, timestamp_ms);
            return Ok(Written::Latest);
        }
        let valid_to_ms = match (self.first_past(store, key, timestamp_ms)?, latest_ms) {
            (Some(found), _) if found.valid_from_ms <= timestamp_ms => {
                // The version that was valid then ends here; this one goes on in its place.
                if found.valid_from_ms < timestamp_ms {
                    self.write_past(store, key, (found.valid_from_ms, timestamp_ms), &found.stored);
                }
                versioned::put_stored(stored, value);
                self.write_past(store, key, (timestamp_ms, found.valid_to_ms), stored);
                return Ok(Written::OutOfOrder { valid_to_ms: found.valid_to_ms });
            }
            (Some(found), _) => found.valid_from_ms,
            (None, Some(latest_ms)) => latest_ms,
            (None, None) => {
                if value.is_some() {
                    self.write_latest(store, key, value, timestamp_ms);
                } else if !self.ends_at(store, key, timestamp_ms)? {
                    versioned::put_stored(stored, None);
                    self.write_past(store, key, (timestamp_ms, timestamp_ms), stored);
                }
                return Ok(Written::Latest);
            }
        };
        versioned::put_stored(stored, value);
        self.write_past(store, key, (timestamp_ms, valid_to_ms), stored);
        Ok(Written::OutOfOrder { valid_to_ms })
    }

    /// The first past version of a key that ends later than `after_ms`.
    fn first_past(&mut self, store: StoreId, key: &[u8], after_ms: i64) -> Result<Option<Found>, StateError> {
        let mut found = None;
        self.scan_past(store, key, after_ms, |Past { valid_from_ms, valid_to_ms, stored }| {
            found = Some(Found { valid_from_ms, valid_to_ms, stored: stored.to_vec() });
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Walks the past versions of a key that end later than `after_ms`, the earliest first, until `f` breaks.
    fn scan_past(
        &mut self,
        store: StoreId,
        key: &[u8],
        after_ms: i64,
        mut f: impl FnMut(Past<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let (versions, now) = (self.versions(store), self.stream_time_ms(store));
        let mut bounds = std::mem::take(&mut self.keys);
        let mut result = Ok(ControlFlow::Continue(()));
        for bucket in versions.buckets(after_ms, now) {
            Versions::put_bounds(&mut bounds, bucket, key, after_ms, now);
            let Some(range) = KeyRange::new(&(bounds.0.as_slice()..=bounds.1.as_slice())) else { continue };
            let mut each = |stored: &[u8], row: Row<'_>| match versioned::past_key(stored) {
                // Keys that begin with this one lie in between.
                Some((found, valid_to_ms)) if found == key => {
                    f(Past { valid_from_ms: row.timestamp_ms, valid_to_ms, stored: row.value })
                }
                _ => ControlFlow::Continue(()),
            };
            result = self.scan_range(store, &range, Direction::Forward, &mut each);
            if !matches!(result, Ok(ControlFlow::Continue(()))) {
                break;
            }
        }
        self.keys = bounds;
        result.map(drop)
    }

    /// Whether a past version of a key ends at exactly this time.
    fn ends_at(&mut self, store: StoreId, key: &[u8], valid_to_ms: i64) -> Result<bool, StateError> {
        let versions = self.versions(store);
        let mut stored = std::mem::take(&mut self.keys.0);
        versions.put_key(&mut stored, key, valid_to_ms);
        let found = self.read(store, &stored, |row| row.is_some());
        self.keys.0 = stored;
        found
    }

    fn write_past(&mut self, store: StoreId, key: &[u8], (from_ms, to_ms): (i64, i64), stored: &[u8]) {
        self.versions(store).put_key(&mut self.keys.0, key, to_ms);
        self.overlay.write(store, &self.keys.0, Some(stored), from_ms);
    }

    fn write_latest(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        versioned::put_latest_key(&mut self.keys.0, key);
        self.overlay.write(store, &self.keys.0, value, timestamp_ms);
    }

    fn versions(&self, store: StoreId) -> Versions {
        Versions::of(self.specs[store.index()].kind).expect("only versioned stores are asked for versions")
    }
}
