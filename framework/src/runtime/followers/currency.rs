//! How old what a follower has is.
//!
//! A changelog forgets deletions after a day, so state that was not as new as its changelog within that time is not brought up to date but
//! rebuilt. A task that runs writes down when it committed; a follower has to find out: once in a while it asks where the changelogs
//! end, and when it has read up to there, it is at least as new as when it asked. What lies behind the last stable offset is of no account: the
//! log's cleaner does not touch it.

use std::{collections::BTreeMap, time::Duration};

use crate::log::TopicPartition;

/// When to ask, and what was answered.
#[derive(Debug)]
pub(super) struct Currency {
    /// The ends that were asked for, and when, in ms of the wall clock.
    asked: Option<(i64, BTreeMap<TopicPartition, i64>)>,
    next: Duration,
}

/// How often to ask.
const INTERVAL: Duration = Duration::from_secs(600);
/// When to ask again after that failed.
const RETRY: Duration = Duration::from_secs(10);

// === impl Currency ===

impl Currency {
    /// Begins with the ends as of `now_ms`.
    pub(super) fn new(now_ms: i64, ends: BTreeMap<TopicPartition, i64>) -> Self {
        Self { asked: Some((now_ms, ends)), next: Duration::ZERO }
    }

    /// Whether to ask now. It is [`answered`](Self::answered) or [`failed`](Self::failed) then.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.asked.is_none() && now >= self.next
    }

    /// The ends as of `now_ms`.
    pub(super) fn answered(&mut self, now_ms: i64, ends: BTreeMap<TopicPartition, i64>) {
        self.asked = Some((now_ms, ends));
    }

    pub(super) fn failed(&mut self, now: Duration) {
        self.next = now + RETRY;
    }

    /// As of when the state is current, as soon as everything before the ends was read: told once.
    pub(super) fn current_ms(
        &mut self,
        now: Duration,
        has_reached: impl FnOnce(&BTreeMap<TopicPartition, i64>) -> bool,
    ) -> Option<i64> {
        let (asked_ms, _) = self.asked.take_if(|(_, ends)| has_reached(ends))?;
        self.next = now + INTERVAL;
        Some(asked_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_new_as_the_question_when_the_answer_is_reached() {
        let ends = BTreeMap::from([(TopicPartition::new("c", 0), 7)]);
        let mut currency = Currency::new(100, ends.clone());
        assert!(!currency.is_due(INTERVAL), "one question at a time");
        assert_eq!(currency.current_ms(RETRY, |_| false), None);
        assert_eq!(currency.current_ms(RETRY, |asked| *asked == ends), Some(100));
        assert_eq!(currency.current_ms(RETRY, |_| true), None, "told once");
        let due = INTERVAL + RETRY;
        assert!(!currency.is_due(INTERVAL) && currency.is_due(due));
        currency.failed(due);
        assert!(!currency.is_due(due + RETRY / 2) && currency.is_due(due + RETRY));
        currency.answered(200, ends);
        assert_eq!(currency.current_ms(due, |_| true), Some(200));
    }
}
