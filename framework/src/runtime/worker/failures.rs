//! Records that failed: noted until they are committed, and looked for when the log refused one of many.

use super::{Slot, Worker, recovery::Trouble};
use crate::{
    log::{LogError, TopicPartition},
    processor::{Known, ProcessError, Stage},
    runtime::failures::{Halt, Judging},
    state::TaskId,
};

/// The search for the one record of a task whose results the log refuses: commits of fewer and fewer records, until one has a single
/// record and is refused. What comes before it is committed on the way.
#[derive(Debug)]
pub(super) struct Hunt {
    task: TaskId,
    /// Records per commit.
    limit: u64,
    /// Records of the refused commit that are not committed yet.
    left: u64,
}

// === impl Worker ===

impl Worker {
    /// How a task deals with records that fail; `suspect` is the only one that runs, if there is one.
    pub(super) fn judging<'a>(
        (shared, failures, hunt): (&'a super::Shared, &'a super::FailuresByTask, Option<&Hunt>),
        id: TaskId,
        uncommitted: u64,
    ) -> Judging<'a> {
        let room = match hunt {
            Some(hunt) if hunt.task == id => hunt.limit.saturating_sub(uncommitted),
            _ => u64::MAX,
        };
        Judging { handlers: &shared.handlers, known: failures.get(&id), room }
    }

    /// What is to be done about a task that cannot go on as it is.
    pub(super) fn halted(&mut self, id: TaskId, halt: Halt) -> Trouble {
        match halt {
            Halt::Judged { partition, offset, verdict } => {
                self.note_failure(id, partition, offset, Known::Judged(verdict));
                Trouble::Replay(id)
            }
            // The transaction failed for a record that was written before.
            Halt::Error(ProcessError::Log(error @ LogError::Abortable { .. })) => self.production_failed(error),
            Halt::Error(error) => Trouble::of(id, error),
        }
    }

    /// Writing failed in a way that need not have to do with the record at hand.
    pub(super) fn production_failed(&mut self, error: LogError) -> Trouble {
        let error = match error {
            LogError::Abortable { .. } => self.production.borrow_mut().cause(error),
            error => error,
        };
        match error {
            error @ LogError::RecordRefused { .. } => self.refused(self.running_tasks(), error),
            error => Trouble::from(error),
        }
    }

    /// A record that this task wrote is refused, one of those since its last commit.
    pub(super) fn find_refused(&mut self, id: TaskId, error: LogError) -> Trouble {
        self.suspects.remove(&id);
        let Some(Slot::Running(task)) = self.tasks.get(&id) else { return Trouble::Rewind(error) };
        let (records, (partition, offset)) = (task.uncommitted_records(), task.last_record());
        let is_known = self.failures.get(&id).is_some_and(|known| known.find(partition, offset).is_some());
        // Without a record it is none's fault; and what was decided about this one did not help.
        if self.shared.handlers.always_fails(Stage::Production) || records == 0 || (records == 1 && is_known) {
            self.hunt = None;
            return Trouble::Task(id, ProcessError::Log(error));
        }
        if records == 1 {
            let partition = partition.clone();
            self.hunt = None;
            self.note_failure(id, partition, offset, Known::Refused(error));
            return Trouble::Replay(id);
        }
        tracing::warn!(task = %id, %error, records, "looking for the record whose results are refused");
        self.hunt = Some(Hunt { task: id, limit: records / 2, left: records });
        self.suspects = [id].into();
        Trouble::Replay(id)
    }

    /// Tasks were committed: what is known of records before their positions has done its service.
    pub(super) fn failures_committed(&mut self, id: TaskId, records: u64) {
        if let (Some(known), Some(Slot::Running(task))) = (self.failures.get_mut(&id), self.tasks.get(&id)) {
            known.committed(|partition| task.committed_position(partition));
            if known.is_empty() {
                self.failures.remove(&id);
            }
        }
        let Some(hunt) = self.hunt.as_mut().filter(|hunt| hunt.task == id) else { return };
        hunt.left = hunt.left.saturating_sub(records);
        if hunt.left == 0 {
            self.hunt = None;
        } else {
            self.suspects.insert(id);
        }
    }

    /// Nothing is known any more of the records of a task that is closed.
    pub(super) fn forget_failures(&mut self, id: TaskId) {
        self.failures.remove(&id);
        if self.hunt.as_ref().is_some_and(|hunt| hunt.task == id) {
            self.hunt = None;
        }
    }

    fn note_failure(&mut self, id: TaskId, partition: TopicPartition, offset: i64, known: Known) {
        self.failures.entry(id).or_default().note(partition, offset, known);
    }
}
