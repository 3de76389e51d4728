//! Records that operators leave out, by reason.

use std::fmt;

use super::Stage;

/// Why an operator left a record out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The operator needs a key, the record has none.
    NullKey,
    /// The operator needs a value, the record has none.
    NullValue,
    /// A foreign-key join finds no foreign key in the row's value.
    NullForeignKey,
    /// A foreign-key join is told of a row that has changed since it asked: it will be told again.
    StaleResponse,
    /// The record came after its window, or one of its windows, was closed.
    Late,
    /// A result is older than anything that its store still has.
    Expired,
    /// The operator only takes the latest version of a row, and this is an earlier one.
    OutOfOrder,
    /// It has no valid time.
    InvalidTimestamp,
    /// It could not be read, and the handler said to go on.
    DeserializationError,
    /// It could not be processed, and the handler said to go on.
    ProcessingError,
    /// What came of it could not be written, and the handler said to go on.
    ProductionError,
}

/// How many records a task left out since it was started, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped([u64; DropReason::ALL.len()]);

// === impl DropReason ===

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::NullKey,
        Self::NullValue,
        Self::NullForeignKey,
        Self::StaleResponse,
        Self::Late,
        Self::Expired,
        Self::OutOfOrder,
        Self::InvalidTimestamp,
        Self::DeserializationError,
        Self::ProcessingError,
        Self::ProductionError,
    ];

    /// The reason as the value of a metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::NullForeignKey => "null_foreign_key",
            Self::StaleResponse => "stale_response",
            Self::Late => "late",
            Self::Expired => "expired",
            Self::OutOfOrder => "out_of_order",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::DeserializationError => "deserialization_error",
            Self::ProcessingError => "processing_error",
            Self::ProductionError => "production_error",
        }
    }
}

impl From<Stage> for DropReason {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Deserialization => Self::DeserializationError,
            Stage::Processing => Self::ProcessingError,
            Stage::Production => Self::ProductionError,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === impl Dropped ===

impl Dropped {
    /// How many for this reason.
    #[must_use]
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }
}
