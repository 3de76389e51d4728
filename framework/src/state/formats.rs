//! Byte formats of rows. Those that others can see follow Kafka Streams and are tested against bytes it wrote.
//!
//! * `value_and_timestamp`: timestamp as 8 bytes big-endian, then the value.
//! * `window_key`: key, start as 8 bytes big-endian, sequence number as 4 bytes (0 where a key has one row per start): rows of window stores
//!   in their changelogs.
//! * `session_key`: key, end, start as 8 bytes big-endian each: rows of session stores in their changelogs.

use super::StoreKind;

/// Bytes behind the key in a `window_key`.
pub(super) const WINDOW_SUFFIX: usize = 12;
/// Bytes behind the key in a `session_key`.
pub(super) const SESSION_SUFFIX: usize = 16;

/// Bytes of the timestamp in front of a value.
const TIMESTAMP_BYTES: usize = size_of::<i64>();

/// A row of a store, without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The serialized value.
    pub value: &'a [u8],
    /// The timestamp of the record it came from, in ms since the epoch.
    pub timestamp_ms: i64,
}

/// Appends a row in the form `value_and_timestamp`.
pub fn put_value_and_timestamp(out: &mut Vec<u8>, row: Row<'_>) {
    out.extend_from_slice(&row.timestamp_ms.to_be_bytes());
    out.extend_from_slice(row.value);
}

/// Reads a row in the form `value_and_timestamp`; `None` when it is shorter than a timestamp.
#[must_use]
pub fn value_and_timestamp(bytes: &[u8]) -> Option<Row<'_>> {
    let (timestamp, value) = bytes.split_first_chunk::<TIMESTAMP_BYTES>()?;
    Some(Row { value, timestamp_ms: i64::from_be_bytes(*timestamp) })
}

/// Appends what is behind the key in a `window_key`.
pub fn put_window_suffix(out: &mut Vec<u8>, start_ms: i64, sequence: u32) {
    out.extend_from_slice(&start_ms.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
}

/// Appends what is behind the key in a `session_key`.
pub fn put_session_suffix(out: &mut Vec<u8>, start_ms: i64, end_ms: i64) {
    out.extend_from_slice(&end_ms.to_be_bytes());
    out.extend_from_slice(&start_ms.to_be_bytes());
}

/// Key, start and sequence number of a `window_key`; `None` when it is too short.
#[must_use]
pub fn window_key(bytes: &[u8]) -> Option<(&[u8], i64, u32)> {
    let (rest, sequence) = bytes.split_last_chunk::<4>()?;
    let (key, start) = rest.split_last_chunk::<8>()?;
    Some((key, i64::from_be_bytes(*start), u32::from_be_bytes(*sequence)))
}

/// Key, start and end of a `session_key`; `None` when it is too short.
#[must_use]
pub fn session_key(bytes: &[u8]) -> Option<(&[u8], i64, i64)> {
    let (rest, start) = bytes.split_last_chunk::<8>()?;
    let (key, end) = rest.split_last_chunk::<8>()?;
    Some((key, i64::from_be_bytes(*start), i64::from_be_bytes(*end)))
}

/// Appends a row as stores of this kind keep it.
pub(super) fn put_row(kind: StoreKind, out: &mut Vec<u8>, row: Row<'_>) {
    match kind {
        StoreKind::TimestampedKeyValue | StoreKind::TimestampedWindow(_) | StoreKind::Versioned(_) => {
            put_value_and_timestamp(out, row);
        }
        StoreKind::KeyValue
        | StoreKind::Window(_)
        | StoreKind::DuplicateWindow(_)
        | StoreKind::Session(_)
        | StoreKind::Buffer
        | StoreKind::TimeOrderedBuffer
        | StoreKind::List
        | StoreKind::LruMap(_) => out.extend_from_slice(row.value),
    }
}

/// Reads a row as stores of this kind keep it, or says what is wrong with it. Where timestamps are not with the rows, they are
/// 0 here.
pub(super) fn row(kind: StoreKind, bytes: &[u8]) -> Result<Row<'_>, String> {
    match kind {
        StoreKind::TimestampedKeyValue | StoreKind::TimestampedWindow(_) | StoreKind::Versioned(_) => {
            value_and_timestamp(bytes)
                .ok_or_else(|| format!("{} bytes are too few for a timestamp of {TIMESTAMP_BYTES}", bytes.len()))
        }
        StoreKind::KeyValue
        | StoreKind::Window(_)
        | StoreKind::DuplicateWindow(_)
        | StoreKind::Session(_)
        | StoreKind::Buffer
        | StoreKind::TimeOrderedBuffer
        | StoreKind::List
        | StoreKind::LruMap(_) => Ok(Row { value: bytes, timestamp_ms: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        value: Option<String>,
        i64: Option<i64>,
        timestamp: i64,
        hex: String,
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
    }

    #[test]
    fn value_and_timestamp_is_what_kafka_streams_writes() {
        let rows: Vec<Golden> =
            serde_json::from_str(include_str!("testdata/value_and_timestamp.json")).expect("the golden rows");
        assert_eq!(rows.len(), 32);
        for golden in rows {
            let value = match (&golden.value, golden.i64) {
                (Some(text), None) => text.clone().into_bytes(),
                (None, Some(number)) => number.to_be_bytes().to_vec(),
                other => panic!("a golden row has either a text or a number: {other:?}"),
            };
            let row = Row { value: &value, timestamp_ms: golden.timestamp };
            let mut bytes = Vec::new();
            put_value_and_timestamp(&mut bytes, row);
            assert_eq!(bytes, from_hex(&golden.hex));
            assert_eq!(value_and_timestamp(&bytes), Some(row));
        }
    }

    #[derive(Deserialize)]
    struct GoldenKey {
        key: String,
        start: i64,
        #[serde(default)]
        end: i64,
        #[serde(default)]
        seq: u32,
        hex: String,
    }

    #[test]
    fn keys_of_windows_and_sessions_are_what_kafka_streams_writes() {
        let keys: Vec<GoldenKey> =
            serde_json::from_str(include_str!("testdata/window_store_key.json")).expect("the golden keys");
        assert!(keys.len() > 20);
        for golden in keys {
            let mut bytes = golden.key.clone().into_bytes();
            put_window_suffix(&mut bytes, golden.start, golden.seq);
            assert_eq!(bytes, from_hex(&golden.hex));
            assert_eq!(window_key(&bytes), Some((golden.key.as_bytes(), golden.start, golden.seq)));
        }
        let keys: Vec<GoldenKey> =
            serde_json::from_str(include_str!("testdata/session_store_key.json")).expect("the golden keys");
        assert!(keys.len() > 20);
        for golden in keys {
            let mut bytes = golden.key.clone().into_bytes();
            put_session_suffix(&mut bytes, golden.start, golden.end);
            assert_eq!(bytes, from_hex(&golden.hex));
            assert_eq!(session_key(&bytes), Some((golden.key.as_bytes(), golden.start, golden.end)));
        }
    }

    #[test]
    fn a_row_without_a_whole_timestamp_is_refused() {
        assert_eq!(value_and_timestamp(&[0; 7]), None);
        assert!(row(StoreKind::TimestampedKeyValue, &[0; 7]).is_err());
    }
}
