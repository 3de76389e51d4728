//! The nodes of one task.

use std::{fmt, sync::Arc};

use super::{Instantiation, graph::NodeId};
use crate::{
    log::{Headers, RecordRef},
    processor::{Context, ProcessError, Source},
};

/// The nodes of one task, made by [`Resolved::instantiate`](super::Resolved::instantiate). Lives on the task's thread.
pub struct Processors {
    /// The full names of the topics.
    topics: Vec<Arc<str>>,
    /// Who reads each of them.
    sources: Vec<Vec<Box<dyn Source>>>,
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
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").field("topics", &self.topics).finish_non_exhaustive()
    }
}
