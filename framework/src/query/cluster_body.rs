//! The body of `GET /cluster`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    cluster::{ClusterView, InstanceId, InstanceView, Role, TaskState},
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
}

#[derive(Debug, Serialize)]
struct TaskBody<'a> {
    task: TaskId,
    sub_topology: u32,
    partition: i32,
    /// Who answers queries; `null` while nobody alive does.
    owner: Option<&'a str>,
    /// Who shall process it: another one than the owner while the task moves.
    assigned: Option<&'a str>,
    /// The live instances that have it.
    hosts: Vec<HostBody<'a>>,
}

#[derive(Debug, Serialize)]
struct HostBody<'a> {
    instance: &'a str,
    role: Role,
    state: TaskState,
    /// Why it failed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

// === impl ClusterBody ===

impl<'a> ClusterBody<'a> {
    pub(super) fn new(application_id: &'a str, view: &'a ClusterView) -> Self {
        let mut hosts = hosts_by_task(view);
        let task_body = |task: &TaskId| TaskBody {
            task: *task,
            sub_topology: task.sub_topology,
            partition: task.partition,
            owner: view.owner(*task).map(|(instance, _)| &**instance),
            assigned: view.tasks.get(task).and_then(|task| task.assigned.as_deref()),
            hosts: hosts.remove(task).unwrap_or_default(),
        };
        Self {
            application_id,
            this_instance: &view.me,
            member_of_generation: view.epoch.as_ref().map(|epoch| epoch.generation),
            generation: view.order.map(|order| order.generation),
            version: view.order.map(|order| order.version),
            leader: view.leader.as_deref(),
            tasks: view.tasks.keys().map(task_body).collect(),
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
        }
    }
}

fn hosts_by_task(view: &ClusterView) -> BTreeMap<TaskId, Vec<HostBody<'_>>> {
    let mut hosts: BTreeMap<TaskId, Vec<HostBody<'_>>> = BTreeMap::new();
    for (instance, InstanceView { host, .. }) in view.instances.iter().filter(|(_, instance)| instance.live) {
        for (task, report) in &host.tasks {
            let reason = report.reason.as_deref();
            hosts.entry(*task).or_default().push(HostBody { instance, role: report.role, state: report.state, reason });
        }
    }
    hosts
}
