//! What the membership and the workers say.

use super::Control;
use crate::{
    app::AppError,
    cluster::{Event, TaskEvent},
    log::MembershipEvent,
    runtime::Report,
};

// === impl Control: reports ===

impl Control {
    /// Notes what the membership says beside telling the coordinator.
    pub(super) fn hear(&mut self, event: &MembershipEvent) {
        match event {
            MembershipEvent::Joined { epoch, .. } => {
                self.status.log_reachable();
                self.shared.metrics.cluster_rebalances.inc();
                self.shared.metrics.cluster_generation.set(i64::from(epoch.generation));
            }
            MembershipEvent::Lost { reason } => {
                tracing::warn!(reason, "the membership is lost");
                // Others own the tasks now. The workers drop them when they can, which may be long after if they wait for the log.
                self.shared.hosted.clear();
                self.pulse.begin();
            }
            MembershipEvent::Unavailable { reason } => self.status.log_unavailable(reason, self.now()),
        }
    }

    /// What a worker's report means to the coordinator.
    pub(super) fn heard(&mut self, report: Report) -> Result<Vec<Event>, AppError> {
        let (task, event) = match report {
            Report::Restoring { task } => (task, TaskEvent::Restoring),
            Report::Running { task, offsets } => {
                if let Some(since) = self.pausing.remove(&task) {
                    self.shared.metrics.task_pause.observe(self.now().saturating_sub(since).as_secs_f64());
                }
                self.remember(task, &offsets);
                let stands = Event::Offsets(self.offsets.clone());
                return Ok(vec![stands, Event::Task { task, event: TaskEvent::Running }]);
            }
            // Said before it was handed to a worker.
            Report::Following { task, .. } if !self.followers.has(task) => return Ok(Vec::new()),
            Report::Following { task, caught_up, offsets } => {
                self.status.task_recovered(task);
                self.remember(task, &offsets);
                let event = if caught_up { TaskEvent::Running } else { TaskEvent::Restoring };
                return Ok(vec![Event::Offsets(self.offsets.clone()), Event::Task { task, event }]);
            }
            Report::Released { task, offsets } => {
                self.status.task_recovered(task);
                if let Some(offsets) = offsets {
                    self.remember(task, &offsets);
                }
                let stands = Event::Offsets(self.offsets.clone());
                return Ok(vec![stands, Event::Task { task, event: TaskEvent::Released }]);
            }
            Report::Failed { task, error } => {
                self.pausing.remove(&task);
                if !self.followers.forget(task) {
                    self.workers.forget(task);
                }
                self.status.task_failed(task, &error);
                (task, TaskEvent::Failed { reason: error })
            }
            Report::Recovered { task } => {
                self.status.task_recovered(task);
                return Ok(Vec::new());
            }
            Report::AllDropped { worker } => {
                self.workers.dropped(worker);
                return Ok(self.all_dropped());
            }
            Report::FollowersDropped => {
                self.followers.dropped();
                return Ok(self.all_dropped());
            }
            Report::LogUnavailable { reason } => {
                self.status.log_unavailable(&reason, self.now());
                return Ok(Vec::new());
            }
            Report::LogReachable => {
                self.status.log_reachable();
                return Ok(Vec::new());
            }
            Report::WorkerFailed { worker, error } => return Err(AppError::Worker { worker, error }),
            Report::FollowerFailed { error } => return Err(AppError::Followers { error }),
        };
        Ok(vec![Event::Task { task, event }])
    }

    /// What it means that one more has dropped everything.
    fn all_dropped(&self) -> Vec<Event> {
        let is_dropping = self.workers.is_dropping() || self.followers.is_dropping();
        if is_dropping {
            return Vec::new();
        }
        self.shared.hosted.dropped();
        vec![Event::AllDropped]
    }
}
