//! Buffers: updates that wait, found by key and in the order of time.
//!
//! ```text
//! key on disk        row
//! 0, time, key       nothing: the order of time
//! 1, key             the value, and the time it waits by (8 bytes): as it is logged, under the key
//! 2                  how many wait (8 bytes), their bytes (8 bytes), and the latest timestamp of any that was put (8 bytes)
//! ```
//! A restore makes the other two out of the second. Values are logged with the version of their form, as by Kafka Streams: header `v`.

use std::{collections::HashMap, ops::ControlFlow, sync::LazyLock};

use super::{BufferValue, Direction, StateError, StoreId, TaskStores};
use crate::log::{Batch, Headers, HeadersRef};

const BY_TIME: u8 = 0;
const BY_KEY: u8 = 1;
const SUMMARY_KEY: &[u8] = &[2];
/// Bytes of the time behind a value.
const TIME_BYTES: usize = 8;
/// The header that says in which form a value was logged, and the only form there is.
const VERSION_HEADER: &str = "v";
const VERSION: &[u8] = &[3];

/// An update that waits: by which time, its key, its value.
pub type Buffered = (i64, Vec<u8>, Vec<u8>);

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferSize {
    /// How many keys.
    pub records: u64,
    /// Their bytes, counted as Kafka Streams does: times, keys, values, and where the updates come from.
    pub bytes: u64,
}

/// A buffer as a whole.
#[derive(Debug, Clone, Copy)]
struct Summary {
    size: BufferSize,
    /// The latest timestamp of any update that was put, in ms; -1 before the first.
    latest_ms: i64,
}

// === impl Summary ===

impl Summary {
    const EMPTY: Self = Self { size: BufferSize { records: 0, bytes: 0 }, latest_ms: -1 };

    fn read(row: &[u8]) -> Option<Self> {
        let (records, row) = row.split_first_chunk()?;
        let (bytes, row) = row.split_first_chunk()?;
        let size = BufferSize { records: u64::from_be_bytes(*records), bytes: u64::from_be_bytes(*bytes) };
        Some(Self { size, latest_ms: i64::from_be_bytes(*row.first_chunk()?) })
    }

    fn bytes(self) -> Vec<u8> {
        let Self { size, latest_ms } = self;
        [size.records.to_be_bytes(), size.bytes.to_be_bytes(), latest_ms.to_be_bytes()].concat()
    }
}

// === impl TaskStores ===

impl TaskStores {
    /// The update of a key that waits in a buffer, and by which time it does, in ms.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn buffered(&mut self, store: StoreId, key: &[u8]) -> Result<Option<(Vec<u8>, i64)>, StateError> {
        let row = self.read(store, &by_key(key), |row| row.map(|row| row.value.to_vec()))?;
        Ok(row.and_then(|mut value| {
            let time = time_behind(&value)?;
            value.truncate(value.len() - TIME_BYTES);
            Some((value, time))
        }))
    }

    /// Puts an update into a buffer, to wait by `time`; when one of its key waits already it takes the place of that.
    /// `timestamp_ms` is that of the update, and of the changelog record.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn put_buffered(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: &[u8],
        time: i64,
        timestamp_ms: i64,
    ) -> Result<(), StateError> {
        let before = self.buffered(store, key)?;
        let time = before.as_ref().map_or(time, |(_, time)| *time);
        let Summary { mut size, latest_ms } = self.buffer_summary(store)?;
        match &before {
            Some((before, _)) => size.bytes = size.bytes.saturating_sub(weight(key, before)),
            None => {
                self.write(store, &by_time(time, key), Some(&[]), timestamp_ms);
                size.records += 1;
            }
        }
        size.bytes += weight(key, value);
        self.set_buffer_summary(store, Summary { size, latest_ms: timestamp_ms.max(latest_ms) });
        let row = [value, &time.to_be_bytes()].concat();
        self.write(store, &by_key(key), Some(&row), timestamp_ms);
        Ok(())
    }

    /// Takes the first update out of a buffer, when it waits by `until` or before.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn take_buffered(
        &mut self,
        store: StoreId,
        until: i64,
        timestamp_ms: i64,
    ) -> Result<Option<Buffered>, StateError> {
        let Some((time, key)) = self.first_buffered(store)? else { return Ok(None) };
        if time > until {
            return Ok(None);
        }
        let value = self.remove_buffered(store, &key, timestamp_ms)?;
        Ok(value.map(|value| (time, key, value)))
    }

    /// By which time the first update waits in a buffer, in ms, and its key.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn first_buffered(&mut self, store: StoreId) -> Result<Option<(i64, Vec<u8>)>, StateError> {
        let mut first = None;
        let (from, to) = ([BY_TIME], [BY_KEY]);
        self.scan(store, &from[..]..&to[..], Direction::Forward, |key, _| {
            first = key[1..].split_first_chunk().map(|(time, key)| (time_of(*time), key.to_vec()));
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// How much waits in a buffer.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn buffer_size(&mut self, store: StoreId) -> Result<BufferSize, StateError> {
        Ok(self.buffer_summary(store)?.size)
    }

    /// The latest timestamp of any update that was put into a buffer, in ms; -1 before the first. After a restore it is the least that
    /// it may have been.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn latest_buffered_ms(&mut self, store: StoreId) -> Result<i64, StateError> {
        Ok(self.buffer_summary(store)?.latest_ms)
    }

    /// Applies records of a buffer's changelog as updates of this task's, which are committed with `next_offset`.
    pub(super) fn restore_buffer(&mut self, store: StoreId, records: &Batch) -> Result<(), StateError> {
        // The last record of each key counts.
        let mut last: HashMap<&[u8], (Option<&[u8]>, i64)> = HashMap::new();
        for record in records.iter() {
            if let Some(key) = record.key {
                self.check_version(store, record.headers)?;
                last.insert(key, (record.value, record.timestamp_ms));
            }
        }
        for (key, (value, timestamp_ms)) in last {
            self.remove_buffered(store, key, timestamp_ms)?;
            if let Some((value, time)) = value.and_then(|value| value.split_last_chunk::<TIME_BYTES>()) {
                self.put_buffered(store, key, value, i64::from_be_bytes(*time), timestamp_ms)?;
            }
        }
        Ok(())
    }

    fn check_version(&self, store: StoreId, headers: HeadersRef<'_>) -> Result<(), StateError> {
        match headers.iter().find(|(name, _)| *name == VERSION_HEADER) {
            Some((_, version)) if version != Some(VERSION) => Err(StateError::Format {
                owner: self.owner(),
                what: format!("a record of the changelog of store `{}`", self.specs()[store.index()].name),
                reason: format!("its version is {:?}, this program knows {VERSION:?}", version.unwrap_or_default()),
            }),
            _ => Ok(()),
        }
    }

    fn remove_buffered(
        &mut self,
        store: StoreId,
        key: &[u8],
        timestamp_ms: i64,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let Some((value, time)) = self.buffered(store, key)? else { return Ok(None) };
        self.write(store, &by_time(time, key), None, timestamp_ms);
        self.write(store, &by_key(key), None, timestamp_ms);
        let Summary { size: BufferSize { records, bytes }, latest_ms } = self.buffer_summary(store)?;
        let size = BufferSize { records: records.saturating_sub(1), bytes: bytes.saturating_sub(weight(key, &value)) };
        self.set_buffer_summary(store, Summary { size, latest_ms });
        Ok(Some(value))
    }

    fn buffer_summary(&mut self, store: StoreId) -> Result<Summary, StateError> {
        let summary = self.read(store, SUMMARY_KEY, |row| Summary::read(row?.value))?;
        Ok(summary.unwrap_or(Summary::EMPTY))
    }

    fn set_buffer_summary(&mut self, store: StoreId, summary: Summary) {
        self.write(store, SUMMARY_KEY, Some(&summary.bytes()), 0);
    }
}

/// The key of a row as it is logged; `None` when it is not.
pub(super) fn logged(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[BY_KEY])
}

/// The headers that a row is logged with.
pub(super) fn logged_headers(value: Option<&[u8]>) -> &'static Headers {
    static VERSIONED: LazyLock<Headers> = LazyLock::new(|| Headers::new([(VERSION_HEADER, Some(VERSION))]));
    if value.is_some() { &VERSIONED } else { Headers::none() }
}

/// How many bytes an update counts for. When a buffer is full decides what is passed on early, so this is what Kafka Streams
/// counts, not what it takes on disk.
fn weight(key: &[u8], value: &[u8]) -> u64 {
    let value = BufferValue::read(value).map_or(value.len(), |(value, _)| value.weight());
    (TIME_BYTES + key.len() + value) as u64
}

fn by_key(key: &[u8]) -> Vec<u8> {
    [&[BY_KEY], key].concat()
}

fn by_time(time: i64, key: &[u8]) -> Vec<u8> {
    [&[BY_TIME], &(time.cast_unsigned() ^ 1 << 63).to_be_bytes()[..], key].concat()
}

fn time_of(bytes: [u8; TIME_BYTES]) -> i64 {
    (u64::from_be_bytes(bytes) ^ 1 << 63).cast_signed()
}

fn time_behind(value: &[u8]) -> Option<i64> {
    value.last_chunk().map(|time| i64::from_be_bytes(*time))
}
