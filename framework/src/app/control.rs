//! The control thread: it carries the coordinator's events in and its actions out.
//!
//! It owns the membership, which it polls only while every worker makes progress (liveness is processing, not polling), the
//! metadata topic and the workers. Calls that take long (members, topics, fencing) go to a thread of their own, see [`LeaderCalls`].

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

mod acting;
mod reports;
mod upkeep;

pub(super) use self::upkeep::changelog_offsets;

use super::{
    AppError,
    leader_calls::LeaderCalls,
    metadata_topic::MetadataTopic,
    prober::Hearing,
    pulse::Pulse,
    status::Status,
    stopping::{StopFacts, StopRequest, StopStep, Stopping},
};
use crate::{
    cluster::{Coordinator, Event, InstanceId, Offsets, TaskState},
    log::Membership,
    runtime::{Followers, GlobalsThread, LONG, Shared, Workers},
    state::TaskId,
};

/// How long one turn waits for the membership and for metadata.
const TURN: Duration = Duration::from_millis(10);
/// How often the log says how far restores are.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How often to look where the stores stand, for the host metadata.
const OFFSETS_INTERVAL: Duration = Duration::from_secs(10);
/// How often to look for state that is not used any more.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(10);
/// How often the processed records of repartition topics are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// How often to ask whether the log answers, while that is in doubt.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The control thread's state.
pub(super) struct Control {
    pub(super) coordinator: Coordinator,
    pub(super) membership: Box<dyn Membership>,
    pub(super) metadata: MetadataTopic,
    pub(super) workers: Workers,
    pub(super) followers: Followers,
    pub(super) globals: GlobalsThread,
    pub(super) calls: LeaderCalls,
    pub(super) shared: Arc<Shared>,
    pub(super) status: Arc<Status>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) hearing: Arc<Hearing>,
    /// What the coordinator was told last.
    pub(super) suspects: BTreeMap<InstanceId, Arc<str>>,
    pub(super) max_poll_interval: Duration,
    /// When a stop that was asked for is to be over.
    pub(super) stopping: Stopping,
    pub(super) drain_timeout: Duration,
    /// When to ask next whether the log answers.
    pub(super) next_probe: Duration,
    /// When to look next for state that is not used, how long it stays, and since when which one is unused.
    pub(super) next_cleanup: Duration,
    pub(super) state_cleanup_delay: Duration,
    pub(super) unused: BTreeMap<TaskId, Duration>,
    /// When to purge the repartition topics next.
    pub(super) next_purge: Duration,
    /// When to look next where the stores stand.
    pub(super) next_offsets: Duration,
    pub(super) next_progress: Duration,
    /// Since when tasks that came here do not run yet.
    pub(super) pausing: BTreeMap<TaskId, Duration>,
    /// Changelog offsets of the tasks on this host, open or not.
    pub(super) offsets: BTreeMap<TaskId, Offsets>,
}

/// How the control thread goes on.
enum Next {
    Turn,
    /// Everything was given away.
    Stopped,
}

// === impl Control ===

impl Control {
    /// Runs until it is told to stop, or cannot go on.
    pub(super) fn run(mut self) -> Result<(), AppError> {
        let result = self.turns();
        self.end(result)
    }

    fn turns(&mut self) -> Result<(), AppError> {
        self.begin()?;
        while self.go_on(LONG)? {}
        Ok(())
    }

    /// What comes after the last turn, or after the one that failed.
    pub(super) fn end(mut self, result: Result<(), AppError>) -> Result<(), AppError> {
        if let Err(error) = &result {
            tracing::error!(%error, "the instance stops");
        }
        self.workers.stop();
        self.followers.stop();
        self.workers.join();
        self.followers.join();
        let left = self.membership.leave().map_err(AppError::from);
        self.globals.stop();
        self.calls.stop();
        result.and(left)
    }

    /// What comes before the first turn.
    pub(super) fn begin(&mut self) -> Result<(), AppError> {
        self.pulse.begin();
        self.step(Event::Offsets(self.offsets.clone())).map(drop)
    }

    /// One turn, which waits `patience` at the most, and much shorter as there is much to look after; `false` when it was the last.
    pub(super) fn go_on(&mut self, patience: Duration) -> Result<bool, AppError> {
        let now = self.now();
        let request = self.status.requested();
        if request != StopRequest::None {
            let (can_drain, is_taken_over) = (self.can_drain(), self.is_taken_over());
            let facts = StopFacts { request, can_drain, is_taken_over, drain_timeout: self.drain_timeout };
            let step = self.stopping.step(now, facts);
            if let Next::Stopped = self.stop(step)? {
                return Ok(false);
            }
        }
        Ok(matches!(self.turn(TURN.min(patience))?, Next::Turn))
    }

    /// Whether there is somebody to take over, and the log to agree about it.
    fn can_drain(&mut self) -> bool {
        let view = self.coordinator.view();
        let mut others = view.instances.iter().filter(|(id, _)| **id != view.me);
        view.epoch.is_some()
            && !self.status.is_log_away()
            && others.any(|(_, instance)| instance.live && !instance.host.draining)
    }

    /// Whether others run all tasks, but for those that nobody can run.
    fn is_taken_over(&mut self) -> bool {
        let view = self.coordinator.view();
        let has_failed = |task: &TaskId| {
            let mut hosts = view.instances.values().filter_map(|instance| instance.host.tasks.get(task));
            hosts.any(|report| report.state == TaskState::Failed)
        };
        let runs = |holder: &Option<(InstanceId, TaskState)>| {
            holder.as_ref().is_some_and(|(holder, state)| *holder != view.me && *state == TaskState::Running)
        };
        view.tasks.iter().all(|(task, seen)| runs(&seen.holder) || has_failed(task))
    }

    fn stop(&mut self, step: StopStep) -> Result<Next, AppError> {
        match step {
            StopStep::Wait => Ok(Next::Turn),
            StopStep::Drain => {
                tracing::info!("draining: the others take over");
                self.step(Event::Drain)
            }
            StopStep::Leave => {
                tracing::info!("stopping: giving the tasks away");
                self.step(Event::Stop)
            }
            StopStep::End => {
                tracing::warn!("stopping without a hand-over");
                Ok(Next::Stopped)
            }
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<Next, AppError> {
        let alive = self.workers.are_alive(self.max_poll_interval);
        self.status.set_stuck(!alive);
        self.pulse.beat();
        if alive {
            let event = self.membership.poll(wait)?;
            self.pulse.polled();
            if let Some(event) = event {
                self.hear(&event);
                if let Next::Stopped = self.step(Event::Membership(event))? {
                    return Ok(Next::Stopped);
                }
            }
        } else {
            self.shared.clock.sleep(wait);
        }
        for record in self.metadata.poll(wait)? {
            if let Next::Stopped = self.step(Event::Metadata(record))? {
                return Ok(Next::Stopped);
            }
        }
        self.shared.metadata_read.store(self.metadata.next(), Ordering::Release);
        let suspects = self.hearing.suspects();
        if suspects != self.suspects {
            self.suspects.clone_from(&suspects);
            if let Next::Stopped = self.step(Event::Suspects(suspects))? {
                return Ok(Next::Stopped);
            }
        }
        while let Ok(report) = self.workers.reports().try_recv() {
            for event in self.heard(report)? {
                if let Next::Stopped = self.step(event)? {
                    return Ok(Next::Stopped);
                }
            }
        }
        while let Some(event) = self.calls.answer() {
            if let Next::Stopped = self.step(event)? {
                return Ok(Next::Stopped);
            }
        }
        let now = self.now();
        // A broker that stands still refuses nothing: what shows is that the group is silent.
        let in_doubt = self.status.is_log_away() || self.shared.group.epoch().is_none();
        if in_doubt && now >= self.next_probe {
            self.next_probe = now + PROBE_INTERVAL;
            self.calls.probe();
        }
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS_INTERVAL;
            self.log_restores(now);
        }
        if now >= self.next_offsets {
            self.next_offsets = now + OFFSETS_INTERVAL;
            self.look_at_offsets();
            if let Next::Stopped = self.step(Event::Offsets(self.offsets.clone()))? {
                return Ok(Next::Stopped);
            }
        }
        if now >= self.next_cleanup {
            self.next_cleanup = now + CLEANUP_INTERVAL;
            self.clean_up_state(now);
        }
        if now >= self.next_purge {
            self.next_purge = now + PURGE_INTERVAL;
            self.purge_repartition_topics();
        }
        if self.globals.has_failed() {
            return Err(AppError::GlobalTables);
        }
        self.step(Event::Tick)
    }

    fn now(&self) -> Duration {
        self.shared.clock.monotonic()
    }

    /// Gives the coordinator an event and does what it says.
    fn step(&mut self, event: Event) -> Result<Next, AppError> {
        let now = self.now();
        let actions = self.coordinator.step(now, event);
        let mut next = Next::Turn;
        for action in actions {
            if let Next::Stopped = self.act(action)? {
                next = Next::Stopped;
            }
        }
        let view = self.coordinator.view();
        self.status.set_cluster(view, self.coordinator.leads(), &self.shared);
        Ok(next)
    }
}
