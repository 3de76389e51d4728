//! Transformers of tables: new values for rows, with the help of stores.

use std::{error::Error, fmt, time::Duration};

use super::{
    Context, Globals, HasGlobals, Origin, ProcessorResult, PunctuationId, PunctuationKind, StoreContext,
    punctuation::Schedules, store_context::HasStores,
};
use crate::state::{TaskId, TaskStores};

/// Gives the rows of a table new values: `ValueTransformerWithKey` of Kafka Streams. One lives in each task, and one more wherever rows are
/// looked up that are not kept; all of them are called for punctuations.
///
/// How often it is called depends on who asks: for the new value of each change, for the old one too where somebody downstream needs it,
/// and for each row that is looked up. A table with a store of its own is asked once per change.
pub trait ValueTransformer<K, V>: 'static {
    /// The new values.
    type Value;

    /// Called once, before the first record: the place to schedule punctuations. Stores are whole.
    ///
    /// # Errors
    /// Whatever makes the task useless: it does not begin.
    fn init(&mut self, ctx: &mut TransformContext<'_>) -> ProcessorResult {
        let _ = ctx;
        Ok(())
    }

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

    /// A punctuation that was scheduled is due: nothing can be passed on, but stores can be tidied. `now_ms` is stream time or wall-clock
    /// time, by its kind; when several intervals have passed, it is called once.
    ///
    /// # Errors
    /// What stores say.
    fn punctuate(
        &mut self,
        ctx: &mut TransformContext<'_>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        let _ = (ctx, punctuation, now_ms);
        Ok(())
    }
}

/// What a [`ValueTransformer`] may do: use its stores, schedule punctuations.
pub struct TransformContext<'a> {
    ctx: &'a mut Context,
    schedules: &'a mut Schedules,
    timestamp_ms: i64,
}

// === impl TransformContext ===

impl<'a> TransformContext<'a> {
    /// `timestamp_ms` is the time of what the transformer is called for.
    pub(crate) fn new(ctx: &'a mut Context, schedules: &'a mut Schedules, timestamp_ms: i64) -> Self {
        Self { ctx, schedules, timestamp_ms }
    }

    /// See [`ProcessorContext::schedule`](super::ProcessorContext::schedule).
    pub fn schedule(&mut self, kind: PunctuationKind, interval: Duration) -> PunctuationId {
        self.schedules.begin(self.ctx, kind, interval)
    }

    /// See [`ProcessorContext::schedule_anchored`](super::ProcessorContext::schedule_anchored).
    pub fn schedule_anchored(&mut self, kind: PunctuationKind, anchor_ms: i64, interval: Duration) -> PunctuationId {
        self.schedules.begin_anchored(self.ctx, kind, anchor_ms, interval)
    }

    /// Ends a punctuation; one that has ended already is none any more.
    pub fn cancel(&mut self, punctuation: PunctuationId) {
        self.schedules.cancel(punctuation);
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.ctx.task()
    }

    /// Where the record at hand comes from; `None` in a punctuation.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        Origin::of(self.ctx)
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
