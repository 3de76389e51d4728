//! What is known of records that failed, until their task is committed behind them.

use crate::{
    log::TopicPartition,
    processor::{Handlers, Known, ProcessError, Verdict},
};

/// What is known of failed records of one task: a handful at most, since a commit follows soon.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<(TopicPartition, i64, Known)>);

/// How a task deals with records that fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judging<'a> {
    /// Who decides.
    pub(crate) handlers: &'a Handlers,
    /// What is known already.
    pub(crate) known: Option<&'a Failures>,
    /// How many records may be processed before the next commit.
    pub(crate) room: u64,
}

/// Why a task cannot go on as it is.
#[derive(Debug)]
pub(crate) enum Halt {
    /// For good.
    Error(ProcessError),
    /// A record failed. The task goes on from its last commit, with this verdict known.
    Judged {
        /// The partition of the record.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// What was decided.
        verdict: Box<Verdict>,
    },
}

// === impl Failures ===

impl Failures {
    /// What is known of a record.
    pub(crate) fn find(&self, partition: &TopicPartition, offset: i64) -> Option<&Known> {
        let mut all = self.0.iter();
        all.find(|(of, at, _)| *at == offset && of == partition).map(|(_, _, known)| known)
    }

    /// Notes what is known of a record from now on.
    pub(crate) fn note(&mut self, partition: TopicPartition, offset: i64, known: Known) {
        self.0.retain(|(of, at, _)| (of, *at) != (&partition, offset));
        self.0.push((partition, offset, known));
    }

    /// Forgets the records before the committed positions.
    pub(crate) fn committed(&mut self, position: impl Fn(&TopicPartition) -> Option<i64>) {
        self.0.retain(|(partition, offset, _)| position(partition).is_none_or(|position| position <= *offset));
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<ProcessError> for Halt {
    fn from(error: ProcessError) -> Self {
        Self::Error(error)
    }
}
