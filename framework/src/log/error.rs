//! What can go wrong with the log, by what the caller must do about it.

use std::time::Duration;

/// An error of the log port. Each variant says what the caller does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log cannot be reached now: try again later.
    #[error("the log cannot be reached for {what}: {reason}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What the client library says.
        reason: String,
    },
    /// The call did not end within its deadline: its effect is unknown, try again or abort.
    #[error("{what} did not end within {} ms", .after.as_millis())]
    Timeout {
        /// What was tried.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// The topic does not exist: create it, or correct its name.
    #[error("topic `{topic}` does not exist")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The epoch or the producer is no longer the current one: drop everything dirty and rejoin.
    #[error("fenced: {reason}")]
    Fenced {
        /// What the log says.
        reason: String,
    },
    /// The transaction cannot be committed: abort it and replay from the committed offsets.
    #[error("the transaction must be aborted: {reason}")]
    Abortable {
        /// What the log says.
        reason: String,
    },
    /// The record is refused for its size or form: nothing but changing it helps.
    #[error("record for topic `{topic}` refused: {reason}")]
    RecordRefused {
        /// The topic.
        topic: String,
        /// What the log says.
        reason: String,
    },
    /// The request is wrong (settings, arguments, permissions): correct it.
    #[error("{what} was refused: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// What the log says.
        reason: String,
    },
    /// The client is of no further use: build a new one.
    #[error("the client failed for good: {reason}")]
    Fatal {
        /// What the client library says.
        reason: String,
    },
}

// === impl LogError ===

impl LogError {
    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
