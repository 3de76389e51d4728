//! The commit of a worker: everything its tasks did since the last one becomes final together.

use std::{collections::BTreeSet, time::Duration};

use super::{Slot, Worker, recovery::Trouble};
use crate::{log::LogError, processor::ProcessError, runtime::Report, state::TaskId};

/// How often the positions of idle tasks are committed again. The group subscribes to none of their topics, so the broker forgets
/// positions that are older than `offsets.retention.minutes` (7 days by default).
pub(super) const RENEW_POSITIONS: Duration = Duration::from_secs(3600);
/// After so many failed commits in a row the worker gives up.
const FAILED_COMMITS: u32 = 20;

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// All that was done is final.
    Everything,
    /// It has to wait for the cluster to confirm the epoch.
    Later,
}

// === impl Worker ===

impl Worker {
    /// Makes the work of all tasks final: changelogs and outputs, positions, then the local state.
    pub(super) fn commit(&mut self) -> Result<Committed, Trouble> {
        let started = self.shared.clock.monotonic();
        self.next_commit = started + self.shared.settings.commit_interval;
        self.observe();
        let Some(epoch) = self.epoch.clone() else { return Ok(Committed::Later) };
        // A newer generation has come, and the cluster has not yet confirmed that the tasks stay: they go on, the commit waits.
        if self.shared.group.epoch().as_ref() != Some(&epoch) {
            return Ok(Committed::Later);
        }
        let renew = started >= self.next_renewal;
        let (mut dirty, mut positions) = (BTreeSet::new(), Vec::new());
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && (renew || task.is_dirty())
            {
                task.write_changelogs(&self.production).map_err(|error| Trouble::of(*id, error))?;
                positions.extend(task.positions());
                dirty.insert(*id);
            }
        }
        if positions.is_empty() {
            // The suspect has nothing to do.
            self.suspects.pop_first();
            return Ok(Committed::Everything);
        }
        let result = self.production.borrow_mut().commit(&positions, &*self.shared.group, &epoch);
        if let Err(error) = result {
            let outcome = if matches!(error, LogError::Abortable { .. }) { "aborted" } else { "failed" };
            self.shared.metrics.commits.with_label_values(&[outcome]).inc();
            self.failed_commits += 1;
            if matches!(error, LogError::RecordRefused { .. }) {
                return Err(self.refused(dirty, error));
            }
            // The same work fails again and again, and not because the log is away: going on would hide it.
            if self.failed_commits >= FAILED_COMMITS && !error.is_retriable() {
                return Err(Trouble::Stop(error));
            }
            return Err(Trouble::from(error));
        }
        let now_ms = self.shared.clock.now_ms();
        let production = self.production.borrow();
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && dirty.contains(id)
            {
                task.committed(&production, now_ms).map_err(|error| Trouble::of(*id, error))?;
            }
        }
        drop(production);
        self.suspects.retain(|task| !dirty.contains(task));
        for task in dirty {
            if self.failed.remove(&task) {
                self.report(Report::Recovered { task });
            }
        }
        self.failed_commits = 0;
        if renew {
            self.next_renewal = started + RENEW_POSITIONS;
        }
        self.shared.metrics.commits.with_label_values(&["ok"]).inc();
        self.shared.metrics.commit_duration.observe((self.shared.clock.monotonic() - started).as_secs_f64());
        Ok(Committed::Everything)
    }

    /// A record was refused when it was delivered: whose it was is known if only one task had anything to commit. Else the tasks go on
    /// one at a time until it is known.
    fn refused(&mut self, dirty: BTreeSet<TaskId>, error: LogError) -> Trouble {
        match (dirty.len(), dirty.first()) {
            (1, Some(task)) => {
                self.suspects.remove(task);
                Trouble::Task(*task, ProcessError::Log(error))
            }
            _ => {
                tracing::warn!(worker = self.index, %error, tasks = dirty.len(), "looking for the task whose record it is");
                self.suspects = dirty;
                Trouble::Rewind(error)
            }
        }
    }

    /// The commit before something is given away. If there is none now, all goes back to the last one: nothing of what is given away may
    /// stay in the open transaction, since its next owner does it again.
    pub(super) fn commit_last(&mut self) {
        let result = match self.commit() {
            Ok(Committed::Everything) => return,
            Ok(Committed::Later) => self.rewind(),
            Err(trouble) => {
                tracing::warn!(
                    worker = self.index,
                    ?trouble,
                    "a last commit failed; the next owner does again what it held"
                );
                self.rewind()
            }
        };
        if let Err(trouble) = result {
            tracing::warn!(worker = self.index, ?trouble, "the transaction was not aborted; a new producer ends it");
            if let Err(error) = self.recover(trouble) {
                tracing::warn!(worker = self.index, %error, "the worker could not go back to its last commit");
            }
        }
    }
}
