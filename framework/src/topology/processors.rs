//! The nodes of one task.

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

use super::{Instantiation, graph::NodeId};
use crate::{
    log::{Headers, RecordRef},
    processor::{Context, ProcessError, Punctuated, PunctuationKind, Source},
};

/// The nodes of one task, made by [`Resolved::instantiate`](super::Resolved::instantiate). Lives on the task's thread.
pub struct Processors {
    /// The full names of the topics.
    topics: Vec<Arc<str>>,
    /// Who reads each of them.
    sources: Vec<Vec<Box<dyn Source>>>,
    /// Those that are called at times, in the order of the program.
    punctuated: Vec<Rc<RefCell<dyn Punctuated>>>,
}

// === impl Processors ===

impl Processors {
    pub(super) fn new(topics: Vec<Arc<str>>, readers: Vec<Vec<NodeId>>, instantiation: &mut Instantiation<'_>) -> Self {
        let sources =
            readers.into_iter().map(|readers| readers.into_iter().map(|id| instantiation.source(id)).collect());
        let sources = sources.collect();
        Self { topics, sources, punctuated: instantiation.take_punctuated() }
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
        last.push(ctx, &record, headers)?;
        if !self.punctuated.is_empty() {
            self.punctuate(ctx, PunctuationKind::StreamTime)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").field("topics", &self.topics).finish_non_exhaustive()
    }
}
