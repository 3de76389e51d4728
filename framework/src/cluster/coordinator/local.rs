//! The tasks of this instance: from the claim to the release.

use std::{collections::BTreeMap, time::Duration};

use super::{Action, Coordinator, Phase, TaskEvent};
use crate::{
    cluster::{
        error::ClusterError,
        metadata::{Offsets, Role, TaskState},
        registry::Taken,
    },
    state::TaskId,
};

/// What this instance has, is about to have, and could not have.
#[derive(Debug, Default)]
pub(super) struct LocalTasks {
    tasks: BTreeMap<TaskId, LocalTask>,
    failures: BTreeMap<TaskId, Failure>,
    /// What the runtime said about state on this host.
    pub(super) offsets: BTreeMap<TaskId, Offsets>,
}

/// A task is open, or claimed, or both: a standby that is to become active.
#[derive(Debug, Default)]
struct LocalTask {
    open: Option<Open>,
    claim: Option<Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    role: Role,
    state: TaskState,
    /// While it is released: the role in which it goes on.
    follow: Option<Role>,
}

/// The intention to run a task as active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Not published yet.
    New,
    /// In the record with this number, which is under way.
    Published(u64),
    /// Read from the topic. Every claim that was there before was read too.
    Seen,
}

/// The last time that a task was closed without being asked to.
#[derive(Debug)]
struct Failure {
    at: Duration,
    /// How often of late.
    times: u32,
    /// Why, if the task is to blame and has not run since: it is better tried elsewhere.
    reason: Option<String>,
}

// === impl Open ===

impl Open {
    /// Just begun: what is stored is brought up to date.
    fn begun(role: Role) -> Self {
        Self { role, state: TaskState::Restoring, follow: None }
    }
}

// === impl LocalTask ===

impl LocalTask {
    fn report(&self) -> Option<(Role, TaskState)> {
        let open = self.open.map(|open| (open.role, open.state));
        self.claim.map(|_| (Role::Active, TaskState::Claimed)).or(open)
    }
}

// === impl LocalTasks ===

impl LocalTasks {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Everything that is there, as it is published.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&TaskId, Role, TaskState)> {
        self.tasks.iter().filter_map(|(task, local)| local.report().map(|(role, state)| (task, role, state)))
    }

    /// The tasks that failed here and have not run since, and why. That a task is tried again does not take it off the list: the
    /// leader would take the news for a reason to move it back and forth.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&TaskId, &str)> {
        self.failures.iter().filter_map(|(task, failure)| Some((task, failure.reason.as_deref()?)))
    }

    pub(super) fn claims_published(&mut self, seq: u64) {
        for claim in self.tasks.values_mut().filter_map(|local| local.claim.as_mut()) {
            if *claim == Claim::New {
                *claim = Claim::Published(seq);
            }
        }
    }

    pub(super) fn claims_seen(&mut self, seq: u64) {
        for claim in self.tasks.values_mut().filter_map(|local| local.claim.as_mut()) {
            if matches!(claim, Claim::Published(published) if *published <= seq) {
                *claim = Claim::Seen;
            }
        }
    }

    pub(super) fn withdraw_claims(&mut self) {
        self.tasks.values_mut().for_each(|local| local.claim = None);
        self.tasks.retain(|_, local| local.open.is_some());
    }

    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }

    fn is_any_open(&self) -> bool {
        self.tasks.values().any(|local| local.open.is_some())
    }

    fn failed(&mut self, task: TaskId, now: Duration, memory: Duration, reason: Option<String>) {
        let before = self.failures.get(&task).filter(|failure| now < failure.at + memory);
        let times = before.map_or(0, |failure| failure.times).saturating_add(1);
        self.failures.insert(task, Failure { at: now, times, reason });
    }
}

// === impl Failure ===

impl Failure {
    /// What was only dropped is tried again at once, but not again and again.
    fn retry_at(&self, backoff: Duration, max_backoff: Duration) -> Duration {
        let waits = if self.reason.is_some() { self.times } else { self.times - 1 };
        let factor = if waits == 0 { 0 } else { 2_u32.saturating_pow(waits - 1) };
        self.at + backoff.saturating_mul(factor).min(max_backoff)
    }
}

// === impl Coordinator: tasks ===

impl Coordinator {
    pub(super) fn apply_task(&mut self, now: Duration, task: TaskId, event: TaskEvent) {
        let Some(local) = self.local.tasks.get_mut(&task) else {
            tracing::debug!(%task, ?event, "event of a task that was dropped");
            return;
        };
        let Some(open) = &mut local.open else { return };
        match event {
            TaskEvent::Restoring | TaskEvent::Running if open.state == TaskState::Releasing => return,
            TaskEvent::Restoring => open.state = TaskState::Restoring,
            TaskEvent::Running => {
                open.state = TaskState::Running;
                if let Some(failure) = self.local.failures.get_mut(&task) {
                    failure.reason = None;
                }
            }
            TaskEvent::Released => match open.follow {
                Some(role) => *open = Open::begun(role),
                None => self.close(task),
            },
            TaskEvent::Dropped { reason } => {
                tracing::warn!(%task, reason, "task dropped");
                self.close(task);
                self.local.failed(task, now, self.settings.failure_memory, None);
            }
            TaskEvent::Failed { reason } => {
                tracing::error!(%task, reason, "task failed");
                self.close(task);
                self.local.failed(task, now, self.settings.failure_memory, Some(reason));
            }
        }
        self.publisher.mark_changed();
    }

    /// A claim on a task that was open (as a standby) does not survive its end: it starts from the beginning.
    fn close(&mut self, task: TaskId) {
        self.local.tasks.remove(&task);
    }

    /// Brings what this instance has in line with the assignment it follows.
    pub(super) fn follow(&mut self, now: Duration) {
        self.forget_failures(now);
        if self.is_out_of_line() {
            return;
        }
        if self.in_force().is_some() && self.confirmed != self.epoch {
            self.confirmed.clone_from(&self.epoch);
            let epoch = self.epoch.clone();
            self.actions.extend(epoch.map(|epoch| Action::UpdateEpoch { epoch }));
        }
        let followed = self.followed().cloned();
        let wanted = match &followed {
            _ if self.phase == Phase::Stopping => BTreeMap::new(),
            Some(assignment) => assignment.tasks_of(&self.identity.instance_id),
            None => return,
        };
        self.give_up(&wanted);
        if let Some(assignment) = followed {
            let taken = self.registry.taken(&self.identity.instance_id, &assignment);
            self.take(now, &wanted, &taken);
        }
    }

    /// Whether an assignment of this generation has no place for this instance: another topology is in force, or the leader
    /// took it for gone, and has fenced it.
    fn is_out_of_line(&mut self) -> bool {
        let (Some(epoch), Some(assignment)) = (&self.epoch, self.registry.assignment()) else { return false };
        if assignment.generation != epoch.generation || assignment.provisional {
            return false;
        }
        let me = &self.identity.instance_id;
        let listed = assignment.lists(me, &epoch.member_id);
        if listed && assignment.topology_fingerprint != self.identity.topology_fingerprint {
            let error = ClusterError::TopologyMismatch {
                instance_id: me.clone(),
                fingerprint: self.identity.topology_fingerprint.clone(),
                leader: assignment.leader.clone(),
                cluster_fingerprint: assignment.topology_fingerprint.clone(),
            };
            self.halt(error);
            return true;
        }
        if !listed && self.local.is_any_open() {
            self.drop_all("the leader counts this instance as gone");
        }
        false
    }

    /// Releases what is not wanted here, or not in its role. What another instance shall process and this one follow stays open.
    fn give_up(&mut self, wanted: &BTreeMap<TaskId, Role>) {
        let mut changed = false;
        for (task, local) in &mut self.local.tasks {
            let role = wanted.get(task).copied();
            if local.claim.is_some() && role != Some(Role::Active) {
                local.claim = None;
                changed = true;
            }
            let Some(open) = &mut local.open else { continue };
            let task = *task;
            match (open.role, role) {
                // What becomes of a follower that is to be active is `take`'s to say.
                _ if open.state == TaskState::Releasing || role == Some(Role::Active) || role == Some(open.role) => {}
                (Role::Standby | Role::WarmUp, Some(role)) => {
                    open.role = role;
                    changed = true;
                    self.actions.push(Action::FollowAs { task, role });
                }
                (Role::Active, follow) | (Role::Standby | Role::WarmUp, follow @ None) => {
                    (open.state, open.follow) = (TaskState::Releasing, follow);
                    changed = true;
                    self.actions.push(Action::ReleaseTask { task, follow });
                }
            }
        }
        self.local.tasks.retain(|_, local| local.open.is_some() || local.claim.is_some());
        if changed {
            self.publisher.mark_changed();
        }
    }

    /// Claims and starts what is wanted here. An active task is started only when this instance's claim was read back from
    /// the topic and no other live member holds it: of two claims, the later sees the earlier.
    fn take(&mut self, now: Duration, wanted: &BTreeMap<TaskId, Role>, taken: &Taken) {
        let Some(epoch) = self.epoch.clone() else { return };
        let mut changed = false;
        for (task, role) in wanted {
            if self.waits_for_retry(now, *task) {
                continue;
            }
            let local = self.local.tasks.entry(*task).or_default();
            let starts = match (role, &local.open, local.claim) {
                (_, Some(Open { state: TaskState::Releasing, .. } | Open { role: Role::Active, .. }), _) => false,
                (Role::Active, _, Some(Claim::Seen)) => taken.is_free(*task),
                (Role::Active, _, Some(_)) => false,
                (Role::Active, _, None) => {
                    local.claim = taken.is_free(*task).then_some(Claim::New);
                    changed |= local.claim.is_some();
                    false
                }
                (_, open, _) => open.is_none(),
            };
            if starts {
                let (task, role, epoch) = (*task, *role, epoch.clone());
                let promoted = local.open.is_some();
                *local = LocalTask { open: Some(Open::begun(role)), claim: None };
                changed = true;
                self.actions.push(match promoted {
                    true => Action::PromoteTask { task, epoch },
                    false => Action::StartTask { task, role, epoch },
                });
            }
        }
        self.local.tasks.retain(|_, local| local.open.is_some() || local.claim.is_some());
        if changed {
            self.publisher.mark_changed();
        }
    }

    fn waits_for_retry(&self, now: Duration, task: TaskId) -> bool {
        let absent = !self.local.tasks.contains_key(&task);
        let failure = self.local.failures.get(&task).filter(|_| absent);
        let settings = &self.settings;
        failure.is_some_and(|f| now < f.retry_at(settings.failure_backoff, settings.max_failure_backoff))
    }

    fn forget_failures(&mut self, now: Duration) {
        let before = self.local.failures.len();
        let memory = self.settings.failure_memory;
        self.local.failures.retain(|_, failure| now < failure.at + memory);
        if self.local.failures.len() != before {
            self.publisher.mark_changed();
        }
    }
}
