//! Windows of joins.

use std::time::Duration;

use super::ms;
use crate::state::Retention;

/// Which records of two streams are joined: those of one key whose timestamps are not further apart than this.
///
/// ```text
/// this stream             t
/// the other   [t - before ... t + after]      both ends belong to it
/// ```
///
/// Late records are joined, too, for as long as the records of the other stream are kept: until the stream time of that stream is further
/// than `before + after + grace`. With a grace, joins that give results for records without a match wait so much longer
/// with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinWindows {
    pub(in crate::dsl) before_ms: i64,
    pub(in crate::dsl) after_ms: i64,
    pub(in crate::dsl) grace_ms: i64,
}

// === impl JoinWindows ===

impl JoinWindows {
    /// Records that are so far apart at the most, whichever comes first. Without grace.
    #[must_use]
    pub fn of(difference: Duration) -> Self {
        Self { before_ms: ms(difference), after_ms: ms(difference), grace_ms: 0 }
    }

    /// Records of the other stream may be so much earlier than those of this one, at the most.
    #[must_use]
    pub fn before(self, before: Duration) -> Self {
        Self { before_ms: ms(before), ..self }
    }

    /// Records of the other stream may be so much later than those of this one, at the most.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self { after_ms: ms(after), ..self }
    }

    /// Records of the other stream must be so much later than those of this one, at the least: a `before` that is negative.
    #[must_use]
    pub fn later_by(self, least: Duration) -> Self {
        Self { before_ms: -ms(least), ..self }
    }

    /// Records of the other stream must be so much earlier than those of this one, at the least: an `after` that is negative.
    #[must_use]
    pub fn earlier_by(self, least: Duration) -> Self {
        Self { after_ms: -ms(least), ..self }
    }

    /// How much longer records are kept for late ones, and wait to be passed on without a match.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: ms(grace), ..self }
    }

    /// What is wrong with them, if something is.
    pub(in crate::dsl) fn problem(self) -> Option<&'static str> {
        (self.before_ms.saturating_add(self.after_ms) < 0)
            .then_some("they must not end before they begin: no record would be joined with any")
    }

    /// The same as the other stream sees them.
    pub(in crate::dsl) fn mirrored(self) -> Self {
        Self { before_ms: self.after_ms, after_ms: self.before_ms, ..self }
    }

    /// How long records are kept. They lie together by intervals that are longer than what is read at once: reading is mostly one seek.
    pub(in crate::dsl) fn retention(self) -> Retention {
        let range_ms = self.before_ms.saturating_add(self.after_ms);
        // Nothing is kept for windows of no width without grace: they join nothing, as in Kafka Streams.
        let retention = Retention::new(range_ms.saturating_add(self.grace_ms));
        retention.in_buckets(retention.bucket_ms.max(range_ms.saturating_mul(2)))
    }

    /// The times of the other stream's records that are joined with one of this time.
    pub(in crate::dsl) fn around(self, time: i64) -> std::ops::RangeInclusive<i64> {
        time.saturating_sub(self.before_ms).max(0)..=time.saturating_add(self.after_ms).max(0)
    }
}
