//! The nodes of one task.

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

use super::{Instantiation, SourceOptions, Timing, graph::NodeId};
use crate::{
    config::Timestamps,
    log::{Headers, RecordRef},
    processor::{
        Coalescing, Context, DropReason, Handlers, Known, ProcessError, Punctuated, PunctuationKind, Source, Stage,
        Tolerance, Verdict,
    },
};

/// The nodes of one task, made by [`Resolved::instantiate`](super::Resolved::instantiate). Lives on the task's thread.
pub struct Processors {
    /// The full names of the topics.
    topics: Vec<Arc<str>>,
    /// How each of them is read; `None` for the application's own, which the configuration does not concern.
    options: Vec<Option<SourceOptions>>,
    /// Which time the records of each have.
    timings: Vec<Timing>,
    /// Who reads each of them.
    sources: Vec<Vec<Box<dyn Source>>>,
    /// Those that are called at times, in the order of the program.
    punctuated: Vec<Rc<RefCell<dyn Punctuated>>>,
    /// Those in which updates wait for the commit, those upstream first.
    coalescing: Vec<Rc<RefCell<dyn Coalescing>>>,
}

/// An update that waited failed when it was passed on, and the source record that it comes from was judged for it.
#[derive(Debug)]
pub(crate) struct JudgedUpdate {
    /// The topic of the record.
    pub(crate) topic: Arc<str>,
    /// Its offset.
    pub(crate) offset: i64,
    /// What was decided.
    pub(crate) verdict: Box<Verdict>,
}

/// What came of a record.
#[derive(Debug)]
pub(crate) enum Processed {
    /// It was processed.
    Done,
    /// It failed before, or could not be read: what was decided was done.
    Settled,
    /// It failed. What it changed so far is to be taken back; then it is processed again, with this verdict known.
    Again(Box<Verdict>),
}

// === impl Processors ===

impl Processors {
    pub(super) fn new(topics: Vec<Arc<str>>, readers: Vec<Vec<NodeId>>, instantiation: &mut Instantiation<'_>) -> Self {
        let mut options_of = |readers: &Vec<NodeId>| readers.iter().find_map(|id| instantiation.options(*id));
        let options: Vec<_> = readers.iter().map(&mut options_of).collect();
        let sources =
            readers.into_iter().map(|readers| readers.into_iter().map(|id| instantiation.source(id)).collect());
        let mut processors = Self {
            topics,
            options,
            timings: Vec::new(),
            sources: sources.collect(),
            punctuated: Vec::new(),
            coalescing: Vec::new(),
        };
        processors.punctuated = instantiation.take_punctuated();
        processors.coalescing = instantiation.take_coalescing();
        processors.set_timestamps(Timestamps::default());
        processors
    }

    /// Makes ready for the first record.
    ///
    /// # Errors
    ///
    /// The first error of a processor's `init`.
    pub fn init(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        ctx.begin_punctuation();
        self.punctuated.iter().try_for_each(|node| node.borrow_mut().init(ctx))?;
        Ok(())
    }

    /// Calls the punctuations that are due, by due time. Those by stream time go by that of `ctx`, those by the wall clock by
    /// its wall clock. Says whether there was any.
    ///
    /// # Errors
    ///
    /// The first error of one; what it has changed must not be committed.
    pub fn punctuate(&mut self, ctx: &mut Context, kind: PunctuationKind) -> Result<bool, ProcessError> {
        let now_ms = match kind {
            PunctuationKind::StreamTime => ctx.stream_time_ms(),
            PunctuationKind::WallClock => ctx.wall_clock_ms(),
        };
        let mut called = false;
        loop {
            let due = self.punctuated.iter().map(|node| (node.borrow().next_due_ms(kind), node));
            let Some((due_ms, node)) = due.min_by_key(|(due_ms, _)| *due_ms) else { break };
            if due_ms > now_ms || due_ms == i64::MAX {
                break;
            }
            ctx.begin_punctuation();
            node.borrow_mut().punctuate(ctx, kind, now_ms)?;
            called = true;
        }
        Ok(called)
    }

    /// Says which time records have whose source does not say it.
    pub(crate) fn set_timestamps(&mut self, default: Timestamps) {
        let timing = |options: &Option<SourceOptions>| match options {
            Some(options) => options.timing.unwrap_or(Timing::Policy(default)),
            None => Timing::Policy(Timestamps::Record),
        };
        self.timings = self.options.iter().map(timing).collect();
    }

    /// Whether all records have the time that they came with.
    pub(crate) fn keeps_time(&self) -> bool {
        let keeps = |timing: &Timing| matches!(timing, Timing::Policy(Timestamps::Record | Timestamps::SkipInvalid));
        self.timings.iter().all(keeps)
    }

    /// The time of a record of a partition of this time, in ms since the epoch; negative if it has none.
    pub(crate) fn time_of(
        &mut self,
        ctx: &Context,
        source: usize,
        partition_time_ms: i64,
        record: &RecordRef<'_>,
        headers: &Headers,
    ) -> i64 {
        match self.timings[source] {
            Timing::Policy(Timestamps::PartitionTime) if record.timestamp_ms < 0 => partition_time_ms,
            Timing::Policy(Timestamps::WallClock) => ctx.wall_clock_ms(),
            Timing::Policy(_) => record.timestamp_ms,
            Timing::Extractor => {
                let in_partition = (&self.topics[source], partition_time_ms);
                let mut sources = self.sources[source].iter_mut();
                // One that cannot be read is told when it is processed.
                sources.next().and_then(|own| own.extract(in_partition, record, headers)).unwrap_or(record.timestamp_ms)
            }
        }
    }

    /// Processes a record of the topic at `source` among [`SubTopology::sources`](super::SubTopology::sources): reads
    /// it and pushes it through the nodes, depth first.
    ///
    /// # Errors
    ///
    /// The first error of a node. What was changed by the record until then must not be committed, except after
    /// [`ProcessError::Deserialization`], when nothing was: then the record may be left out.
    ///
    /// # Panics
    ///
    /// When there is no such source.
    pub fn process(
        &mut self,
        ctx: &mut Context,
        source: usize,
        record: RecordRef<'_>,
        headers: Headers,
    ) -> Result<(), ProcessError> {
        ctx.begin(&self.topics[source], &record);
        if record.timestamp_ms < 0 {
            return self.has_no_time(ctx, source, &record);
        }
        let Some((last, others)) = self.sources[source].split_last_mut() else { return Ok(()) };
        if !others.is_empty() {
            // A record that one of them cannot read must not have been processed by another.
            others.iter().chain([&*last]).try_for_each(|reader| reader.check(ctx, &record))?;
        }
        for reader in others {
            reader.push(ctx, &record, headers.clone())?;
        }
        last.push(ctx, &record, headers)?;
        if !self.punctuated.is_empty() {
            self.punctuate(ctx, PunctuationKind::StreamTime)?;
        }
        Ok(())
    }

    #[cold]
    fn has_no_time(&self, ctx: &mut Context, source: usize, record: &RecordRef<'_>) -> Result<(), ProcessError> {
        match self.timings[source] {
            Timing::Policy(Timestamps::SkipInvalid) | Timing::Extractor => {
                ctx.drop_record(DropReason::InvalidTimestamp);
                Ok(())
            }
            Timing::Policy(_) => Err(ProcessError::InvalidTimestamp {
                topic: Arc::clone(&self.topics[source]),
                partition: ctx.task().partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
            }),
        }
    }

    /// [`Processors::process`], and what `handlers` decide about a record that fails, if that is not known already.
    ///
    /// # Errors
    ///
    /// The error that the task is to stop for. What was changed must not be committed.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the surroundings, the record and its time")]
    pub(crate) fn process_or_judge(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
        known: Option<&Known>,
        source: usize,
        record: RecordRef<'_>,
        time_ms: i64,
        headers: Headers,
    ) -> Result<Processed, ProcessError> {
        if let Some(known) = known {
            return self.settle(ctx, handlers, known, source, record, time_ms, headers);
        }
        match self.process(ctx, source, RecordRef { timestamp_ms: time_ms, ..record }, headers) {
            Ok(()) => Ok(Processed::Done),
            Err(error) => self.judge(ctx, handlers, source, record, error),
        }
    }

    /// Passes on the updates that wait, before a commit. Where one fails, the last source record that it comes from is judged, of which
    /// only the position is known here: what was changed is to be taken back, then it is processed again, with this verdict known.
    ///
    /// # Errors
    ///
    /// The error that the task is to stop for. What was changed must not be committed.
    pub(crate) fn flush(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
    ) -> Result<Option<JudgedUpdate>, ProcessError> {
        for node in &self.coalescing {
            // Its own borrow ends before that of a node downstream of it begins.
            if let Err(error) = node.borrow_mut().flush(ctx) {
                return self.judge_update(ctx, handlers, error).map(Some);
            }
        }
        Ok(None)
    }

    #[cold]
    fn judge_update(
        &self,
        ctx: &Context,
        handlers: &Handlers,
        error: ProcessError,
    ) -> Result<JudgedUpdate, ProcessError> {
        // What comes from a punctuation comes from no record.
        if ctx.offset() < 0 {
            return Err(error);
        }
        let (topic, offset) = (Arc::clone(ctx.topic()), ctx.offset());
        let (timestamp_ms, headers) = (ctx.stream_time_ms(), Headers::default());
        let record = RecordRef { offset, timestamp_ms, key: None, value: None, headers: headers.as_ref() };
        let verdict = Box::new(handlers.judge(error, ctx.task(), &topic, record, None)?);
        Ok(JudgedUpdate { topic, offset, verdict })
    }

    /// Forgets the updates that wait, when what was changed is taken back.
    pub(crate) fn discard(&mut self) {
        self.coalescing.iter().for_each(|node| node.borrow_mut().discard());
    }

    /// Memory of the updates that wait, in bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.coalescing.iter().map(|node| node.borrow().bytes()).sum()
    }

    /// Does what was decided about a record.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "those of its caller")]
    fn settle(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
        known: &Known,
        source: usize,
        record: RecordRef<'_>,
        time_ms: i64,
        headers: Headers,
    ) -> Result<Processed, ProcessError> {
        let verdict = match known {
            Known::Judged(verdict) => verdict,
            Known::Refused(error) => {
                // Nothing of it was done here: the verdict can be carried out at once.
                let error = ProcessError::Log(error.clone());
                let verdict = handlers.judge(error, ctx.task(), &self.topics[source], record, None)?;
                verdict.carry_out(ctx, record)?;
                return Ok(Processed::Settled);
            }
        };
        if !verdict.skips_nodes() {
            verdict.carry_out(ctx, record)?;
            return Ok(Processed::Settled);
        }
        let before = ctx.tolerate(Tolerance { processing: true, production: true });
        let processed = self.process(ctx, source, RecordRef { timestamp_ms: time_ms, ..record }, headers);
        ctx.tolerate(before);
        processed.map(|()| Processed::Settled)
    }

    #[cold]
    fn judge(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
        source: usize,
        record: RecordRef<'_>,
        error: ProcessError,
    ) -> Result<Processed, ProcessError> {
        let untouched = error.stage() == Some(Stage::Deserialization);
        let own = self.options[source].and_then(|options| options.on_unreadable).filter(|_| untouched);
        let verdict = handlers.judge(error, ctx.task(), &self.topics[source], record, own)?;
        if !untouched {
            return Ok(Processed::Again(Box::new(verdict)));
        }
        verdict.carry_out(ctx, record)?;
        Ok(Processed::Settled)
    }
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").field("topics", &self.topics).finish_non_exhaustive()
    }
}
