//! Committed versions of values.

use std::ops::ControlFlow;

use super::{OwnedRow, PageRow, TaskView};
use crate::state::{
    CommitPoint, Direction, StateError, StoreId,
    backend::AtOnce,
    range::KeyRange,
    stores::RowReader,
    versioned::{self, Past, Versions},
};

/// A committed version of a key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedVersion {
    /// The serialized key.
    pub key: Vec<u8>,
    /// The serialized value.
    pub value: Vec<u8>,
    /// Since when it is valid, in ms since the epoch.
    pub valid_from_ms: i64,
    /// Up to when it was valid (exclusive), in ms since the epoch; `None` for the latest.
    pub valid_to_ms: Option<i64>,
}

// === impl TaskView ===

impl TaskView {
    /// The version of a key that was valid at some time, and since when, in ms since the epoch; and the point of the commit they are
    /// of. There is none when a later one has followed it longer ago than the store keeps its history.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn get_as_of(
        &self,
        store: StoreId,
        key: &[u8],
        as_of_ms: i64,
    ) -> Result<(Option<OwnedRow>, CommitPoint), StateError> {
        let (versions, reader) = (self.versions_of(store), RowReader::new(self.owner, &self.specs, store));
        let mut stored = Vec::new();
        versioned::put_latest_key(&mut stored, key);
        self.read(|backend| {
            backend.at_once(store, |at_once| {
                let latest = at_once.get(&stored, |row| self.owned(store, row))??;
                if let Some(latest) = latest.filter(|(_, valid_from_ms)| *valid_from_ms <= as_of_ms) {
                    return Ok(Some(latest));
                }
                let mut found = None;
                if as_of_ms < versions.known_from(backend.stream_time(store)) {
                    return Ok(found);
                }
                // The stream time may be that of another commit; the last bucket is of this one.
                let Some(last_ms) = last_past_ms(at_once, versions)? else { return Ok(found) };
                for bucket in versions.buckets(as_of_ms, last_ms) {
                    let first = |past: Past<'_>| {
                        let value = past.value().filter(|_| past.valid_from_ms <= as_of_ms);
                        found = value.map(|value| (value.to_vec(), past.valid_from_ms));
                        ControlFlow::Break(())
                    };
                    if scan_bucket(at_once, reader, (bucket, key), (as_of_ms, last_ms), first)?.is_break() {
                        break;
                    }
                }
                Ok(found)
            })
        })
    }

    /// All versions of all keys that can be read: for tests and tools, as they are all in memory at once. Those that another one has
    /// followed come first, in the order of the buckets in which they lie.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    ///
    /// # Panics
    /// When the store has no versions.
    pub fn all_versions(&self, store: StoreId) -> Result<Vec<OwnedVersion>, StateError> {
        let (versions, reader) = (self.versions_of(store), RowReader::new(self.owner, &self.specs, store));
        let Some(everything) = KeyRange::new(&(..)) else { return Ok(Vec::new()) };
        self.read(|backend| {
            let (known_from, mut found) = (versions.known_from(backend.stream_time(store)), Vec::new());
            backend.scan(store, &everything, Direction::Forward, |stored, bytes| {
                let row = reader.read(bytes)?;
                let (value, key, valid_to_ms) = match (versioned::latest_key(stored), versioned::past_key(stored)) {
                    (Some(key), _) => (Some(row.value), key, None),
                    (None, Some((key, valid_to_ms))) => {
                        let past = Past { valid_from_ms: row.timestamp_ms, valid_to_ms, stored: row.value };
                        (past.value().filter(|_| valid_to_ms > known_from), key, Some(valid_to_ms))
                    }
                    (None, None) => return Ok(ControlFlow::Continue(())),
                };
                found.extend(value.map(|value| OwnedVersion {
                    key: key.to_vec(),
                    value: value.to_vec(),
                    valid_from_ms: row.timestamp_ms,
                    valid_to_ms,
                }));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(found)
        })
    }

    /// The latest versions of all keys of a versioned store, in the order of the bytes of their keys.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    pub fn latest_versions(&self, store: StoreId) -> Result<Vec<PageRow>, StateError> {
        let reader = RowReader::new(self.owner, &self.specs, store);
        let Some(range) = KeyRange::new(&(versioned::FIRST_LATEST..)) else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        self.read(|backend| {
            backend.scan(store, &range, Direction::Forward, |stored, bytes| {
                let row = reader.read(bytes)?;
                rows.extend(versioned::latest_key(stored).map(|key| PageRow {
                    key: key.to_vec(),
                    value: row.value.to_vec(),
                    timestamp_ms: row.timestamp_ms,
                }));
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(rows)
    }

    fn versions_of(&self, store: StoreId) -> Versions {
        Versions::of(self.specs[store.index()].kind).expect("only versioned stores are asked for versions")
    }
}

/// The last time at which a past version may end; `None` when there is none.
fn last_past_ms(at_once: &AtOnce<'_>, versions: Versions) -> Result<Option<i64>, StateError> {
    let Some(range) = KeyRange::new(&(..versioned::FIRST_LATEST)) else { return Ok(None) };
    let mut last = None;
    at_once.scan(&range, Direction::Backward, |stored, _| {
        last = versioned::past_key(stored).map(|(_, valid_to_ms)| versions.end_of_bucket_ms(valid_to_ms));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(last)
}

/// Walks the past versions of a key in a bucket that end later than `after_ms`, until `f` breaks.
fn scan_bucket(
    at_once: &AtOnce<'_>,
    reader: RowReader<'_>,
    (bucket, key): (i64, &[u8]),
    (after_ms, last_ms): (i64, i64),
    mut f: impl FnMut(Past<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, StateError> {
    let (mut bounds, mut flow) = (<(Vec<u8>, Vec<u8>)>::default(), ControlFlow::Continue(()));
    Versions::put_bounds(&mut bounds, bucket, key, after_ms, last_ms);
    let Some(range) = KeyRange::new(&(bounds.0.as_slice()..=bounds.1.as_slice())) else { return Ok(flow) };
    at_once.scan(&range, Direction::Forward, |stored, bytes| {
        // Keys that begin with this one lie in between.
        if let Some((_, valid_to_ms)) = versioned::past_key(stored).filter(|(found, _)| *found == key) {
            let row = reader.read(bytes)?;
            flow = f(Past { valid_from_ms: row.timestamp_ms, valid_to_ms, stored: row.value });
        }
        Ok(flow)
    })?;
    Ok(flow)
}
