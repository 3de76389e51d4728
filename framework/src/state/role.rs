//! In which role an instance has a task.

use serde::{Deserialize, Serialize};

/// The role in which an instance has a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Processes records. At most one instance has it.
    Active,
    /// Follows the changelog, to take over.
    Standby,
    /// Follows the changelog, because the task shall move here.
    WarmUp,
}
