//! What windows there are.

mod join;

use std::{sync::Arc, time::Duration};

pub use self::join::JoinWindows;
use crate::serde::{Data, Serde, SessionWindowed, TimeWindowed, Windowed};

/// Windows of a fixed size, aligned to the epoch: `[n * advance, n * advance + size)`.
///
/// *Tumbling* windows do not overlap: each record belongs to one. *Hopping* windows begin more often than they are long: each record
/// belongs to several.
///
/// A window takes records until the stream time, the latest timestamp that the operator has seen, has come to its end plus a
/// grace; what comes later is left out (dropped as `late`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindows {
    pub(super) size_ms: i64,
    pub(super) advance_ms: i64,
    pub(super) grace_ms: i64,
}

/// One window for each key, from a time on, that never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlimitedWindows {
    pub(super) start_ms: i64,
}

/// Windows that follow the records: for each record at `t` one that ends with it, `[t - difference, t]`, and one that begins behind it,
/// `[t + 1, t + 1 + difference]`, if there is a record in it; both ends belong to them. So every set of records that are not
/// further apart than the time difference is in a window.
///
/// A window takes records while its end is not earlier than the stream time less a grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindows {
    pub(super) difference_ms: i64,
    pub(super) grace_ms: i64,
}

/// Sessions: records of a key that are not further apart than the inactivity gap. A record that comes between two sessions may make
/// them one; then the two are deleted and the new one is there.
///
/// A session takes records while its end is not earlier than the stream time less gap and grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionWindows {
    pub(super) gap_ms: i64,
    pub(super) grace_ms: i64,
}

/// Kinds of windows, for [`Grouped::windowed_by`](super::Grouped::windowed_by).
pub trait Windows: Shape {}

/// What an aggregation asks windows of any kind.
pub trait Shape: Copy + Send + Sync + 'static {
    /// What they are called, and what is wrong with them.
    fn problem(&self) -> Option<(&'static str, &'static str)>;

    /// How long rows must be kept, at the least, in ms.
    fn least_retention_ms(&self) -> i64;

    /// How much later than its end a window closes, in ms.
    fn closes_after_ms(&self) -> i64;

    /// By which intervals of time rows lie together when they are read in the order of time.
    fn time_order_ms(&self) -> i64;

    /// How much later than its start a window ends, in ms; 0 where that is not the same for all.
    fn size_ms(&self) -> i64;

    /// The serde of their keys.
    fn serde<K: Data>(&self, key: Arc<dyn Serde<K>>) -> Arc<dyn Serde<Windowed<K>>>;
}

// === impl TimeWindows ===

impl TimeWindows {
    /// Windows of this size (1 ms at the least), one after the other. Without grace.
    #[must_use]
    pub fn tumbling(size: Duration) -> Self {
        let size_ms = ms(size);
        Self { size_ms, advance_ms: size_ms, grace_ms: 0 }
    }

    /// One begins after each such interval (1 ms at the least, the size at the most): hopping windows.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        Self { advance_ms: ms(advance), ..self }
    }

    /// How much later than their end windows take records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: ms(grace), ..self }
    }
}

impl Shape for TimeWindows {
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let reason = match (self.size_ms, self.advance_ms) {
            (..1, _) => "their size must be 1 ms at the least",
            (_, ..1) => "they must advance by 1 ms at the least",
            (size, advance) if advance > size => {
                "they must not advance by more than their size: records would be in none"
            }
            _ => return None,
        };
        Some(("TimeWindows", reason))
    }

    fn least_retention_ms(&self) -> i64 {
        self.size_ms.saturating_add(self.grace_ms)
    }

    fn closes_after_ms(&self) -> i64 {
        self.grace_ms
    }

    fn time_order_ms(&self) -> i64 {
        self.advance_ms
    }

    fn size_ms(&self) -> i64 {
        self.size_ms
    }

    fn serde<K: Data>(&self, key: Arc<dyn Serde<K>>) -> Arc<dyn Serde<Windowed<K>>> {
        Arc::new(TimeWindowed::new(key, self.size_ms))
    }
}

impl Windows for TimeWindows {}

// === impl UnlimitedWindows ===

impl UnlimitedWindows {
    /// Windows that begin at this time, in ms since the epoch. Earlier records belong to none.
    #[must_use]
    pub fn start_on(start_ms: i64) -> Self {
        Self { start_ms }
    }
}

impl Shape for UnlimitedWindows {
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        (self.start_ms < 0).then_some(("UnlimitedWindows", "they cannot begin before the epoch"))
    }

    fn least_retention_ms(&self) -> i64 {
        i64::MAX
    }

    fn closes_after_ms(&self) -> i64 {
        0
    }

    fn time_order_ms(&self) -> i64 {
        i64::MAX
    }

    fn size_ms(&self) -> i64 {
        i64::MAX
    }

    fn serde<K: Data>(&self, key: Arc<dyn Serde<K>>) -> Arc<dyn Serde<Windowed<K>>> {
        Arc::new(TimeWindowed::new(key, i64::MAX))
    }
}

impl Windows for UnlimitedWindows {}

/// So that all times in windows and retentions can be told.
const LONGEST_DIFFERENCE_MS: i64 = i64::MAX / 4;

// === impl SlidingWindows ===

impl SlidingWindows {
    /// Windows for records that are so far apart at the most, 1 ms or more. Without grace.
    #[must_use]
    pub fn of(difference: Duration) -> Self {
        Self { difference_ms: ms(difference), grace_ms: 0 }
    }

    /// How much later than their end windows take records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: ms(grace), ..self }
    }
}

impl Shape for SlidingWindows {
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let reason = match self.difference_ms {
            // Kafka Streams stops at the first record.
            ..1 => "their time difference must be 1 ms or more",
            1..=LONGEST_DIFFERENCE_MS => return None,
            _ => "their time difference cannot be longer than time itself",
        };
        Some(("SlidingWindows", reason))
    }

    fn least_retention_ms(&self) -> i64 {
        self.difference_ms.saturating_mul(2).saturating_add(self.grace_ms)
    }

    fn closes_after_ms(&self) -> i64 {
        self.grace_ms
    }

    fn time_order_ms(&self) -> i64 {
        self.difference_ms
    }

    fn size_ms(&self) -> i64 {
        self.difference_ms
    }

    fn serde<K: Data>(&self, key: Arc<dyn Serde<K>>) -> Arc<dyn Serde<Windowed<K>>> {
        Arc::new(TimeWindowed::new(key, self.difference_ms))
    }
}

impl Windows for SlidingWindows {}

// === impl SessionWindows ===

impl SessionWindows {
    /// Sessions that end when nothing comes for longer than this gap. Without grace.
    #[must_use]
    pub fn with_gap(gap: Duration) -> Self {
        Self { gap_ms: ms(gap), grace_ms: 0 }
    }

    /// How much later than their end and the gap sessions take records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: ms(grace), ..self }
    }
}

impl Shape for SessionWindows {
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        (self.gap_ms < 1).then_some(("SessionWindows", "their inactivity gap must be 1 ms at the least"))
    }

    fn least_retention_ms(&self) -> i64 {
        self.gap_ms.saturating_add(self.grace_ms)
    }

    fn closes_after_ms(&self) -> i64 {
        self.gap_ms.saturating_add(self.grace_ms)
    }

    fn time_order_ms(&self) -> i64 {
        self.gap_ms
    }

    fn size_ms(&self) -> i64 {
        0
    }

    fn serde<K: Data>(&self, key: Arc<dyn Serde<K>>) -> Arc<dyn Serde<Windowed<K>>> {
        Arc::new(SessionWindowed::new(key))
    }
}

impl Windows for SessionWindows {}

/// A duration in ms; longer ones than time has are as long as that.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
