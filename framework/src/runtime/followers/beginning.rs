//! How the follower begins with a task, and what keeps it from that.

use std::{sync::Arc, time::Duration};

use super::{
    currency::Moment,
    follower::{Follower, Readers, Slot, Stage},
    following::Following,
};
use crate::{
    log::LogError,
    processor::{ProcessError, with_causes},
    runtime::{
        Report,
        opening::{self, is_damage_of},
        restore::{ChangelogIds, Changelogs, Restore, Until},
    },
    state::{Role, StateError, TaskId, TaskStores},
};

/// When to try again what the log was away for.
const RETRY: Duration = Duration::from_secs(2);
/// How long to wait before new clients, if those before were new a short time ago.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(2);
/// Clients that have lived so long were in order.
const IN_ORDER: Duration = Duration::from_secs(30);

// === impl Follower ===

impl Follower {
    /// Begins to follow a task, with its stores if they are open.
    pub(super) fn begin(&mut self, id: TaskId, role: Role, stores: Option<TaskStores>) -> Result<(), ProcessError> {
        match self.try_begin(id, role, stores) {
            Ok(()) => Ok(()),
            Err(ProcessError::State(error)) if is_damage_of(id, &error) => self.rebuild(id, role, error),
            Err(error) => self.not_begun(id, role, error),
        }
    }

    /// Moves damaged stores aside, which are closed, and begins anew.
    pub(super) fn rebuild(&mut self, id: TaskId, role: Role, error: StateError) -> Result<(), ProcessError> {
        self.shared.hosted.remove(id);
        self.set_damage_aside(id, error)?;
        match self.try_begin(id, role, None) {
            Ok(()) => Ok(()),
            // Damaged again: once more would be in vain.
            Err(error) => self.not_begun(id, role, error),
        }
    }

    fn try_begin(&mut self, id: TaskId, role: Role, stores: Option<TaskStores>) -> Result<(), ProcessError> {
        let name = id.to_string();
        // From 0 on: a counter that appears with its first increment has no rate.
        self.shared.metrics.standby_records.with_label_values(&[&name]).inc_by(0);
        let stores = stores.map_or_else(|| opening::open_stores(&self.shared, id), Ok)?;
        let sub_topology = self.shared.sub_topology(id);
        let specs = &sub_topology.stores;
        let has_changelog = specs.iter().any(|spec| spec.changelog.is_some());
        let ids = if has_changelog { self.changelog_ids()? } else { Arc::default() };
        let now = Moment { at: self.shared.clock.monotonic(), at_ms: self.shared.clock.now_ms() };
        let Some(readers) = &mut self.readers else {
            let stage = Stage::Waiting { at: self.reopen_at, stores: Some(Box::new(stores)) };
            self.tasks.insert(id, Slot { role, stage });
            return Ok(());
        };
        let changelogs = Changelogs { specs, partition: id.partition, ids: &ids, until: Until::Released };
        let (stores, restore) = opening::begin(&self.shared, id, stores, |stores| {
            Restore::begin(stores, &changelogs, &mut *readers.reader, &mut *readers.watermarks, (now.at, now.at_ms))
        })?;
        tracing::info!(task = %id, ?role, records = restore.remaining(), "following");
        let acceptable = self.shared.settings.acceptable_recovery_lag;
        let following = Following::new(stores, restore, acceptable, now);
        self.sources.extend(following.changelogs().map(|changelog| (changelog.clone(), id)));
        self.tasks.insert(id, Slot { role, stage: Stage::Following(Box::new(following)) });
        Ok(())
    }

    /// A task that could not begin because the log is away is tried again; one that cannot begin at all has failed.
    fn not_begun(&mut self, id: TaskId, role: Role, error: ProcessError) -> Result<(), ProcessError> {
        match error {
            ProcessError::Log(error) if error.is_retriable() => {
                self.shared.hosted.remove(id);
                self.report(Report::LogUnavailable { reason: error.to_string() });
                let at = self.shared.clock.monotonic() + RETRY;
                self.tasks.insert(id, Slot { role, stage: Stage::Waiting { at, stores: None } });
                Ok(())
            }
            ProcessError::Log(error @ LogError::Fatal { .. }) => {
                self.shared.hosted.remove(id);
                self.clients_failed(&error);
                let stage = Stage::Waiting { at: self.reopen_at, stores: None };
                self.tasks.insert(id, Slot { role, stage });
                Ok(())
            }
            // Nothing that writes can go on, whichever task met it first.
            ProcessError::State(error) if error.is_disk_full() => Err(error.into()),
            error => {
                self.fail(id, &error);
                Ok(())
            }
        }
    }

    /// A task, which is closed, cannot be followed. The others can.
    fn fail(&mut self, id: TaskId, error: &ProcessError) {
        self.shared.hosted.remove(id);
        let error = with_causes(error);
        tracing::error!(task = %id, error, "the task cannot be followed");
        self.shared.metrics.task_errors.with_label_values(&[&id.to_string()]).inc();
        self.report(Report::Failed { task: id, error });
    }

    /// Tries again the tasks that could not begin.
    pub(super) fn begin_waiting(&mut self) -> Result<(), ProcessError> {
        let now = self.shared.clock.monotonic();
        if self.readers.is_none() && now >= self.reopen_at {
            match Readers::open(&self.shared) {
                Ok(readers) => self.readers = Some(readers),
                Err(error) if error.is_retriable() => self.clients_failed(&error),
                Err(error) => return Err(error.into()),
            }
        }
        if self.readers.is_none() {
            return Ok(());
        }
        let is_due = |slot: &Slot| matches!(slot.stage, Stage::Waiting { at, .. } if at <= now);
        let due: Vec<_> = self.tasks.iter().filter(|(_, slot)| is_due(slot)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(Slot { role, stage: Stage::Waiting { stores, .. } }) = self.tasks.remove(&id) {
                self.begin(id, role, stores.map(|stores| *stores))?;
            }
        }
        Ok(())
    }

    /// The clients are of no further use: all tasks begin again with new ones, from where their stores stand. Until then they stay open.
    pub(super) fn clients_failed(&mut self, error: &LogError) {
        tracing::warn!(%error, "following goes on with new clients");
        let now = self.shared.clock.monotonic();
        let was_in_order = now >= self.reopen_at + IN_ORDER;
        self.backoff =
            if was_in_order { Duration::ZERO } else { (self.backoff * 2).clamp(FIRST_BACKOFF, LAST_BACKOFF) };
        self.reopen_at = now + self.backoff;
        if error.is_retriable() {
            self.report(Report::LogUnavailable { reason: error.to_string() });
        }
        self.readers = None;
        let followed: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, slot)| matches!(slot.stage, Stage::Following(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in followed {
            if let Some(Slot { role, stage: Stage::Following(following) }) = self.tasks.remove(&id) {
                let stores = Some(Box::new(self.detach(id, *following)));
                self.tasks.insert(id, Slot { role, stage: Stage::Waiting { at: self.reopen_at, stores } });
            }
        }
    }

    /// Which topics all changelogs of the topology are now; asked once in a turn.
    fn changelog_ids(&mut self) -> Result<Arc<ChangelogIds>, LogError> {
        if let Some(ids) = &self.changelog_ids {
            return Ok(Arc::clone(ids));
        }
        let ids = opening::changelog_ids(&self.shared)?;
        Ok(Arc::clone(self.changelog_ids.insert(ids)))
    }
}
