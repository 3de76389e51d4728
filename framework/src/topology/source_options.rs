//! What a source says about its topics.

use crate::config::{OffsetReset, OnError, Timestamps};

/// How the topics of a source are read, where that is not as the configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SourceOptions {
    /// Which time records have.
    pub(crate) timing: Option<Timing>,
    /// Where to begin when there is no position.
    pub(crate) offset_reset: Option<OffsetReset>,
    /// What happens to records that cannot be read.
    pub(crate) on_unreadable: Option<OnError>,
}

/// Where the time of records comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// By a rule.
    Policy(Timestamps),
    /// The source has a function for it.
    Extractor,
}
