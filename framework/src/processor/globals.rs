//! Global tables as tasks see them.

use std::{fmt, sync::Arc};

use crate::state::{Row, StateError, StoreId, TaskView};

/// The global tables of an instance: committed rows, readable by every task and thread.
#[derive(Clone, Default)]
pub struct Globals {
    view: Option<Arc<TaskView>>,
}

// === impl Globals ===

impl Globals {
    /// The rows behind a view. Its stores are those of `Resolved::globals`, in that order.
    #[must_use]
    pub fn new(view: Arc<TaskView>) -> Self {
        Self { view: Some(view) }
    }

    /// No global tables.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a row of a global table.
    ///
    /// # Errors
    ///
    /// When the state of the global tables cannot be read.
    pub fn read<R>(&self, store: StoreId, key: &[u8], f: impl FnOnce(Option<Row<'_>>) -> R) -> Result<R, StateError> {
        let row = match &self.view {
            Some(view) => view.get(store, key)?,
            None => None,
        };
        Ok(f(row.as_ref().map(|(value, timestamp_ms)| Row { value, timestamp_ms: *timestamp_ms })))
    }
}

impl fmt::Debug for Globals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Globals").field("any", &self.view.is_some()).finish()
    }
}
