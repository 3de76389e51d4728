//! The commit of a worker: everything its tasks did since the last one becomes final together.
//!
//! It is pipelined: [`Worker::begin_commit`] freezes what was done and hands it to the log, the tasks go on, and
//! [`Worker::settle`] lets the local state follow once the log has it. At most one commit is in flight.

use std::{collections::BTreeSet, time::Duration};

use super::{Slot, Worker, processing::guarded, recovery::Trouble};
use crate::{
    log::{Epoch, LogError},
    processor::ProcessError,
    runtime::{Report, failures::Halt, production::Committed, task::IDLE_WAIT},
    state::TaskId,
};

/// How often the positions of idle tasks are committed again. The group subscribes to none of their topics, so the broker forgets
/// positions that are older than `offsets.retention.minutes` (7 days by default).
pub(super) const RENEW_POSITIONS: Duration = Duration::from_secs(3600);
/// After so many failed commits in a row the worker gives up, if they have failed for so long: the group may be in a new generation for a
/// while before this instance hears of it.
const FAILED_COMMITS: u32 = 20;
const FAILED_FOR: Duration = Duration::from_secs(30);

/// What became of the wish to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is in flight, or there was nothing to do.
    Now,
    /// It has to wait for the cluster to confirm the epoch.
    Later,
}

/// A commit in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    started: Duration,
    tasks: BTreeSet<TaskId>,
    /// It holds the positions of all tasks.
    renews: bool,
    /// It waits for the cluster to confirm the epoch of the generation that came meanwhile.
    is_postponed: bool,
}

// === impl Worker ===

impl Worker {
    /// Begins to make the work of all tasks final: changelogs and outputs, positions, then the local state. There must be none in
    /// flight.
    pub(super) fn begin_commit(&mut self) -> Result<Begun, Trouble> {
        let started = self.shared.clock.monotonic();
        self.next_commit = started + self.shared.settings.commit_interval;
        self.observe();
        let Some(epoch) = self.confirmed_epoch() else { return Ok(Begun::Later) };
        for (id, slot) in &self.tasks {
            if let Slot::Running(task) = slot {
                task.check().map_err(|error| Trouble::of(*id, error))?;
            }
        }
        let renews = started >= self.next_renewal;
        let (mut tasks, mut positions) = (BTreeSet::new(), Vec::new());
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && (renews || task.is_dirty())
            {
                let handlers = &self.shared.handlers;
                let flushed = guarded(task, |task| task.flush(handlers))?;
                let frozen = flushed.and_then(|()| Ok(task.freeze(&self.production)?));
                match frozen {
                    Ok(()) => {}
                    Err(Halt::Error(ProcessError::Log(error @ LogError::RecordRefused { .. }))) => {
                        let id = *id;
                        return Err(self.find_refused(id, error));
                    }
                    Err(halt) => {
                        let id = *id;
                        return Err(self.halted(id, halt));
                    }
                }
                positions.extend(task.frozen_positions());
                tasks.insert(*id);
            }
        }
        if positions.is_empty() {
            if self.suspects.first().is_some_and(|suspect| self.has_nothing_to_do(*suspect)) {
                self.suspects.pop_first();
            }
            return Ok(Begun::Now);
        }
        let group = self.shared.group.clone();
        self.production.borrow_mut().begin_commit(positions, group, epoch).map_err(Trouble::Clients)?;
        self.in_flight = Some(InFlight { started, tasks, renews, is_postponed: false });
        Ok(Begun::Now)
    }

    /// What to commit under; `None` when a newer generation has come, and the cluster has not yet confirmed that the tasks stay: they go on,
    /// the commit waits.
    fn confirmed_epoch(&self) -> Option<Epoch> {
        let epoch = self.epoch.clone()?;
        let group = &self.shared.group;
        // The client knows of a generation before the membership tells: in SyncGroup it may wait for a leader that stands still as long as its
        // session lasts, and until then each commit would be refused.
        let is_past = matches!(group.metadata(&epoch), Err(LogError::Fenced { .. }));
        (group.epoch().as_ref() == Some(&epoch) && !is_past).then_some(epoch)
    }

    /// Goes on with a commit that was postponed, if it can. Whether one is under way.
    pub(super) fn resume_commit(&mut self) -> Result<bool, Trouble> {
        if !self.in_flight.as_ref().is_some_and(|commit| commit.is_postponed) {
            return Ok(self.in_flight.is_some());
        }
        let Some(epoch) = self.confirmed_epoch() else { return Ok(false) };
        self.production.borrow_mut().resume_commit(epoch).map_err(Trouble::Clients)?;
        if let Some(commit) = &mut self.in_flight {
            commit.is_postponed = false;
        }
        Ok(true)
    }

    /// Whether a task has processed all there is. One that is restored, or has not fetched yet, has not.
    fn has_nothing_to_do(&self, id: TaskId) -> bool {
        match self.tasks.get(&id) {
            Some(Slot::Running(task)) => task.is_caught_up(),
            Some(Slot::Restoring(_)) => false,
            None => true,
        }
    }

    /// Waits up to `patience` for the commit in flight, if there is one; when the log has it, the local state follows.
    pub(super) fn settle(&mut self, patience: Duration) -> Result<(), Trouble> {
        if !self.resume_commit()? {
            return Ok(());
        }
        let Some(result) = self.production.borrow_mut().committed(patience) else { return Ok(()) };
        let Some(commit) = self.in_flight.take() else { return Ok(()) };
        let InFlight { started, tasks, renews, .. } = commit;
        match result {
            Err(error) => Err(self.commit_failed(tasks, error)),
            Ok(Committed::Wholly) => self.finish(started, tasks, renews),
            Ok(Committed::Postponed) => {
                self.in_flight = Some(InFlight { started, tasks, renews, is_postponed: true });
                Ok(())
            }
        }
    }

    /// Waits for the commit in flight, if there is one, however long it takes; each of its steps has a deadline. One that is postponed
    /// fails: what confirms its epoch would be heard of after this.
    pub(super) fn settle_wholly(&mut self) -> Result<(), Trouble> {
        while self.in_flight.is_some() {
            // Waiting for the log is no lack of progress.
            self.mark_progress();
            if self.resume_commit()? {
                self.settle(IDLE_WAIT)?;
            } else if let Some(InFlight { tasks, .. }) = self.in_flight.take() {
                let reason = "the group has a new generation, and nobody has confirmed yet that the tasks stay".into();
                return Err(self.commit_failed(tasks, LogError::Abortable { reason }));
            }
        }
        Ok(())
    }

    /// A commit from begin to end, behind the one in flight.
    pub(super) fn commit(&mut self) -> Result<Begun, Trouble> {
        self.settle_wholly()?;
        let begun = self.begin_commit()?;
        self.settle_wholly()?;
        Ok(begun)
    }

    /// The log has it.
    fn finish(&mut self, started: Duration, tasks: BTreeSet<TaskId>, renews: bool) -> Result<(), Trouble> {
        let now_ms = self.shared.clock.now_ms();
        let production = self.production.borrow();
        let mut counts = Vec::with_capacity(tasks.len());
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && tasks.contains(id)
            {
                let uncommitted = task.uncommitted_records();
                task.committed(&production, now_ms).map_err(|error| Trouble::of(*id, error))?;
                task.count_dropped(&self.shared.metrics);
                counts.push((*id, uncommitted - task.uncommitted_records()));
            }
        }
        drop(production);
        self.suspects.retain(|task| !tasks.contains(task));
        if !self.failures.is_empty() || self.hunt.is_some() {
            counts.into_iter().for_each(|(id, records)| self.failures_committed(id, records));
        }
        for task in tasks {
            if self.failed.remove(&task) {
                self.report(Report::Recovered { task });
            }
        }
        if std::mem::take(&mut self.failed_commits) > 0 {
            self.report(Report::LogReachable);
        }
        if renews {
            self.next_renewal = started + RENEW_POSITIONS;
        }
        self.shared.metrics.commits.with_label_values(&["ok"]).inc();
        self.shared.metrics.commit_duration.observe((self.shared.clock.monotonic() - started).as_secs_f64());
        let appended = self.production.borrow_mut().append_waiting();
        // Whose record it was is not known here.
        appended.map_err(|error| self.production_failed(error))
    }

    fn commit_failed(&mut self, tasks: BTreeSet<TaskId>, error: LogError) -> Trouble {
        let outcome = if matches!(error, LogError::Abortable { .. }) { "aborted" } else { "failed" };
        self.shared.metrics.commits.with_label_values(&[outcome]).inc();
        let now = self.shared.clock.monotonic();
        if self.failed_commits == 0 {
            self.failing_since = now;
        }
        self.failed_commits += 1;
        if matches!(error, LogError::RecordRefused { .. }) {
            return self.refused(tasks, error);
        }
        // The same work fails again and again, and not because the log is away: going on would hide it.
        let fails_for_good = self.failed_commits >= FAILED_COMMITS && now - self.failing_since >= FAILED_FOR;
        if fails_for_good && !error.is_retriable() {
            return Trouble::Stop(error);
        }
        if error.is_retriable() {
            self.report(Report::LogUnavailable { reason: error.to_string() });
        }
        Trouble::from(error)
    }

    /// A record was refused when it was delivered: whose it was is known if only one task had anything to commit. Else the tasks go on
    /// one at a time, and wait for each commit, until it is known.
    pub(super) fn refused(&mut self, tasks: BTreeSet<TaskId>, error: LogError) -> Trouble {
        match (tasks.len(), tasks.first()) {
            (1, Some(task)) => self.find_refused(*task, error),
            _ => {
                tracing::warn!(worker = self.index, %error, tasks = tasks.len(), "looking for the task whose record it is");
                self.suspects = tasks;
                Trouble::Rewind(error)
            }
        }
    }

    /// The commit before something is given away. If there is none now, all goes back to the last one: nothing of what is given away may
    /// stay in the open transaction, since its next owner does it again.
    pub(super) fn commit_last(&mut self) {
        let result = match self.commit() {
            Ok(Begun::Now) => return,
            Ok(Begun::Later) => self.rewind(),
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
