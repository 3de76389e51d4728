//! Versions of values: where they lie, and which of them can be read.
//!
//! ```text
//! key on disk                                row
//! ff, key                                    since when, value: the latest version, unless it is a tombstone
//! bucket of its end, key, end (8 bytes)      since when, 1 and the value, or 0: a version that another one has followed
//! ```
//!
//! So the latest version is one look-up. The others of a key lie in the order of time within a bucket: the version at some time is
//! the first one that ends later, a seek per bucket. A bucket is half a history long, and is removed as a whole, as those of windows are:
//! there are two or three of them, and taking old versions away costs next to nothing.
//!
//! Versions do not overlap; there may be gaps, in which there is no value. A tombstone that nothing follows is a version without a
//! length, so that updates that are older can be told; it is not kept where the version before ends just there. What comes of
//! that is what Kafka Streams does: when a tombstone takes the place of the latest version at exactly its time, and no version ends
//! there, then it leaves no trace, and a later update with an earlier time is the latest version.

mod journal;

use super::{
    Retention, StoreKind,
    timed::{BUCKET_BYTES, bucket_bytes},
};

pub(super) use self::journal::Journal;

/// In front of the keys of latest versions: behind all buckets, as no time is that late.
const LATEST: u8 = 0xff;
/// Bytes of the end of a version.
const END_BYTES: usize = size_of::<i64>();
const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

/// A version of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// The serialized value.
    pub value: &'a [u8],
    /// Since when it is valid, in ms since the epoch.
    pub valid_from_ms: i64,
    /// Up to when it was valid (exclusive), in ms since the epoch; `None` for the latest.
    pub valid_to_ms: Option<i64>,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is the latest version of its key.
    Latest,
    /// A later version is there already.
    OutOfOrder {
        /// When that begins, in ms since the epoch.
        valid_to_ms: i64,
    },
    /// It is older than the history that the store keeps: nothing was changed.
    Refused,
}

/// How the versions of a store lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions(Retention);

/// A version that another one has followed, or that is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past<'a> {
    pub(super) valid_from_ms: i64,
    pub(super) valid_to_ms: i64,
    /// Whether there is one, and the value.
    pub(super) stored: &'a [u8],
}

// === impl Written ===

impl Written {
    /// Whether the update is the latest version of its key.
    #[must_use]
    pub const fn is_latest(self) -> bool {
        matches!(self, Self::Latest)
    }
}

// === impl Versions ===

impl Versions {
    /// Those of a kind of stores; `None` when it has no versions.
    pub(super) fn of(kind: StoreKind) -> Option<Self> {
        match kind {
            StoreKind::Versioned(retention) => Some(Self(retention)),
            _ => None,
        }
    }

    /// The earliest time of which is known what was valid, and of updates that are taken.
    pub(super) fn known_from(self, stream_time_ms: i64) -> i64 {
        stream_time_ms.saturating_sub(self.0.retention_ms)
    }

    /// The buckets of versions that end later than `after_ms`, and not later than `last_ms`: few, as long as the former is known still.
    pub(super) fn buckets(self, after_ms: i64, last_ms: i64) -> impl Iterator<Item = i64> {
        after_ms.saturating_add(1).div_euclid(self.0.bucket_ms)..=last_ms.div_euclid(self.0.bucket_ms)
    }

    /// The last time that is in the bucket of this one.
    pub(super) fn end_of_bucket_ms(self, time_ms: i64) -> i64 {
        let next = time_ms.div_euclid(self.0.bucket_ms).saturating_add(1);
        next.saturating_mul(self.0.bucket_ms).saturating_sub(1)
    }

    /// Writes the key of a past version.
    pub(super) fn put_key(self, out: &mut Vec<u8>, key: &[u8], valid_to_ms: i64) {
        put_key(out, valid_to_ms.div_euclid(self.0.bucket_ms), key, valid_to_ms);
    }

    /// Writes the bounds, both inclusive, between which the versions of a key lie in a bucket that end later than `after_ms`, and not
    /// later than `last_ms`. Those of other keys may lie between them too.
    pub(super) fn put_bounds(bounds: &mut (Vec<u8>, Vec<u8>), bucket: i64, key: &[u8], after_ms: i64, last_ms: i64) {
        put_key(&mut bounds.0, bucket, key, after_ms.saturating_add(1));
        put_key(&mut bounds.1, bucket, key, last_ms);
    }
}

/// Writes the key of the latest version of a key.
pub(super) fn put_latest_key(out: &mut Vec<u8>, key: &[u8]) {
    out.clear();
    out.push(LATEST);
    out.extend_from_slice(key);
}

/// The key whose latest version lies at a key on disk; `None` when it is of a past version.
pub(super) fn latest_key(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[LATEST])
}

/// The first key on disk of a latest version, and of all of them.
pub(super) const FIRST_LATEST: &[u8] = &[LATEST];

/// The key of a past version on disk, and its end.
pub(super) fn past_key(stored: &[u8]) -> Option<(&[u8], i64)> {
    let (key, end) = stored.get(BUCKET_BYTES..)?.split_last_chunk::<END_BYTES>()?;
    Some((key, (u64::from_be_bytes(*end) ^ 1 << 63).cast_signed()))
}

/// Writes whether there is a value, and the value.
pub(super) fn put_stored(out: &mut Vec<u8>, value: Option<&[u8]>) {
    out.clear();
    out.push(if value.is_some() { VALUE } else { TOMBSTONE });
    out.extend_from_slice(value.unwrap_or_default());
}

fn put_key(out: &mut Vec<u8>, bucket: i64, key: &[u8], valid_to_ms: i64) {
    out.clear();
    out.extend_from_slice(&bucket_bytes(bucket));
    out.extend_from_slice(key);
    out.extend_from_slice(&(valid_to_ms.cast_unsigned() ^ 1 << 63).to_be_bytes());
}

// === impl Past ===

impl<'a> Past<'a> {
    /// The value; `None` for a tombstone.
    pub(super) fn value(self) -> Option<&'a [u8]> {
        self.stored.strip_prefix(&[VALUE])
    }

    /// The version; `None` for a tombstone.
    pub(super) fn version(self) -> Option<Version<'a>> {
        let (valid_from_ms, valid_to_ms) = (self.valid_from_ms, Some(self.valid_to_ms));
        self.value().map(|value| Version { value, valid_from_ms, valid_to_ms })
    }
}
