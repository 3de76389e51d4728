//! A cluster in JSON, to plan with: what `GET /cluster` answers, or what somebody has written down.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    metadata::{InstanceId, Reason, Role, TaskPlacement, TaskState},
    planner::{Acceptance, Placements, PlanInput, PlanMember, PlanTask},
};
use crate::state::TaskId;

/// A cluster: who is there, what there is to do, and who has what. Whatever else `GET /cluster` tells is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDescription {
    /// How many standbys a task with state gets.
    #[serde(default = "one")]
    pub num_standby_replicas: usize,
    /// How many warm-ups there are at a time.
    #[serde(default = "two")]
    pub max_warmup_replicas: usize,
    /// The generation of the group; an instance that speaks in another one keeps what it has.
    #[serde(default)]
    pub generation: Option<i32>,
    /// Who is there.
    pub instances: Vec<InstanceDescription>,
    /// What there is to do, and who does it.
    #[serde(default)]
    pub tasks: Vec<TaskDescription>,
    /// More tasks, by the number of partitions of each sub-topology. Nobody has them yet.
    #[serde(default)]
    pub sub_topologies: Vec<SubTopologyDescription>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDescription {
    /// Its name.
    pub instance: InstanceId,
    /// Its failure domain.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its weight.
    #[serde(default = "full")]
    pub capacity: u32,
    /// Whether it is a member; who is not is not planned for.
    #[serde(default = "yes")]
    pub live: bool,
    /// Whether it asks to be emptied.
    #[serde(default)]
    pub draining: bool,
    /// In which generation of the group it spoke last.
    #[serde(default)]
    pub generation: Option<i32>,
    /// How much state it has of tasks that it does not run: the sums of their changelog offsets.
    #[serde(default)]
    pub stored: BTreeMap<TaskId, i64>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// Which.
    pub task: TaskId,
    /// Whether it has state; if that is not known it is taken for one that has.
    #[serde(default)]
    pub stateful: Option<bool>,
    /// Who shall process it.
    #[serde(default)]
    pub assigned: Option<InstanceId>,
    /// Who shall follow it to take it over.
    #[serde(default)]
    pub standbys: Vec<InstanceId>,
    /// Who shall follow it because it shall move there.
    #[serde(default)]
    pub warm_ups: Vec<InstanceId>,
    /// Who left a short while ago, and is expected back as a standby.
    #[serde(default)]
    pub kept_for: Vec<InstanceId>,
    /// Which of them had the task, and gets it back.
    #[serde(default)]
    pub stands_in_for: Option<InstanceId>,
    /// Why it is assigned to whom it is.
    #[serde(default)]
    pub reason: Reason,
    /// Who has it.
    #[serde(default)]
    pub hosts: Vec<TaskHostDescription>,
}

/// An instance that has a task, or has just failed to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHostDescription {
    /// Which instance.
    pub instance: InstanceId,
    /// In what role.
    pub role: Role,
    /// How far it is.
    pub state: TaskState,
    /// Why it failed there, until it runs again.
    #[serde(default)]
    pub reason: Option<String>,
    /// How much state is there: the sum of the offsets of its changelogs.
    #[serde(default)]
    pub changelog_offset: Option<i64>,
}

/// The tasks of a sub-topology; the first has the number 0, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTopologyDescription {
    /// How many there are.
    pub partitions: u16,
    /// Whether they have state.
    #[serde(default = "yes")]
    pub stateful: bool,
}

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// An instance is there twice.
    #[error("there are two instances `{0}`: give each its own name")]
    SameInstance(InstanceId),
    /// A task is there twice.
    #[error("task {0} is there twice: name it once, in `tasks` or by the partitions in `sub_topologies`")]
    SameTask(TaskId),
    /// A task is at an instance that is not described.
    #[error(
        "task {task} has the host `{host}`, which is not among the instances: add it there, or take it out of the hosts"
    )]
    UnknownHost {
        /// The task.
        task: TaskId,
        /// The instance.
        host: InstanceId,
    },
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

fn full() -> u32 {
    1
}

fn yes() -> bool {
    true
}

// === impl ClusterDescription ===

impl ClusterDescription {
    /// What the leader of this cluster would plan from.
    ///
    /// # Errors
    ///
    /// If instances or tasks are there twice, or a task is at an instance that is not described.
    pub fn plan_input(&self) -> Result<PlanInput, DescriptionError> {
        let mut members = BTreeMap::new();
        for instance in &self.instances {
            let member = instance.member(self.generation);
            if members.insert(instance.instance.clone(), (instance.live, member)).is_some() {
                return Err(DescriptionError::SameInstance(instance.instance.clone()));
            }
        }
        for task in &self.tasks {
            for host in &task.hosts {
                let Some((_, member)) = members.get_mut(&host.instance) else {
                    return Err(DescriptionError::UnknownHost { task: task.task, host: host.instance.clone() });
                };
                host.tell(task.task, member);
            }
        }
        let members: BTreeMap<_, PlanMember> =
            members.into_iter().filter(|(_, (live, _))| *live).map(|(id, (_, member))| (id, member)).collect();
        let Self { num_standby_replicas, max_warmup_replicas, .. } = *self;
        let (tasks, previous) = (self.plan_tasks()?, self.placements());
        let stays = |id: &InstanceId| members.get(id).is_some_and(PlanMember::stays);
        // For how much longer, only the leader knows.
        let expected = previous.values().flat_map(|p| p.kept_for.clone()).filter(|id| !stays(id)).collect();
        Ok(PlanInput { tasks, members, previous, expected, num_standby_replicas, max_warmup_replicas })
    }

    fn plan_tasks(&self) -> Result<Vec<PlanTask>, DescriptionError> {
        let stateful = |task: &TaskDescription| task.stateful.unwrap_or(true);
        let named = self.tasks.iter().map(|task| PlanTask { task: task.task, stateful: stateful(task) });
        let numbered = (0..).zip(&self.sub_topologies).flat_map(|(sub_topology, described)| {
            let task = move |partition| TaskId::new(sub_topology, partition);
            (0..i32::from(described.partitions)).map(move |p| PlanTask { task: task(p), stateful: described.stateful })
        });
        let tasks: Vec<PlanTask> = named.chain(numbered).collect();
        let mut known = BTreeSet::new();
        match tasks.iter().find(|planned| !known.insert(planned.task)) {
            Some(twice) => Err(DescriptionError::SameTask(twice.task)),
            None => Ok(tasks),
        }
    }

    fn placements(&self) -> Placements {
        let placement = |task: &TaskDescription| {
            let TaskDescription { task, assigned, standbys, warm_ups, kept_for, stands_in_for, reason, .. } =
                task.clone();
            let placement = TaskPlacement { active: assigned, standbys, warm_ups, kept_for, stands_in_for, reason };
            (placement != TaskPlacement::default()).then_some((task, placement))
        };
        self.tasks.iter().filter_map(placement).collect()
    }
}

// === impl InstanceDescription ===

impl InstanceDescription {
    /// An instance that has just come, and has nothing.
    #[must_use]
    pub fn new(instance: InstanceId) -> Self {
        let stored = BTreeMap::new();
        Self { instance, zone: None, capacity: 1, live: true, draining: false, generation: None, stored }
    }

    fn member(&self, generation: Option<i32>) -> PlanMember {
        let silent = self.generation.is_some_and(|spoken| generation.is_some_and(|now| spoken != now));
        let acceptance = match (silent, self.draining) {
            (true, _) => Acceptance::Keeps,
            (false, true) => Acceptance::Draining,
            (false, false) => Acceptance::Open,
        };
        PlanMember {
            capacity: self.capacity,
            zone: self.zone.clone(),
            acceptance,
            held: BTreeSet::new(),
            caught_up: BTreeSet::new(),
            state: self.stored.clone(),
            failed: BTreeSet::new(),
        }
    }
}

// === impl TaskHostDescription ===

impl TaskHostDescription {
    fn tell(&self, task: TaskId, member: &mut PlanMember) {
        let holds = self.role == Role::Active && self.state != TaskState::Failed;
        if holds {
            member.held.insert(task);
        }
        if holds || self.state == TaskState::Running {
            member.caught_up.insert(task);
        }
        if self.state == TaskState::Failed || self.reason.is_some() {
            member.failed.insert(task);
        }
        member.state.extend(self.changelog_offset.map(|offset| (task, offset)));
    }
}
