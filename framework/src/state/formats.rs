//! Byte formats of rows. Those that others can see follow Kafka Streams and are tested against bytes it wrote.
//!
//! * `value_and_timestamp`: timestamp as 8 bytes big-endian, then the value.

use super::StoreKind;

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

/// Appends a row as stores of this kind keep it.
pub(super) fn put_row(kind: StoreKind, out: &mut Vec<u8>, row: Row<'_>) {
    match kind {
        StoreKind::TimestampedKeyValue => put_value_and_timestamp(out, row),
    }
}

/// Reads a row as stores of this kind keep it, or says what is wrong with it.
pub(super) fn row(kind: StoreKind, bytes: &[u8]) -> Result<Row<'_>, String> {
    match kind {
        StoreKind::TimestampedKeyValue => value_and_timestamp(bytes)
            .ok_or_else(|| format!("{} bytes are too few for a timestamp of {TIMESTAMP_BYTES}", bytes.len())),
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

    #[test]
    fn a_row_without_a_whole_timestamp_is_refused() {
        assert_eq!(value_and_timestamp(&[0; 7]), None);
        assert!(row(StoreKind::TimestampedKeyValue, &[0; 7]).is_err());
    }
}
