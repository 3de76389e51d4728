//! Punctuations: calls of a processor at times (`PunctuationQueue` and `PunctuationSchedule` in Kafka Streams).

use std::time::Duration;

use super::Context;

/// The time that a punctuation goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PunctuationKind {
    /// Stream time of the task: the largest timestamp of its records so far. No records, no punctuation.
    StreamTime,
    /// Wall-clock time.
    WallClock,
}

/// A punctuation that was scheduled, to cancel it and to tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PunctuationId(u64);

/// The punctuations of one processor.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    schedules: Vec<Schedule>,
    next_id: u64,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    id: PunctuationId,
    kind: PunctuationKind,
    due_ms: i64,
    interval_ms: i64,
}

// === impl Schedules ===

impl Schedules {
    /// Schedules a punctuation: by stream time it is first due at 0, with the first record; by the wall clock after one interval.
    pub(crate) fn begin(&mut self, ctx: &Context, kind: PunctuationKind, interval: Duration) -> PunctuationId {
        let first_ms = match kind {
            PunctuationKind::StreamTime => 0,
            PunctuationKind::WallClock => ctx.wall_clock_ms().saturating_add(in_ms(interval)),
        };
        self.add(kind, first_ms, interval)
    }

    /// Schedules a punctuation that is due at the first of `anchor_ms`, `anchor_ms` + `interval`, ... that is not over.
    pub(crate) fn begin_anchored(
        &mut self,
        ctx: &Context,
        kind: PunctuationKind,
        anchor_ms: i64,
        interval: Duration,
    ) -> PunctuationId {
        let interval_ms = in_ms(interval);
        let now_ms = match kind {
            PunctuationKind::StreamTime => ctx.stream_time_ms(),
            PunctuationKind::WallClock => ctx.wall_clock_ms(),
        };
        let over = now_ms.saturating_sub(anchor_ms).max(0);
        let intervals = over / interval_ms + i64::from(over % interval_ms > 0);
        let first_ms = anchor_ms.saturating_add(intervals.saturating_mul(interval_ms));
        self.add(kind, first_ms, interval)
    }

    /// Schedules a punctuation, first due at `first_ms`, then every `interval` (1 ms at the least).
    pub(crate) fn add(&mut self, kind: PunctuationKind, first_ms: i64, interval: Duration) -> PunctuationId {
        let id = PunctuationId(self.next_id);
        self.next_id += 1;
        self.schedules.push(Schedule { id, kind, due_ms: first_ms, interval_ms: in_ms(interval) });
        id
    }

    /// Ends a punctuation; one that has ended already is none any more.
    pub(crate) fn cancel(&mut self, id: PunctuationId) {
        self.schedules.retain(|schedule| schedule.id != id);
    }

    /// When the next one of a kind is due; `i64::MAX` when there is none.
    pub(crate) fn next_due_ms(&self, kind: PunctuationKind) -> i64 {
        let of_kind = self.schedules.iter().filter(|schedule| schedule.kind == kind);
        of_kind.map(|schedule| schedule.due_ms).min().unwrap_or(i64::MAX)
    }

    /// The one of a kind that is due first, if one is due at `now_ms`. It is due again one interval later, or, when that is over
    /// already, at the next multiple of its interval: a jump over several calls once.
    pub(crate) fn take_due(&mut self, kind: PunctuationKind, now_ms: i64) -> Option<PunctuationId> {
        let due = self.schedules.iter_mut().filter(|schedule| schedule.kind == kind && schedule.due_ms <= now_ms);
        let schedule = due.min_by_key(|schedule| schedule.due_ms)?;
        let missed = now_ms.saturating_sub(schedule.due_ms) / schedule.interval_ms;
        let intervals = missed.saturating_add(1);
        schedule.due_ms = schedule.due_ms.saturating_add(schedule.interval_ms.saturating_mul(intervals));
        Some(schedule.id)
    }
}

/// An interval in ms, 1 at the least.
fn in_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use PunctuationKind::{StreamTime, WallClock};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_jump_over_several_intervals_calls_once_and_keeps_the_beat() {
        let mut schedules = Schedules::default();
        let id = schedules.add(StreamTime, 0, Duration::from_millis(100));
        assert_eq!(schedules.take_due(StreamTime, -1), None);
        assert_eq!(schedules.take_due(StreamTime, 350), Some(id));
        assert_eq!(schedules.take_due(StreamTime, 350), None);
        assert_eq!(schedules.next_due_ms(StreamTime), 400);
        assert_eq!(schedules.take_due(StreamTime, 400), Some(id));
        assert_eq!(schedules.next_due_ms(StreamTime), 500);
    }

    #[test]
    fn kinds_go_by_their_own_time_and_what_is_cancelled_is_over() {
        let mut schedules = Schedules::default();
        let stream = schedules.add(StreamTime, 0, Duration::from_millis(10));
        let wall = schedules.add(WallClock, 5, Duration::from_millis(10));
        assert_eq!(schedules.take_due(WallClock, 4), None);
        assert_eq!(schedules.take_due(WallClock, 5), Some(wall));
        schedules.cancel(stream);
        schedules.cancel(stream);
        assert_eq!(schedules.take_due(StreamTime, 100), None);
        assert_eq!(schedules.next_due_ms(StreamTime), i64::MAX);
    }

    proptest! {
        #[test]
        fn the_next_time_is_the_first_multiple_behind_now(
            first in -1000..1000_i64, interval in 1..500_i64, jumps in prop::collection::vec(0..3000_i64, 1..30),
        ) {
            let mut schedules = Schedules::default();
            schedules.add(StreamTime, first, Duration::from_millis(interval.cast_unsigned()));
            let mut now = -1500;
            for jump in jumps {
                now += jump;
                let due = schedules.next_due_ms(StreamTime);
                let called = schedules.take_due(StreamTime, now).is_some();
                prop_assert_eq!(called, due <= now);
                let next = schedules.next_due_ms(StreamTime);
                prop_assert_eq!((next - first).rem_euclid(interval), 0);
                prop_assert!(next > now && (next - interval <= now || !called));
            }
        }
    }
}
