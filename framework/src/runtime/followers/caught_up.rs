//! When a standby or warm-up counts as caught up.

/// Whether a follower has caught up: when it lacks no more than is acceptable, until it lacks more than twice that. Each change is published
/// and may move tasks, so it must not come and go with every commit of the active task. At first it has to have been current once: of a small
/// changelog it would lack all, and a task that moves there would pause for it.
#[derive(Debug)]
pub(super) struct CaughtUp {
    acceptable: u64,
    /// `None` before the first look.
    is: Option<bool>,
}

/// What a follower may always lack once it has caught up: an active task that commits now and then is so far ahead.
const LEAST_TOLERATED: u64 = 1000;

// === impl CaughtUp ===

impl CaughtUp {
    pub(super) fn new(acceptable: u64) -> Self {
        Self { acceptable, is: None }
    }

    /// Looks at the lag, and at whether it was ever current. Gives whether it has caught up, if that is news.
    pub(super) fn look(&mut self, lag: u64, was_current: bool) -> Option<bool> {
        let is = Some(match self.is {
            Some(true) => lag <= self.acceptable.saturating_mul(2).max(LEAST_TOLERATED),
            _ => was_current && lag <= self.acceptable,
        });
        (std::mem::replace(&mut self.is, is) != is).then_some(is).flatten()
    }

    /// As of the last look.
    pub(super) fn is(&self) -> bool {
        self.is == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_caught_up_until_it_lacks_twice_what_is_acceptable() {
        let mut caught_up = CaughtUp::new(10_000);
        let lags = [50_000, 10_001, 10_000, 15_000, 20_000, 20_001, 10_001, 0];
        let news = lags.map(|lag| caught_up.look(lag, true));
        assert_eq!(news, [Some(false), None, Some(true), None, None, Some(false), None, Some(true)]);
    }

    #[test]
    fn where_nothing_is_acceptable_a_commit_is_no_lack() {
        let mut caught_up = CaughtUp::new(0);
        assert_eq!(
            [1, 0, 900, 1001].map(|lag| caught_up.look(lag, true)),
            [Some(false), Some(true), None, Some(false)]
        );
    }

    #[test]
    fn what_lacks_little_has_to_read_it_first() {
        let mut caught_up = CaughtUp::new(10_000);
        let looks = [(500, false), (20, false), (20, true), (30, true)];
        assert_eq!(looks.map(|(lag, was)| caught_up.look(lag, was)), [Some(false), None, Some(true), None]);
    }
}
