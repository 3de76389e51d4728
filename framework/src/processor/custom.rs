//! Processors written by users: what the operators of the DSL do not say.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::{
    Children, Context, Globals, HasGlobals, ProcessError, PunctuationId, PunctuationKind, Record, StoreContext,
    punctuation::Schedules, store_context::HasStores,
};
use crate::state::{TaskId, TaskStores};

/// A processor of records of `K` and `V`: `Processor` of Kafka Streams. One lives in each task, on the task's thread.
///
/// Any error of a function ends the processing of the record; nothing of it is committed.
pub trait Processor<K, V>: 'static {
    /// The keys it passes on.
    type Key: Clone + 'static;
    /// The values it passes on.
    type Value: Clone + 'static;

    /// Called once, before the first record: the place to schedule punctuations. Stores are whole.
    ///
    /// # Errors
    /// Whatever makes the task useless: it does not begin.
    fn init(&mut self, ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>) -> ProcessorResult {
        let _ = ctx;
        Ok(())
    }

    /// Processes a record.
    ///
    /// # Errors
    /// Whatever is wrong with the record, and what the context and stores say.
    fn process(
        &mut self,
        ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>,
        record: Record<K, V>,
    ) -> ProcessorResult;

    /// A punctuation that was scheduled is due. `now_ms` is stream time or wall-clock time, by its kind; when several intervals have
    /// passed, it is called once.
    ///
    /// # Errors
    /// As [`Processor::process`].
    fn punctuate(
        &mut self,
        ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        let _ = (ctx, punctuation, now_ms);
        Ok(())
    }
}

/// What the functions of a [`Processor`] return: any error will do.
pub type ProcessorResult = Result<(), Box<dyn Error + Send + Sync>>;

/// What a [`Processor`] may do: pass records on, use its stores, schedule punctuations.
pub struct ProcessorContext<'a, K, V> {
    ctx: &'a mut Context,
    children: &'a mut Children<K, V>,
    schedules: &'a mut Schedules,
    timestamp_ms: i64,
}

/// One of the outputs of a processor that has several:
/// [`Stream::process_with_outputs`](crate::dsl::Stream::process_with_outputs) hands them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutputId(pub(crate) usize);

/// Where a record comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A node that is called at times, apart from records.
pub(crate) trait Punctuated {
    /// Called once, before the first record.
    fn init(&mut self, ctx: &mut Context) -> Result<(), ProcessError>;
    /// When its next punctuation of a kind is due; `i64::MAX` when there is none.
    fn next_due_ms(&self, kind: PunctuationKind) -> i64;
    /// Calls the punctuation of a kind that is due first, if one is due at `now_ms`.
    fn punctuate(&mut self, ctx: &mut Context, kind: PunctuationKind, now_ms: i64) -> Result<(), ProcessError>;
}

// === impl Origin ===

impl Origin {
    /// That of the record at hand; `None` in a punctuation.
    pub(super) fn of(ctx: &Context) -> Option<Self> {
        let (topic, offset) = (ctx.topic(), ctx.offset());
        (offset >= 0).then(|| Self { topic: Arc::clone(topic), partition: ctx.task().partition, offset })
    }
}

// === impl ProcessorContext ===

impl<'a, K: Clone + 'static, V: Clone + 'static> ProcessorContext<'a, K, V> {
    /// `timestamp_ms` is the time of what the processor is called for.
    pub(crate) fn new(
        ctx: &'a mut Context,
        children: &'a mut Children<K, V>,
        schedules: &'a mut Schedules,
        timestamp_ms: i64,
    ) -> Self {
        Self { ctx, children, schedules, timestamp_ms }
    }

    /// The same for a shorter time.
    pub(super) fn reborrow(&mut self) -> ProcessorContext<'_, K, V> {
        let Self { ctx, children, schedules, timestamp_ms } = self;
        ProcessorContext { ctx, children, schedules, timestamp_ms: *timestamp_ms }
    }

    /// Passes a record on, and with it everything that follows from it downstream.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<(), ProcessError> {
        self.children.forward(self.ctx, record)
    }

    /// Passes a record on to one of the processor's outputs only.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward_to(&mut self, output: OutputId, record: Record<K, V>) -> Result<(), ProcessError> {
        self.children.forward_to(output.0, self.ctx, record)
    }

    /// Schedules a punctuation: by stream time it is first due at 0, with the first record; by the wall clock after one interval
    /// (1 ms at the least).
    pub fn schedule(&mut self, kind: PunctuationKind, interval: Duration) -> PunctuationId {
        self.schedules.begin(self.ctx, kind, interval)
    }

    /// Schedules a punctuation that keeps the beat of `anchor_ms`: it is due at the first of `anchor_ms`, `anchor_ms` + `interval`,
    /// ... that is not over (KIP-1146).
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

impl<K, V> HasStores for ProcessorContext<'_, K, V> {
    fn stores_mut(&mut self) -> &mut TaskStores {
        self.ctx.stores_mut()
    }

    fn row_expired(&mut self) {
        self.ctx.row_expired();
    }
}

impl<K, V> StoreContext for ProcessorContext<'_, K, V> {
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

impl<K, V> HasGlobals for ProcessorContext<'_, K, V> {
    fn globals(&self) -> &Globals {
        self.ctx.globals()
    }
}

impl<K, V> fmt::Debug for ProcessorContext<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorContext").field("context", &self.ctx).finish_non_exhaustive()
    }
}

/// The error of a user's function; one that came from the framework passes through as it was.
pub(crate) fn user_error(node: &Arc<str>, source: Box<dyn Error + Send + Sync>) -> ProcessError {
    match source.downcast::<ProcessError>() {
        Ok(error) => *error,
        Err(source) => ProcessError::User { node: Arc::clone(node), class: "Processor", source },
    }
}
