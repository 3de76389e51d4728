//! The nodes of one task.

use std::{fmt, sync::Arc};

use super::{Instantiation, graph::NodeId};
use crate::{
    log::{Headers, RecordRef},
    processor::{Context, Handlers, Known, ProcessError, Source, Stage, Tolerance, Verdict},
};

/// The nodes of one task, made by [`Resolved::instantiate`](super::Resolved::instantiate). Lives on the task's thread.
pub struct Processors {
    /// The full names of the topics.
    topics: Vec<Arc<str>>,
    /// Who reads each of them.
    sources: Vec<Vec<Box<dyn Source>>>,
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
        let sources =
            readers.into_iter().map(|readers| readers.into_iter().map(|id| instantiation.source(id)).collect());
        Self { topics, sources: sources.collect() }
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
        let Some((last, others)) = self.sources[source].split_last_mut() else { return Ok(()) };
        if !others.is_empty() {
            // A record that one of them cannot read must not have been processed by another.
            others.iter().chain([&*last]).try_for_each(|reader| reader.check(ctx, &record))?;
        }
        for reader in others {
            reader.push(ctx, &record, headers.clone())?;
        }
        last.push(ctx, &record, headers)
    }

    /// [`Processors::process`], and what `handlers` decide about a record that fails, if that is not known already.
    ///
    /// # Errors
    ///
    /// The error that the task is to stop for. What was changed must not be committed.
    #[inline]
    pub(crate) fn process_or_judge(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
        known: Option<&Known>,
        source: usize,
        record: RecordRef<'_>,
        headers: Headers,
    ) -> Result<Processed, ProcessError> {
        if let Some(known) = known {
            return self.settle(ctx, handlers, known, source, record, headers);
        }
        match self.process(ctx, source, record, headers) {
            Ok(()) => Ok(Processed::Done),
            Err(error) => self.judge(ctx, handlers, source, record, error),
        }
    }

    /// Does what was decided about a record.
    #[cold]
    fn settle(
        &mut self,
        ctx: &mut Context,
        handlers: &Handlers,
        known: &Known,
        source: usize,
        record: RecordRef<'_>,
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
        let processed = self.process(ctx, source, record, headers);
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
        let verdict = handlers.judge(error, ctx.task(), &self.topics[source], record, None)?;
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
