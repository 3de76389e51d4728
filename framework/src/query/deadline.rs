//! The time a request may take, here and on the instance it is forwarded to.
//!
//! This is the one place that reads tokio's clock instead of a `time::Clock`: the timers that enforce a deadline run on it.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

use super::{QueryError, QueryOptions, headers};

/// When a request must have its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    started: Instant,
    allowed: Duration,
}

// === impl Deadline ===

impl Deadline {
    /// The deadline a request that came at `started` asks for by `millpond-deadline-ms`, within the options' bounds.
    pub(super) fn of(started: Instant, headers: &HeaderMap, options: &QueryOptions) -> Result<Self, QueryError> {
        let Some(value) = headers.get(headers::DEADLINE_MS) else {
            return Ok(Self { started, allowed: options.deadline });
        };
        let ms: u64 =
            value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| QueryError::InvalidRequest {
                reason: format!("header `{}` must be whole milliseconds", headers::DEADLINE_MS),
            })?;
        Ok(Self { started, allowed: Duration::from_millis(ms).min(options.max_deadline) })
    }

    /// Since the request came.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of it.
    pub(super) fn remaining(&self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// Waits for `work` no longer than the deadline; `waiting_for` names it in the error.
    pub(super) async fn bound<T>(
        &self,
        waiting_for: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> Result<T, QueryError> {
        let exceeded =
            || QueryError::DeadlineExceeded { allowed_ms: self.allowed.as_millis(), waiting_for: waiting_for() };
        if self.remaining().is_zero() {
            return Err(exceeded());
        }
        tokio::time::timeout_at(self.started + self.allowed, work).await.map_err(|_| exceeded())
    }
}
