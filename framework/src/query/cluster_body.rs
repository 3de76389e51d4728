//! The body of `GET /cluster`. What a plan depends on is read from it as a [`ClusterDescription`](crate::cluster::ClusterDescription).

use std::collections::BTreeMap;

use serde::Serialize;

use super::Catalogue;
use crate::{
    cluster::{ClusterView, InstanceId, InstanceView, Reason, Role, TaskState, TaskView},
    state::TaskId,
};

/// The cluster as one instance sees it.
#[derive(Debug, Serialize)]
pub(super) struct ClusterBody<'a> {
    application_id: &'a str,
    this_instance: &'a str,
    /// The generation of the group in which this instance is a member; `null` while it is none.
    member_of_generation: Option<i32>,
    /// Of the assignment that is followed; `null` before the first.
    generation: Option<i32>,
    version: Option<u64>,
    leader: Option<&'a str>,
    num_standby_replicas: usize,
    max_warmup_replicas: usize,
    instances: Vec<InstanceBody<'a>>,
    tasks: Vec<TaskBody<'a>>,
}

#[derive(Debug, Serialize)]
struct InstanceBody<'a> {
    instance: &'a str,
    url: &'a str,
    /// Whether it is a member as far as the assignment knows.
    live: bool,
    zone: Option<&'a str>,
    capacity: u32,
    draining: bool,
    /// In which generation it spoke last.
    generation: i32,
    /// State of tasks that it does not run: the sums of their changelog offsets.
    stored: BTreeMap<TaskId, i64>,
}

#[derive(Debug, Serialize)]
struct TaskBody<'a> {
    task: TaskId,
    sub_topology: u32,
    partition: i32,
    /// Whether it has state; `null` while the stores are not known.
    stateful: Option<bool>,
    /// Who answers queries; `null` while nobody alive does.
    owner: Option<&'a str>,
    /// Who shall process it: another one than the owner while the task moves.
    assigned: Option<&'a str>,
    /// Who shall follow it to take it over, best first.
    standbys: &'a [InstanceId],
    /// Who shall follow it because it shall move there.
    warm_ups: &'a [InstanceId],
    /// Who left a short while ago, and is expected back as a standby.
    kept_for: &'a [InstanceId],
    /// Which of them had the task; `null` for none.
    stands_in_for: Option<&'a str>,
    /// Why it is assigned to whom it is.
    reason: Reason,
    /// The live instances that have it.
    hosts: Vec<HostBody<'a>>,
}

#[derive(Debug, Serialize)]
struct HostBody<'a> {
    instance: &'a str,
    role: Role,
    state: TaskState,
    /// How much state it has there: the sum of the offsets of its changelogs.
    #[serde(skip_serializing_if = "Option::is_none")]
    changelog_offset: Option<i64>,
    /// Why it failed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

// === impl ClusterBody ===

impl<'a> ClusterBody<'a> {
    pub(super) fn new(application_id: &'a str, view: &'a ClusterView, stores: Option<&Catalogue>) -> Self {
        let mut hosts = hosts_by_task(view);
        let stateful = stores.map(Catalogue::stateful);
        let task_body = |(task, seen): (&TaskId, &'a TaskView)| TaskBody {
            task: *task,
            sub_topology: task.sub_topology,
            partition: task.partition,
            stateful: stateful.as_ref().map(|stateful| stateful.contains(&task.sub_topology)),
            owner: view.owner(*task).map(|(instance, _)| &**instance),
            assigned: seen.assigned.as_deref(),
            standbys: &seen.assigned_standbys,
            warm_ups: &seen.assigned_warm_ups,
            kept_for: &seen.kept_for,
            stands_in_for: seen.stands_in_for.as_deref(),
            reason: seen.reason,
            hosts: hosts.remove(task).unwrap_or_default(),
        };
        Self {
            application_id,
            this_instance: &view.me,
            member_of_generation: view.epoch.as_ref().map(|epoch| epoch.generation),
            generation: view.order.map(|order| order.generation),
            version: view.order.map(|order| order.version),
            leader: view.leader.as_deref(),
            num_standby_replicas: view.num_standby_replicas,
            max_warmup_replicas: view.max_warmup_replicas,
            tasks: view.tasks.iter().map(task_body).collect(),
            instances: view.instances.iter().map(InstanceBody::from).collect(),
        }
    }
}

impl<'a> From<(&'a InstanceId, &'a InstanceView)> for InstanceBody<'a> {
    fn from((instance, view): (&'a InstanceId, &'a InstanceView)) -> Self {
        Self {
            instance,
            url: &view.host.url,
            live: view.live,
            zone: view.host.zone.as_deref(),
            capacity: view.host.capacity,
            draining: view.host.draining,
            generation: view.host.epoch.generation,
            stored: view.host.stored.iter().map(|(task, offsets)| (*task, offsets.total())).collect(),
        }
    }
}

fn hosts_by_task(view: &ClusterView) -> BTreeMap<TaskId, Vec<HostBody<'_>>> {
    let mut hosts: BTreeMap<TaskId, Vec<HostBody<'_>>> = BTreeMap::new();
    for (instance, InstanceView { host, .. }) in view.instances.iter().filter(|(_, instance)| instance.live) {
        for (task, report) in &host.tasks {
            hosts.entry(*task).or_default().push(HostBody {
                instance,
                role: report.role,
                state: report.state,
                changelog_offset: (!report.offsets.is_empty()).then(|| report.offsets.total()),
                reason: report.reason.as_deref(),
            });
        }
    }
    hosts
}
