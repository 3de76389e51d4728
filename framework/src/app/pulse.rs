//! Whether what this instance hosts may be answered from: not after it stood still for so long that others may have taken it.
//!
//! A process that is stopped, or a machine that is, learns only some time after it goes on that it was voted out. Until then its tasks look
//! as they did, and an answer from them would pass for the latest committed state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::time::Clock;

/// The control thread's pulse. Written by it, read by every query.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Arc<dyn Clock>,
    /// After so long a silence others may take what is hosted here.
    silence: Duration,
    max_poll_interval: Duration,
    /// Times are in ms of the monotonic clock.
    beat_ms: AtomicU64,
    polled_ms: AtomicU64,
    doubtful_until_ms: AtomicU64,
}

// === impl Pulse ===

impl Pulse {
    /// The pulse of an instance whose membership ends when it is silent for as long as `silence`, or not polled for
    /// `max_poll_interval`.
    pub(super) fn new(clock: Arc<dyn Clock>, silence: Duration, max_poll_interval: Duration) -> Self {
        let now = millis(clock.monotonic());
        Self {
            clock,
            silence,
            max_poll_interval,
            beat_ms: now.into(),
            polled_ms: now.into(),
            doubtful_until_ms: 0.into(),
        }
    }

    /// The control thread goes on. After so long a silence it is doubtful for as long again whether this instance is still a
    /// member: by then the client library has asked.
    pub(super) fn beat(&self) {
        let now = self.now();
        let gap = now.saturating_sub(self.beat_ms.load(Ordering::SeqCst));
        if gap > millis(self.silence) {
            tracing::warn!(stood_still_ms = gap, "answering nothing until the membership is certain");
            self.doubtful_until_ms.store(now + millis(self.silence), Ordering::SeqCst);
        }
        // After the doubt, so that a query sees one of them.
        self.beat_ms.store(now, Ordering::SeqCst);
    }

    /// The membership was polled.
    pub(super) fn polled(&self) {
        self.polled_ms.store(self.now(), Ordering::SeqCst);
    }

    /// Nothing is hosted now; what is from now on is this instance's.
    pub(super) fn begin(&self) {
        self.polled();
        self.beat_ms.store(self.now(), Ordering::SeqCst);
        self.doubtful_until_ms.store(0, Ordering::SeqCst);
    }

    /// Whether the control thread went on within this time.
    pub(super) fn beats(&self, within: Duration) -> bool {
        self.now().saturating_sub(self.beat_ms.load(Ordering::SeqCst)) <= millis(within)
    }

    /// Whether what is hosted here is certainly not another instance's.
    pub(super) fn may_answer(&self) -> bool {
        let now = self.now();
        let within =
            |since: &AtomicU64, limit: Duration| now.saturating_sub(since.load(Ordering::SeqCst)) <= millis(limit);
        within(&self.beat_ms, self.silence)
            && within(&self.polled_ms, self.max_poll_interval)
            && now >= self.doubtful_until_ms.load(Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        millis(self.clock.monotonic())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn who_stood_still_answers_nothing_until_its_membership_is_certain() {
        let (clock, second) = (ManualClock::new(0), Duration::from_secs(1));
        let pulse = Pulse::new(Arc::new(clock.clone()), 6 * second, 60 * second);
        let live = |seconds: u32| {
            for _ in 0..seconds {
                clock.advance(second);
                pulse.beat();
                pulse.polled();
            }
        };
        live(100);
        clock.advance(6 * second);
        assert!(pulse.may_answer());
        clock.advance(second);
        assert!(!pulse.may_answer(), "not even before the control thread goes on");
        pulse.beat();
        assert!(!pulse.may_answer());
        live(5);
        assert!(!pulse.may_answer());
        live(1);
        assert!(pulse.may_answer());

        clock.advance(7 * second);
        pulse.beat();
        pulse.begin();
        assert!(pulse.may_answer(), "what it had was dropped");

        for _ in 0..61 {
            clock.advance(second);
            pulse.beat();
        }
        assert!(!pulse.may_answer(), "not polled, so voted out");
    }
}
