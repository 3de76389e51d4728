//! The cluster as one instance sees it: what queries are routed by.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    coordinator::Settings,
    metadata::{AssignmentOrder, HostMetadata, InstanceId, Reason, Role, TaskPlacement, TaskState},
    registry::Registry,
};
use crate::{log::Epoch, state::TaskId};

/// A snapshot of the cluster. Never changes; a newer one takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// The instance whose view this is.
    pub me: InstanceId,
    /// Its membership.
    pub epoch: Option<Epoch>,
    /// The assignment this is based on.
    pub order: Option<AssignmentOrder>,
    /// Whether that one counts this membership.
    pub is_listed: bool,
    /// Who published it.
    pub leader: Option<InstanceId>,
    /// Everyone with host metadata on the topic.
    pub instances: BTreeMap<InstanceId, InstanceView>,
    /// All tasks of the assignment.
    pub tasks: BTreeMap<TaskId, TaskView>,
    /// How many standbys this instance would give a task with state, if it led.
    pub num_standby_replicas: usize,
    /// How many warm-ups it would have at a time.
    pub max_warmup_replicas: usize,
}

/// An instance in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// Whether it is a member as far as the assignment knows.
    pub live: bool,
    /// What it said last.
    pub host: Arc<HostMetadata>,
}

/// A task in the view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskView {
    /// Who shall process it.
    pub assigned: Option<InstanceId>,
    /// Who shall follow it to take it over.
    pub assigned_standbys: Vec<InstanceId>,
    /// Who shall follow it because it shall move there.
    pub assigned_warm_ups: Vec<InstanceId>,
    /// Those that left a short while ago and are expected back as standbys.
    pub kept_for: Vec<InstanceId>,
    /// Which of them had the task.
    pub stands_in_for: Option<InstanceId>,
    /// Why it is assigned to whom it is.
    pub reason: Reason,
    /// Which live instance has it as active now, and how far it is. While a task moves, this is the one that it
    /// leaves until it is released.
    pub holder: Option<(InstanceId, TaskState)>,
    /// Live instances that have it as standby or warm-up.
    pub followers: Vec<(InstanceId, TaskState)>,
}

// === impl ClusterView ===

impl ClusterView {
    /// What an instance knows before it has read anything.
    #[must_use]
    pub fn empty(me: &InstanceId) -> Self {
        Self {
            me: me.clone(),
            epoch: None,
            order: None,
            is_listed: false,
            leader: None,
            instances: BTreeMap::new(),
            tasks: BTreeMap::new(),
            num_standby_replicas: 0,
            max_warmup_replicas: 0,
        }
    }

    pub(super) fn new(me: &InstanceId, epoch: Option<&Epoch>, registry: &Registry, settings: &Settings) -> Self {
        let &Settings { num_standby_replicas, max_warmup_replicas, .. } = settings;
        let empty = Self { num_standby_replicas, max_warmup_replicas, ..Self::empty(me) };
        let mut view = Self { epoch: epoch.cloned(), ..empty };
        let Some(assignment) = registry.assignment() else { return view };
        view.order = Some(assignment.order());
        view.is_listed = epoch.is_some_and(|epoch| assignment.lists(me, &epoch.member_id));
        view.leader = Some(assignment.leader.clone());
        for (task, placement) in &assignment.tasks {
            let TaskPlacement { active, standbys, warm_ups, kept_for, stands_in_for, reason } = placement.clone();
            let task_view = TaskView {
                assigned: active,
                assigned_standbys: standbys,
                assigned_warm_ups: warm_ups,
                kept_for,
                stands_in_for,
                reason,
                ..TaskView::default()
            };
            view.tasks.insert(*task, task_view);
        }
        for host in registry.hosts() {
            let live = assignment.lists_host(host) && !registry.is_evicted(&host.instance_id, &host.epoch.member_id);
            view.instances.insert(host.instance_id.clone(), InstanceView { live, host: host.clone() });
            if live {
                view.add_tasks_of(host);
            }
        }
        view
    }

    /// Where queries of a task's state go first: the live instance that has it as active, else the one it is assigned
    /// to. With its URL.
    #[must_use]
    pub fn owner(&self, task: TaskId) -> Option<(&InstanceId, &str)> {
        let task = self.tasks.get(&task)?;
        let owner = task.holder.as_ref().map(|(holder, _)| holder).or(task.assigned.as_ref())?;
        let (instance_id, instance) = self.instances.get_key_value(owner)?;
        instance.live.then_some((instance_id, instance.host.url.as_str()))
    }

    /// Where an instance is reached.
    #[must_use]
    pub fn url(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(|instance| instance.host.url.as_str())
    }

    /// How many members are alive.
    #[must_use]
    pub fn live_members(&self) -> usize {
        self.instances.values().filter(|instance| instance.live).count()
    }

    /// How many tasks no live instance has.
    #[must_use]
    pub fn unassigned_tasks(&self) -> usize {
        self.tasks.values().filter(|task| task.holder.is_none()).count()
    }

    fn add_tasks_of(&mut self, host: &HostMetadata) {
        for (task, report) in &host.tasks {
            let Some(view) = self.tasks.get_mut(task) else { continue };
            let instance = (host.instance_id.clone(), report.state);
            match report.role {
                Role::Active if !report.is_held() => {}
                // A claim gives way to who has the task already.
                Role::Active if report.state == TaskState::Claimed && view.holder.is_some() => {}
                Role::Active => view.holder = Some(instance),
                Role::Standby | Role::WarmUp => view.followers.push(instance),
            }
        }
    }
}

// === impl TaskView ===

impl TaskView {
    /// Whether an instance shall have it, in whatever role.
    #[must_use]
    pub fn is_assigned_to(&self, instance_id: &InstanceId) -> bool {
        let mut hosts = self.assigned.iter().chain(&self.assigned_standbys).chain(&self.assigned_warm_ups);
        hosts.any(|host| host == instance_id)
    }
}
