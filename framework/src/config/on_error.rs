//! What happens to a record that fails.

use std::{fmt, str::FromStr};

/// What happens to a record that cannot be read, processed or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// Its task stops. Nothing of the record is committed, so it is met again when the task is started again.
    #[default]
    Fail,
    /// It is left out whole, and counted: neither state nor outputs have anything of it.
    Continue,
    /// As [`OnError::Continue`], and the record is written to the dead-letter topic as it was read, with headers that say what went
    /// wrong. Both become final together.
    DeadLetter,
    /// The node that failed is left out, and those behind it, and counted; whatever else the record does is done. This is what
    /// `LogAndContinueProcessingExceptionHandler` of Kafka Streams does. A record that cannot be read is left out whole.
    SkipNode,
}

// === impl OnError ===

impl OnError {
    const ALL: [Self; 4] = [Self::Fail, Self::Continue, Self::DeadLetter, Self::SkipNode];
    /// What a setting may say.
    pub(crate) const EXPECTED: &str = "`fail`, `continue`, `dead-letter` or `skip-node`";

    /// As a setting says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Continue => "continue",
            Self::DeadLetter => "dead-letter",
            Self::SkipNode => "skip-node",
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnError {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|answer| answer.as_str() == text).ok_or(Self::EXPECTED)
    }
}
