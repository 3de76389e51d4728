//! What a store is, as the topology declares it.

use std::sync::Arc;

use crate::serde::Format;

/// A store of a sub-topology.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    /// The name, unique within the application.
    pub name: Arc<str>,
    /// The kind.
    pub kind: StoreKind,
    /// The full name of its changelog topic; `None` for a store that is not logged.
    pub changelog: Option<Arc<str>>,
    /// How the bytes of its keys are read.
    pub key_format: Format,
    /// How the bytes of its values are read.
    pub value_format: Format,
    /// Whether the REST interface may read it.
    pub queryable: bool,
    /// Whether it lives on disk; else in memory, and is restored from the beginning of its changelog at each start.
    pub persistent: bool,
}

/// The kinds of stores. A kind fixes how a row lies on disk and how it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// Latest value per key. On disk and logged: the plain value.
    KeyValue,
    /// Latest value and its timestamp per key. On disk: [`formats::value_and_timestamp`](super::formats); logged: the
    /// plain value, under the timestamp.
    TimestampedKeyValue,
    /// Latest value per key and start of a window, for as long as `retention` says. On disk and logged: the plain value.
    Window(Retention),
    /// Latest value and its timestamp per key and start of a window, for as long as `retention` says. Rows are kept and logged
    /// as those of a [`StoreKind::TimestampedKeyValue`]; how their keys are logged is in [`formats`](super::formats).
    TimestampedWindow(Retention),
    /// All values of each key and start of a window, in the order in which they came, for as long as `retention` says. On disk and logged: the
    /// plain value, under the key of a window with a number.
    DuplicateWindow(Retention),
    /// Latest value per key and bounds of a session, for as long as `retention` says. On disk and logged: the plain value.
    Session(Retention),
    /// Updates that wait, by key and in the order of time; see [`BufferValue`](super::BufferValue).
    Buffer,
    /// Records that wait, in the order of time, any number of each key. On disk and logged: a [`BufferValue`](super::BufferValue) under the
    /// record's time, key and number.
    TimeOrderedBuffer,
    /// All values that a key had, each with the times from which on and up to which it was valid; those that are followed by another
    /// one for as long as `retention` says. Logged: each update, as the plain value under its timestamp.
    Versioned(Retention),
    /// Values per key, in the order in which they came: as one row, which is the list of them ([`lists`](super::lists)), on disk and logged.
    List,
    /// Latest value per key, of so many keys at most: when there is one more, the one goes that was used least recently. Logged: the
    /// plain value.
    LruMap(u32),
}

/// How long rows that belong to a time (the start of a window, the end of a session) are kept, and in which order.
///
/// Time is the store's own: the latest time of any row that was ever written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    /// A row can be read while its time is later than the store's time less this, in ms.
    pub retention_ms: i64,
    /// Whether it can be read a millisecond longer, as from stores of Kafka Streams that are in the order of time.
    pub in_time_order: bool,
    /// Rows lie together by such intervals of their time, in ms, and by key within one. A range of one key's times is a seek per
    /// interval; a range of times, whatever the keys, reads whole intervals.
    pub bucket_ms: i64,
}

/// A store by its place in the `Vec<StoreSpec>` of its sub-topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(usize);

// === impl StoreKind ===

impl StoreKind {
    /// The name of the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyValue => "key-value",
            Self::TimestampedKeyValue => "timestamped-key-value",
            Self::Window(_) => "window",
            Self::TimestampedWindow(_) => "timestamped-window",
            Self::DuplicateWindow(_) => "duplicate-window",
            Self::Session(_) => "session",
            Self::Buffer => "buffer",
            Self::TimeOrderedBuffer => "time-ordered-buffer",
            Self::Versioned(_) => "versioned",
            Self::List => "list",
            Self::LruMap(_) => "lru-map",
        }
    }

    /// Whether rows have the timestamps of the records they came from.
    #[must_use]
    pub const fn has_timestamps(self) -> bool {
        matches!(self, Self::TimestampedKeyValue | Self::TimestampedWindow(_) | Self::Versioned(_))
    }

    /// How long rows are kept; `None`: until they are deleted.
    #[must_use]
    pub const fn retention(self) -> Option<Retention> {
        match self {
            Self::KeyValue
            | Self::TimestampedKeyValue
            | Self::Buffer
            | Self::TimeOrderedBuffer
            | Self::List
            | Self::LruMap(_) => None,
            Self::Window(retention)
            | Self::TimestampedWindow(retention)
            | Self::DuplicateWindow(retention)
            | Self::Session(retention)
            | Self::Versioned(retention) => Some(retention),
        }
    }

    /// Whether a key, with its window or session if there are such, tells one row, which is a value.
    #[must_use]
    pub const fn has_rows_by_key(self) -> bool {
        match self {
            Self::KeyValue
            | Self::TimestampedKeyValue
            | Self::Window(_)
            | Self::TimestampedWindow(_)
            | Self::Session(_)
            | Self::Versioned(_) => true,
            Self::DuplicateWindow(_) | Self::Buffer | Self::TimeOrderedBuffer | Self::List | Self::LruMap(_) => false,
        }
    }

    /// The name on disk, which says how rows are laid out. It never changes: it is part of the name of the column family.
    pub(super) fn tag(self) -> String {
        match self.retention() {
            None => self.name().to_owned(),
            Some(Retention { bucket_ms, .. }) => format!("{}-{bucket_ms}", self.name()),
        }
    }
}

// === impl Retention ===

impl Retention {
    /// The shortest interval by which rows lie together unless another is asked for, and by which they are removed.
    const MIN_INTERVAL_MS: i64 = 60_000;

    /// So many ms, in the intervals that Kafka Streams would choose: half of it, a minute at the least.
    #[must_use]
    pub const fn new(retention_ms: i64) -> Self {
        let retention = Self { retention_ms, in_time_order: false, bucket_ms: 1 };
        Self { bucket_ms: retention.segment_ms(), ..retention }
    }

    /// The same in other intervals, of `bucket_ms` (1 at the least).
    #[must_use]
    pub const fn in_buckets(self, bucket_ms: i64) -> Self {
        Self { bucket_ms: if bucket_ms < 1 { 1 } else { bucket_ms }, ..self }
    }

    /// The same for a store that is in the order of time.
    #[must_use]
    pub const fn in_time_order(self) -> Self {
        Self { in_time_order: true, ..self }
    }

    /// The interval by which rows are removed.
    pub(super) const fn segment_ms(self) -> i64 {
        let half = self.retention_ms / 2;
        if half < Self::MIN_INTERVAL_MS { Self::MIN_INTERVAL_MS } else { half }
    }

    /// The earliest time of rows that can be read when the store's time is `stream_time_ms`.
    pub(super) fn visible_from(self, stream_time_ms: i64) -> i64 {
        stream_time_ms.saturating_sub(self.retention_ms).saturating_add(if self.in_time_order { 0 } else { 1 })
    }

    /// The earliest time of rows that are taken. Rows between this and [`Retention::visible_from`] are taken, and never seen.
    pub(super) fn accepted_from(self, stream_time_ms: i64) -> i64 {
        let expired = stream_time_ms.saturating_sub(self.retention_ms);
        expired.div_euclid(self.segment_ms()).saturating_mul(self.segment_ms())
    }

    /// The first bucket that is not removed. It moves on once per segment.
    pub(super) fn kept_from(self, stream_time_ms: i64) -> i64 {
        self.accepted_from(stream_time_ms).div_euclid(self.bucket_ms)
    }
}

// === impl StoreId ===

impl StoreId {
    /// The store at `index` of its sub-topology.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place in the sub-topology's `Vec<StoreSpec>`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}
