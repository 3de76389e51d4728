//! What a worker does when something goes wrong: back to the last commit, with new clients where the old ones are of no use.

use std::{sync::atomic::Ordering, time::Duration};

use super::{LAST_RETRY, Worker};
use crate::{
    config::Guarantee,
    log::{Isolation, LogError},
    processor::ProcessError,
    runtime::{Report, opening::is_damage_of},
    state::{StateError, TaskId, TaskStores},
};

/// How long to wait before the first new try when the log is away.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Why a worker cannot go on as it is.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A task cannot go on; the others can, from their last commit.
    Task(TaskId, ProcessError),
    /// A record of a task failed, and it is known what to do about it: all tasks go back to their last commit.
    Replay(TaskId),
    /// A function of the topology panicked: the instance stops.
    Panicked(ProcessError),
    /// The transaction is lost; all tasks go back to their last commit.
    Rewind(LogError),
    /// A client is of no further use; all tasks go back to their last commit with new ones.
    Clients(LogError),
    /// All tasks are dropped, and the new producer is not there yet.
    Dropping(LogError),
    /// Commits fail for good: the instance stops.
    Stop(LogError),
    /// The stored state of a task is damaged: it is rebuilt, the others go back to their last commit.
    Damaged(TaskId, StateError),
    /// Local state cannot be written, or the global tables are damaged: the instance stops.
    State(StateError),
}

// === impl Worker ===

impl Worker {
    /// Gets the worker going again; while the log is away it tries until the log is back.
    ///
    /// # Errors
    /// When local state cannot be used, the log refuses for good, or the instance stops while the log is away.
    pub(super) fn recover(&mut self, mut trouble: Trouble) -> Result<(), ProcessError> {
        if let Err(Trouble::State(error)) = self.end_commit() {
            return Err(ProcessError::State(error));
        }
        let mut wait = FIRST_RETRY;
        let mut was_away = false;
        loop {
            was_away |= !matches!(trouble, Trouble::Task(..) | Trouble::Replay(_) | Trouble::Damaged(..));
            let again = match trouble {
                Trouble::Task(id, error) => self.rewind().and_then(|()| self.fail_task(id, &error)),
                Trouble::Replay(id) => {
                    tracing::debug!(task = %id, "going back to the last commit for a record that failed");
                    self.rewind()
                }
                Trouble::Panicked(error) => return Err(error),
                Trouble::Rewind(ref error) => {
                    tracing::warn!(worker = self.index, %error, "going back to the last commit");
                    self.shared.clock.sleep(FIRST_RETRY);
                    self.rewind()
                }
                Trouble::Clients(ref error) => {
                    tracing::warn!(worker = self.index, %error, "going back to the last commit with new clients");
                    self.reopen()
                }
                Trouble::Damaged(id, ref error) => {
                    tracing::error!(task = %id, %error, "going back to the last commit");
                    self.rebuild_task(id, error).and_then(|()| self.rewind())
                }
                Trouble::Dropping(_) => self.drop_all(),
                Trouble::State(error) => {
                    self.condemn(&error);
                    return Err(ProcessError::State(error));
                }
                Trouble::Stop(error) => return Err(ProcessError::Log(error)),
            };
            trouble = match again {
                Ok(()) => {
                    // After a commit that failed, the next one tells.
                    if was_away && self.failed_commits == 0 {
                        self.report(Report::LogReachable);
                    }
                    return Ok(());
                }
                // What could not be rewound needs new clients.
                Err(Trouble::Rewind(error)) => Trouble::Clients(error),
                Err(trouble) => trouble,
            };
            if let Trouble::Clients(error) | Trouble::Dropping(error) = &trouble {
                if !error.is_retriable()
                    && !matches!(error, LogError::Abortable { .. } | LogError::Fenced { .. } | LogError::Fatal { .. })
                {
                    return Err(ProcessError::Log(error.clone()));
                }
                if self.shared.stopping.load(Ordering::Relaxed) {
                    return Err(ProcessError::Log(error.clone()));
                }
                self.report(Report::LogUnavailable { reason: error.to_string() });
                // Waiting for the log is no lack of progress.
                self.mark_progress();
                self.shared.clock.sleep(wait);
                wait = (wait * 2).min(LAST_RETRY);
            }
        }
    }

    /// Damaged global tables are rebuilt by the next start.
    fn condemn(&self, error: &StateError) {
        if let (true, Some(owner), Some(dir)) = (error.is_damage(), error.owner(), &self.shared.state.dir)
            && let Err(error) = dir.condemn(owner)
        {
            tracing::error!(%owner, %error, "the damaged state has to be removed by hand");
        }
    }

    /// Waits for a commit in flight, before all tasks go back to their last commit. If it failed, they do so anyway.
    pub(super) fn end_commit(&mut self) -> Result<(), Trouble> {
        match self.settle_wholly() {
            Ok(()) => Ok(()),
            Err(trouble @ Trouble::State(_)) => Err(trouble),
            Err(Trouble::Damaged(id, error)) => {
                tracing::error!(task = %id, %error, "the state cannot be written");
                self.rebuild_task(id, &error)
            }
            Err(trouble) => {
                tracing::warn!(worker = self.index, ?trouble, "the commit in flight failed");
                Ok(())
            }
        }
    }

    /// New clients, then back to the last commit. `init` ends what the old producer left open.
    pub(super) fn reopen(&mut self) -> Result<(), Trouble> {
        self.end_commit()?;
        let isolation = self.shared.settings.isolation();
        let production = Self::open_production(&self.shared, self.index).map_err(Trouble::Clients)?;
        let reader = self.shared.log.reader(isolation).map_err(Trouble::Clients)?;
        let restorer = self.shared.log.reader(isolation).map_err(Trouble::Clients)?;
        let mut watermarks = self.shared.log.reader(Isolation::ReadUncommitted).map_err(Trouble::Clients)?;
        if self.shared.settings.guarantee == Guarantee::ExactlyOnce {
            // After the producer was initialised: who fences it later says so before.
            self.barrier = watermarks.end_offset(&self.shared.metadata).map_err(Trouble::Clients)?;
        }
        let detached = self.detach_all();
        *self.production.borrow_mut() = production;
        (self.reader, self.restorer, self.watermarks) = (reader, restorer, watermarks);
        self.replay(detached)
    }

    /// Aborts what is open and takes every task back to its last commit.
    pub(super) fn rewind(&mut self) -> Result<(), Trouble> {
        self.end_commit()?;
        self.production.borrow_mut().abort().map_err(Trouble::Clients)?;
        let detached = self.detach_all();
        self.replay(detached)
    }

    pub(super) fn detach_all(&mut self) -> Vec<(TaskId, TaskStores)> {
        let tasks: Vec<_> = self.tasks.keys().copied().collect();
        tasks.into_iter().filter_map(|id| Some((id, self.detach(id)?))).collect()
    }

    /// Every task starts again from its stores as committed, the tail of its changelogs and its committed positions: the
    /// one way that is right whatever is unknown about the last commit.
    pub(super) fn replay(&mut self, detached: Vec<(TaskId, TaskStores)>) -> Result<(), Trouble> {
        for (id, stores) in detached {
            self.mark_progress();
            let began = self.begin_restore(id, stores);
            self.began(id, began)?;
        }
        Ok(())
    }
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn of(task: TaskId, error: ProcessError) -> Self {
        match error {
            ProcessError::Log(
                error @ (LogError::RecordRefused { .. } | LogError::UnknownTopic { .. } | LogError::Refused { .. }),
            ) => Self::Task(task, ProcessError::Log(error)),
            ProcessError::Log(error) => Self::from(error),
            // The global tables are every task's: no task is rebuilt for them.
            ProcessError::State(error) if is_damage_of(task, &error) => Self::Damaged(task, error),
            ProcessError::State(error) => Self::State(error),
            error => Self::Task(task, error),
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Abortable { .. } => Self::Rewind(error),
            error => Self::Clients(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Owner;

    #[test]
    fn a_task_is_rebuilt_for_its_own_damage_only() {
        let (task, other) = (TaskId::new(0, 1), TaskId::new(0, 2));
        let trouble = |owner| {
            let (dir, reason) = (std::path::PathBuf::new(), "Corruption: block checksum mismatch".to_owned());
            Trouble::of(task, ProcessError::State(StateError::Database { owner, dir, what: "read", reason }))
        };
        assert!(matches!(trouble(Owner::Task(task)), Trouble::Damaged(..)));
        assert!(matches!(trouble(Owner::Task(other)), Trouble::State(_)));
        assert!(matches!(trouble(Owner::Global), Trouble::State(_)));
    }
}
