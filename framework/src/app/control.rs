//! The control thread: it carries the coordinator's events in and its actions out.
//!
//! It owns the membership, which it polls only while every worker makes progress (liveness is processing, not polling), the
//! metadata topic and the workers. Calls that take long (members, topics, fencing) go to a thread of their own, see [`LeaderCalls`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    AppError,
    leader_calls::{Call, LeaderCalls},
    metadata_topic::MetadataTopic,
    prober::Hearing,
    pulse::Pulse,
    status::Status,
    stopping::{StopFacts, StopRequest, StopStep, Stopping},
};
use crate::{
    cluster::{Action, Coordinator, Event, InstanceId, MetadataRecord, Offsets, Role, TaskEvent, TaskState},
    log::{Membership, MembershipEvent, TopicPartition},
    runtime::{Followers, GlobalsThread, LONG, Report, RestoreReading, Shared, Workers},
    state::{StoreId, TaskId},
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

    /// One line for all restores, while there are any.
    fn log_restores(&self, now: Duration) {
        let mut tasks = 0;
        let all = self.shared.hosted.restores(now).map(|(_, _, reading)| reading);
        if let Some(together) = all.inspect(|_| tasks += 1).reduce(RestoreReading::and) {
            tracing::info!(tasks, "restoring {together}");
        }
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

    fn act(&mut self, action: Action) -> Result<Next, AppError> {
        // Some take seconds while the log is away.
        self.pulse.beat();
        match action {
            Action::PublishHost(host) => self.metadata.publish(&MetadataRecord::Host(host)),
            Action::PublishAssignment(assignment) => self.metadata.publish(&MetadataRecord::Assignment(assignment)),
            Action::PublishEviction(eviction) => {
                self.shared.metrics.cluster_evictions.inc();
                self.metadata.publish(&MetadataRecord::Eviction(eviction));
            }
            Action::PublishEvictionTombstone { instance_id } => {
                self.metadata.publish(&MetadataRecord::EvictionGone(instance_id));
            }
            Action::PublishTombstone { instance_id } => self.metadata.publish(&MetadataRecord::HostGone(instance_id)),
            Action::QueryMembers { generation } => self.calls.make(Call::Members { generation }),
            Action::CheckTopics { generation } => self.calls.make(Call::Topics { generation }),
            Action::Fence { generation, instance_id, transactional_ids } => {
                self.calls.make(Call::Fence { generation, instance_id, transactional_ids });
            }
            Action::StartTask { task, role: Role::Active, epoch } if self.shared.knows(task) => {
                self.pausing.insert(task, self.now());
                self.workers.start_task(task, epoch, None);
            }
            Action::StartTask { task, role, .. } if self.shared.knows(task) => self.followers.follow(task, role),
            Action::StartTask { task, .. } => {
                let reason = format!(
                    "this instance cannot run task {task} as it is asked to: when it started, its topology had no such task; \
                     if the partitions of an input topic were increased since, restart the instance"
                );
                let event = TaskEvent::Failed { reason };
                let actions = self.coordinator.step(self.now(), Event::Task { task, event });
                for action in actions {
                    self.act(action)?;
                }
            }
            Action::PromoteTask { task, epoch } => {
                // What is not there any more has failed, and that is on its way.
                if let Some(stores) = self.followers.give(task) {
                    self.pausing.insert(task, self.now());
                    self.workers.start_task(task, epoch, Some(stores));
                }
            }
            Action::FollowAs { task, role } => self.followers.follow_as(task, role),
            Action::ReleaseTask { task, follow } => {
                self.pausing.remove(&task);
                if !self.followers.release(task) {
                    let follow = follow.map(|role| (role, self.followers.take(task, role)));
                    self.workers.release_task(task, follow);
                }
            }
            Action::DropAll => {
                self.pausing.clear();
                self.shared.hosted.drop_all();
                self.workers.drop_all();
                self.followers.drop_all();
            }
            Action::UpdateEpoch { epoch } => self.workers.set_epoch(&epoch),
            Action::Evicted => self.shared.metrics.cluster_evicted.inc(),
            Action::Rejoin => {
                // As when the membership is lost.
                self.shared.hosted.clear();
                self.pulse.begin();
                if let Err(error) = self.membership.rejoin() {
                    tracing::warn!(%error, "leaving the group takes long");
                }
            }
            Action::Drained => {
                tracing::info!("drained");
                self.stopping.emptied();
            }
            Action::Stopped => return Ok(Next::Stopped),
            Action::Fatal(error) => return Err(error.into()),
        }
        Ok(Next::Turn)
    }

    /// Notes what the membership says beside telling the coordinator.
    fn hear(&mut self, event: &MembershipEvent) {
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
    fn heard(&mut self, report: Report) -> Result<Vec<Event>, AppError> {
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

    /// Removes the state of tasks that have not been hosted here for long (`state.cleanup.delay.ms` of Kafka Streams): it would be out of
    /// date, and takes room.
    fn clean_up_state(&mut self, now: Duration) {
        let Some(dir) = &self.shared.state.dir else { return };
        let stored = match dir.tasks() {
            Ok(stored) => stored,
            Err(error) => return tracing::warn!(%error, "cannot look for state that is not used any more"),
        };
        let hosted = self.shared.hosted.all();
        let view = self.coordinator.view();
        let is_used = |task: &TaskId| {
            let is_assigned = view.tasks.get(task).is_some_and(|task| task.is_assigned_to(&view.me));
            hosted.contains_key(task) || is_assigned
        };
        let unused: BTreeSet<TaskId> = stored.into_iter().filter(|task| !is_used(task)).collect();
        self.unused.retain(|task, _| unused.contains(task));
        for task in unused {
            let since = *self.unused.entry(task).or_insert(now);
            if now.saturating_sub(since) < self.state_cleanup_delay {
                continue;
            }
            match dir.remove(task) {
                Ok(()) => {
                    tracing::info!(%task, "removed the state of a task that is not hosted here any more");
                    self.offsets.remove(&task);
                }
                // Whoever opened it meanwhile uses it.
                Err(error) => tracing::debug!(%task, %error, "the state of a task was not removed"),
            }
            self.unused.remove(&task);
        }
    }

    /// Has the records of repartition topics deleted that are processed and committed: nobody else reads them
    /// (`repartition.purge.interval.ms` of Kafka Streams).
    fn purge_repartition_topics(&self) {
        let mut processed = Vec::new();
        let hosted = self.shared.hosted.all().into_iter();
        for (task, hosted) in hosted.filter(|(_, hosted)| hosted.role == Role::Active) {
            let sub_topology = self.shared.sub_topology(task);
            let Ok(point) = hosted.view.position() else { continue };
            let of_repartition =
                |(partition, _): &(TopicPartition, i64)| sub_topology.repartition_topics.contains(&partition.topic);
            processed.extend(point.positions.into_iter().filter(of_repartition));
        }
        if !processed.is_empty() {
            self.calls.make(Call::Purge { processed });
        }
    }

    /// Where the hosted stores stand now.
    fn look_at_offsets(&mut self) {
        for (task, hosted) in self.shared.hosted.all() {
            // One that is closed meanwhile has told where it stood.
            if let Ok(point) = hosted.view.position() {
                self.remember(task, &point.changelog_offsets);
            }
        }
    }

    fn remember(&mut self, task: TaskId, offsets: &BTreeMap<StoreId, i64>) {
        self.offsets.insert(task, changelog_offsets(&self.shared, task, offsets));
    }
}

/// Offsets of stores as offsets of their changelog partitions.
pub(super) fn changelog_offsets(shared: &Shared, task: TaskId, offsets: &BTreeMap<StoreId, i64>) -> Offsets {
    let stores = &shared.sub_topology(task).stores;
    offsets
        .iter()
        .filter_map(|(store, offset)| {
            let changelog = stores.get(store.index())?.changelog.as_ref()?;
            Some((TopicPartition::new(Arc::clone(changelog), task.partition), *offset))
        })
        .collect()
}
