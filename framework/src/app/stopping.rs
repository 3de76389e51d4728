//! How an instance stops: it asks to be emptied first, so that others are ready before it lets go, then it leaves. Pure.

use std::time::Duration;

/// How long leaving may take when nobody was made ready for it.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How urgently an instance was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum StopRequest {
    /// It was not.
    None,
    /// When others have what it has.
    Drain,
    /// Now: what is under way is committed, and nobody is waited for.
    AtOnce,
}

/// How far a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    /// Nobody asked for it.
    No,
    /// The others take over what this instance has.
    Draining {
        /// Till then.
        until: Duration,
    },
    /// It gives up what it has, whoever takes it.
    Leaving {
        /// Till then.
        until: Duration,
    },
}

/// What is to be done next for a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopStep {
    /// Go on.
    Wait,
    /// Ask to be emptied.
    Drain,
    /// Give everything away and leave.
    Leave,
    /// End without a hand-over.
    End,
}

/// What a stop depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopFacts {
    pub(super) request: StopRequest,
    /// Whether there is somebody to take over, and the log to agree about it.
    pub(super) can_drain: bool,
    /// How long draining may take.
    pub(super) drain_timeout: Duration,
}

// === impl StopRequest ===

impl StopRequest {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::None,
            1 => Self::Drain,
            _ => Self::AtOnce,
        }
    }
}

// === impl Stopping ===

impl Stopping {
    /// What to do now.
    pub(super) fn step(&mut self, now: Duration, facts: StopFacts) -> StopStep {
        let StopFacts { request, can_drain, drain_timeout } = facts;
        match (*self, request) {
            (Self::No, StopRequest::None) => StopStep::Wait,
            (_, StopRequest::AtOnce) => StopStep::End,
            (Self::No, StopRequest::Drain) if can_drain && !drain_timeout.is_zero() => {
                *self = Self::Draining { until: now + drain_timeout };
                StopStep::Drain
            }
            (Self::Draining { until }, _) if can_drain && now < until => StopStep::Wait,
            (Self::No | Self::Draining { .. }, _) => self.leave(now),
            (Self::Leaving { until }, _) if now < until => StopStep::Wait,
            (Self::Leaving { .. }, _) => StopStep::End,
        }
    }

    /// Others have what this instance had.
    pub(super) fn leave(&mut self, now: Duration) -> StopStep {
        *self = Self::Leaving { until: now + LEAVE_DEADLINE };
        StopStep::Leave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn facts(request: StopRequest, can_drain: bool) -> StopFacts {
        StopFacts { request, can_drain, drain_timeout: 20 * SECOND }
    }

    #[test]
    fn it_drains_then_leaves_then_ends() {
        let mut stopping = Stopping::No;
        assert_eq!(stopping.step(SECOND, facts(StopRequest::None, true)), StopStep::Wait);
        let drain = facts(StopRequest::Drain, true);
        assert_eq!(stopping.step(SECOND, drain), StopStep::Drain);
        assert_eq!(stopping.step(20 * SECOND, drain), StopStep::Wait);
        assert_eq!(stopping.step(21 * SECOND, drain), StopStep::Leave, "it took too long");
        assert_eq!(stopping.step(25 * SECOND, drain), StopStep::Wait);
        assert_eq!(stopping.step(26 * SECOND, drain), StopStep::End);
    }

    #[test]
    fn nobody_is_waited_for_in_vain() {
        let mut alone = Stopping::No;
        assert_eq!(alone.step(SECOND, facts(StopRequest::Drain, false)), StopStep::Leave);
        let mut left = Stopping::No;
        assert_eq!(left.step(SECOND, facts(StopRequest::Drain, true)), StopStep::Drain);
        assert_eq!(left.step(2 * SECOND, facts(StopRequest::Drain, false)), StopStep::Leave, "the others have gone");
        let mut hurried = Stopping::Draining { until: 20 * SECOND };
        assert_eq!(hurried.step(SECOND, facts(StopRequest::AtOnce, true)), StopStep::End, "asked again");
        let mut emptied = Stopping::Draining { until: 20 * SECOND };
        assert_eq!(emptied.leave(SECOND), StopStep::Leave);
        assert_eq!(emptied.step(2 * SECOND, facts(StopRequest::Drain, true)), StopStep::Wait);
    }
}
