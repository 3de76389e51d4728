//! Where the records of a time-ordered buffer lie.
//!
//! ```text
//! key on disk           row
//! 0, time, key, number  the record that waits: as it is logged, under the same key
//! nine times ff         the last number (4 bytes), and the latest time (8 bytes)
//! ```
//! Numbers tell records of one time and key apart, and give them their order. Times are not negative: those of records never are.

/// Where the last number and the latest time are: behind all times.
pub(super) const SEEN_KEY: &[u8] = &[0xff; 9];

/// What was ever put into a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) number: u32,
    pub(super) time_ms: i64,
}

/// In front of keys that begin with a time, as in Kafka Streams.
const BY_TIME: u8 = 0;
const TIME_BYTES: usize = size_of::<i64>();
const NUMBER_BYTES: usize = size_of::<u32>();
/// Numbers are positive, when they are signed.
const LAST_NUMBER: u32 = i32::MAX.cast_unsigned();

// === impl Seen ===

impl Seen {
    /// Nothing.
    pub(super) const NONE: Self = Self { number: 0, time_ms: -1 };

    pub(super) fn read(row: &[u8]) -> Option<Self> {
        let (number, time) = row.split_first_chunk()?;
        Some(Self { number: u32::from_be_bytes(*number), time_ms: i64::from_be_bytes(*time.first_chunk()?) })
    }

    pub(super) fn bytes(self) -> [u8; NUMBER_BYTES + TIME_BYTES] {
        let mut bytes = [0; NUMBER_BYTES + TIME_BYTES];
        bytes[..NUMBER_BYTES].copy_from_slice(&self.number.to_be_bytes());
        bytes[NUMBER_BYTES..].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes
    }

    /// One record more.
    pub(super) fn and(self, time_ms: i64) -> Self {
        Self { number: self.number.wrapping_add(1) & LAST_NUMBER, time_ms: time_ms.max(self.time_ms) }
    }
}

/// Writes what the keys of all records of a time begin with.
pub(super) fn put_time(out: &mut Vec<u8>, time_ms: i64) {
    out.clear();
    out.push(BY_TIME);
    out.extend_from_slice(&time_ms.to_be_bytes());
}

/// Writes the key of a record.
pub(super) fn put_key(out: &mut Vec<u8>, time_ms: i64, key: &[u8], number: u32) {
    put_time(out, time_ms);
    out.extend_from_slice(key);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Time, key and number of a record; `None` when the bytes are too few.
pub(super) fn parts(stored: &[u8]) -> Option<(i64, &[u8], u32)> {
    let (time, rest) = stored.strip_prefix(&[BY_TIME])?.split_first_chunk::<TIME_BYTES>()?;
    let (key, number) = rest.split_last_chunk::<NUMBER_BYTES>()?;
    Some((i64::from_be_bytes(*time), key, u32::from_be_bytes(*number)))
}

/// The key of a row as it is logged; `None` when it is not.
pub(super) fn logged(stored: &[u8]) -> Option<&[u8]> {
    (stored != SEEN_KEY).then_some(stored)
}
