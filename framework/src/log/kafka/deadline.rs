//! Deadlines in real time: librdkafka's waits are.

use std::time::Duration;

use crate::time::{Clock, SystemClock};

/// A moment to give up at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    clock: SystemClock,
    at: Duration,
    timeout: Duration,
}

// === impl Deadline ===

impl Deadline {
    /// `timeout` from now.
    pub(super) fn after(clock: SystemClock, timeout: Duration) -> Self {
        Self { clock, at: clock.monotonic().saturating_add(timeout), timeout }
    }

    /// The time that is left, 0 when it has passed.
    pub(super) fn remaining(&self) -> Duration {
        self.at.saturating_sub(self.clock.monotonic())
    }

    /// The same in whole milliseconds, not less. The wrapper's `poll` cuts fractions off what it hands to librdkafka, and asks it
    /// without a pause until they are over.
    pub(super) fn remaining_whole_ms(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.remaining().as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// Whether it has passed.
    pub(super) fn passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The timeout it was made with.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}
