//! How state is kept.

use std::sync::Arc;

use super::{MemoryBudget, StateDir};

/// Settings of all state of an instance. Cheap to clone; the clones share directory and memory.
#[derive(Debug, Clone, Default)]
pub struct StateSettings {
    /// Where persistent stores live; `None` keeps everything in memory (tests, simulation, demo).
    pub dir: Option<Arc<StateDir>>,
    /// The memory that all databases of the process share.
    pub memory: MemoryBudget,
}
