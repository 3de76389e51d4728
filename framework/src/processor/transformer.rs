//! Transformers of tables: new values for rows, with the help of stores.

use std::{error::Error, fmt};

use super::{Context, Globals, HasGlobals, StoreContext, store_context::HasStores};
use crate::state::TaskStores;

/// Gives the rows of a table new values: `ValueTransformerWithKey` of Kafka Streams. One lives in each task, and one more wherever rows are
/// looked up that are not kept.
///
/// How often it is called depends on who asks: for the new value of each change, for the old one too where somebody downstream needs it,
/// and for each row that is looked up. A table with a store of its own is asked once per change.
pub trait ValueTransformer<K, V>: 'static {
    /// The new values.
    type Value;

    /// The new value of a row; `None` deletes it. Called for rows that are deleted, or are not there, too.
    ///
    /// # Errors
    /// Whatever is wrong with the row, and what stores say.
    fn transform(
        &mut self,
        ctx: &mut TransformContext<'_>,
        key: &K,
        value: Option<&V>,
    ) -> Result<Option<Self::Value>, Box<dyn Error + Send + Sync>>;
}

/// What a [`ValueTransformer`] may do: use its stores.
pub struct TransformContext<'a> {
    ctx: &'a mut Context,
    timestamp_ms: i64,
}

// === impl TransformContext ===

impl<'a> TransformContext<'a> {
    pub(crate) fn new(ctx: &'a mut Context, timestamp_ms: i64) -> Self {
        Self { ctx, timestamp_ms }
    }

    /// The largest timestamp of the task's records so far, in ms since the epoch; [`Context::NO_STREAM_TIME`] before the first.
    #[must_use]
    pub fn stream_time_ms(&self) -> i64 {
        self.ctx.stream_time_ms()
    }

    /// The wall clock in ms since the epoch, as of the beginning of this turn of the task.
    #[must_use]
    pub fn wall_clock_ms(&self) -> i64 {
        self.ctx.wall_clock_ms()
    }
}

impl HasStores for TransformContext<'_> {
    fn stores_mut(&mut self) -> &mut TaskStores {
        self.ctx.stores_mut()
    }

    fn row_expired(&mut self) {
        self.ctx.row_expired();
    }
}

impl StoreContext for TransformContext<'_> {
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

impl HasGlobals for TransformContext<'_> {
    fn globals(&self) -> &Globals {
        self.ctx.globals()
    }
}

impl fmt::Debug for TransformContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransformContext").field("context", &self.ctx).finish_non_exhaustive()
    }
}
