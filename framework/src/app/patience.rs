//! The steps of a start, each tried until it is done: a log that is away is no reason to end.
//!
//! Who starts a service before its brokers, or while they are restarted, wants to find it ready when they are. What does not pass by
//! itself (a wrong setting, missing rights, topics that do not fit) ends the start at once.

use std::{sync::Arc, time::Duration};

use super::{AppError, application::PrepareError, status::Status, topics::TopicsError};
use crate::{
    log::{Log, LogError},
    processor::ProcessError,
    time::Clock,
};

/// How long the log may take to answer, each time before a step.
const ANSWER: Duration = Duration::from_secs(5);
/// How long one question waits, and how soon a wish to stop is heard.
const SLICE: Duration = Duration::from_millis(250);
/// The first wait between two tries, which doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What it takes to be patient.
pub(super) struct Patience {
    pub(super) log: Arc<dyn Log>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) status: Arc<Status>,
}

/// Why a start does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// The instance is to stop.
    Stopped,
    /// It cannot start.
    Failed(AppError),
}

// === impl Patience ===

impl Patience {
    /// Does a step; while the log is away, again and again.
    pub(super) fn until_done<T, E: Into<AppError>>(
        &self,
        step: &str,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, Halt> {
        self.status.starting(step);
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.reach()? {
                Err(error) => AppError::Log(error),
                Ok(()) => match attempt().map_err(Into::into) {
                    Ok(done) => {
                        self.status.log_reachable();
                        return Ok(done);
                    }
                    Err(error) => error,
                },
            };
            if !error.will_pass() {
                return Err(Halt::Failed(error));
            }
            self.status.log_unavailable_at_start(&error.to_string(), self.clock.monotonic());
            tracing::warn!("{step}: {error}; trying again in {:.1} s", wait.as_secs_f64());
            self.pass(wait)?;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// Asks whether the log answers.
    fn reach(&self) -> Result<Result<(), LogError>, Halt> {
        let deadline = self.clock.monotonic() + ANSWER;
        loop {
            self.go_on()?;
            match self.log.reach(SLICE) {
                Err(error) if error.is_retriable() && self.clock.monotonic() < deadline => {}
                result => return Ok(result),
            }
        }
    }

    fn pass(&self, time: Duration) -> Result<(), Halt> {
        let end = self.clock.monotonic() + time;
        while self.clock.monotonic() < end {
            self.go_on()?;
            self.clock.sleep(SLICE.min(time));
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Halt> {
        if self.status.stop_requested() { Err(Halt::Stopped) } else { Ok(()) }
    }
}

// === impl AppError ===

impl AppError {
    /// Whether the log is away, which passes.
    fn will_pass(&self) -> bool {
        match self {
            Self::Log(error)
            | Self::Topics(PrepareError::Topics(TopicsError::Log(error)))
            | Self::Globals(ProcessError::Log(error)) => error.is_retriable(),
            _ => false,
        }
    }
}

// === impl Halt ===

impl<E: Into<AppError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
