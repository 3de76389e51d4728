//! How old what a follower has is.
//!
//! Once in a while it notes where the changelogs end. When it has read up to there, it has everything that the active task had committed by
//! then, since records are on the log before they are committed. Queries are told so; and it is written down with the rows now and then,
//! because a changelog forgets deletions after a day: state that was not as new as its changelog within that time is rebuilt by whoever opens
//! it.

use std::time::Duration;

/// A point in time, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// By the monotonic clock.
    pub(super) at: Duration,
    /// In ms since the epoch.
    pub(super) at_ms: i64,
}

/// As of when a follower is current.
#[derive(Debug)]
pub(super) struct Currency {
    /// The ends of its changelogs as they were last noted, and when.
    ends: Vec<i64>,
    noted: Moment,
    current: Option<Moment>,
    /// From when on to write it down again.
    next: Duration,
}

/// How often it is written down.
const INTERVAL: Duration = Duration::from_secs(600);

// === impl Currency ===

impl Currency {
    /// Begins with the ends of the changelogs as of `now`.
    pub(super) fn new(now: Moment, ends: Vec<i64>) -> Self {
        Self { ends, noted: now, current: None, next: Duration::ZERO }
    }

    /// Looks at what comes next and the end of each changelog; the ends are as of `known`. Gives what to write down, if it is time to.
    pub(super) fn look(&mut self, stands: impl Iterator<Item = (i64, i64)> + Clone, known: Moment) -> Option<i64> {
        let has_reached = stands.clone().zip(&self.ends).all(|((next, _), end)| next >= *end);
        if !has_reached {
            return None;
        }
        // What is known at first was asked, and is newer than what the reader then tells.
        let current = self.current.filter(|current| current.at > self.noted.at).unwrap_or(self.noted);
        self.current = Some(current);
        self.noted = known;
        self.ends.clear();
        self.ends.extend(stands.map(|(_, end)| end));
        (current.at >= self.next).then(|| {
            self.next = current.at + INTERVAL;
            current.at_ms
        })
    }

    /// As of when it has everything that was committed, by the monotonic clock; `None` before it has caught up for the first time.
    pub(super) fn current_at(&self) -> Option<Duration> {
        self.current.map(|current| current.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment { at: Duration::from_secs(second), at_ms: i64::try_from(second).unwrap_or(0) * 1000 }
    }

    #[test]
    fn it_is_as_new_as_the_ends_that_it_has_reached() {
        let mut currency = Currency::new(at(1), vec![7, 3]);
        assert_eq!(currency.look([(6, 7), (3, 3)].into_iter(), at(2)), None);
        assert_eq!(currency.current_at(), None);
        assert_eq!(currency.look([(7, 9), (3, 3)].into_iter(), at(3)), Some(1000), "when they were noted, not reached");
        assert_eq!(currency.look([(8, 9), (3, 3)].into_iter(), at(4)), None);
        assert_eq!(currency.current_at(), Some(at(1).at), "it is not where it was at second 3");
        assert_eq!(currency.look([(9, 12), (3, 3)].into_iter(), at(5)), None, "written down a moment ago");
        assert_eq!(currency.current_at(), Some(at(3).at));
        let later = 5 + INTERVAL.as_secs();
        assert_eq!(currency.look([(12, 12), (3, 3)].into_iter(), at(later)), None);
        assert_eq!(currency.look([(12, 12), (3, 3)].into_iter(), at(later)), Some(at(later).at_ms));
    }

    #[test]
    fn a_task_without_changelogs_is_always_current() {
        let mut currency = Currency::new(at(1), Vec::new());
        currency.look(std::iter::empty(), at(2));
        currency.look(std::iter::empty(), at(3));
        assert_eq!(currency.current_at(), Some(at(2).at));
    }
}
