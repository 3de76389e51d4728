//! What is told of a plan.

use std::collections::BTreeSet;

use millpond::{
    cluster::{Explanation, InstanceId, Placements, PlanInput, Reason, TaskPlacement, explain, forecast},
    state::TaskId,
};
use serde::Serialize;

/// A plan: how things are, how they are next, and how they end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The instances, also those that go.
    pub instances: Vec<InstanceReport>,
    /// The tasks.
    pub tasks: Vec<TaskReport>,
    /// How many tasks are processed by another instance in the end.
    pub actives_moved: usize,
    /// How many standbys are at an instance that does not have the task now.
    pub standbys_moved: usize,
    /// How many plans it takes: each follows when everyone has caught up.
    pub plans: usize,
}

/// An instance and its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Its name.
    pub instance: InstanceId,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its weight.
    pub capacity: u32,
    /// Whether it is there before and after.
    pub presence: Presence,
    /// How many tasks it processes.
    pub actives: Count,
    /// How many tasks it follows to take them over.
    pub standbys: Count,
}

/// Whether an instance is there before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Before and after.
    Stays,
    /// Only after.
    Comes,
    /// Only before.
    Goes,
}

/// A number of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How things are.
    pub before: usize,
    /// By the next plan.
    pub next: usize,
    /// By the last.
    pub end: usize,
}

/// A task and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Which.
    pub task: TaskId,
    /// Where it is; `null` if it was not planned yet.
    pub before: Option<PlaceReport>,
    /// Where the next plan has it.
    pub next: PlaceReport,
    /// Where it is in the end.
    pub end: PlaceReport,
    /// Why the instance of `next` processes it, in short.
    pub reason: Reason,
    /// The same in a sentence.
    pub why: String,
    /// Why the others follow it, or do not yet.
    pub followers: Vec<Why>,
}

/// Who has a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceReport {
    /// Who processes it; `null` if there is nobody.
    pub active: Option<InstanceId>,
    /// Who follows it to take it over.
    pub standbys: Vec<InstanceId>,
    /// Who follows it because it shall move there.
    pub warm_ups: Vec<InstanceId>,
    /// Who is expected back as a standby.
    pub kept_for: Vec<InstanceId>,
}

/// Why an instance follows a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Which.
    pub instance: InstanceId,
    /// Why.
    pub why: String,
}

// === impl Report ===

impl Report {
    /// What becomes of the cluster `before` when its members are those of `after`.
    #[must_use]
    pub fn new(before: &PlanInput, after: &PlanInput) -> Self {
        let mut plans = forecast(after).plans;
        if let Some(last) = plans.last().filter(|_| !after.expected.is_empty()) {
            // Who is expected does not come.
            let mut lasting = PlanInput { expected: BTreeSet::new(), ..after.clone() };
            lasting.carry_out(last);
            plans.extend(forecast(&lasting).plans);
        }
        let explained = explain(after);
        let count = plans.len();
        let end = plans.pop().unwrap_or_default();
        let next: Placements = explained.iter().map(|(task, why)| (*task, why.placement.clone())).collect();
        let moved = |placement: &TaskPlacement, task: &TaskId| {
            before.previous.get(task).is_some_and(|before| before.active != placement.active)
        };
        let new_standbys = |placement: &TaskPlacement, task: &TaskId| {
            let Some(before) = before.previous.get(task) else { return 0 };
            placement.standbys.iter().filter(|standby| before.role_of(standby).is_none()).count()
        };
        // A plan that is as things are is no step.
        let settled = next == before.previous;
        Self {
            instances: instances(before, after, &next, &end),
            actives_moved: end.iter().filter(|(task, placement)| moved(placement, task)).count(),
            standbys_moved: end.iter().map(|(task, placement)| new_standbys(placement, task)).sum(),
            tasks: explained.into_iter().map(|(task, why)| TaskReport::new(before, &end, task, why)).collect(),
            plans: if settled { 0 } else { count },
        }
    }
}

fn instances(before: &PlanInput, after: &PlanInput, next: &Placements, end: &Placements) -> Vec<InstanceReport> {
    let count = |has: &dyn Fn(&TaskPlacement) -> bool| {
        let of = |placements: &Placements| placements.values().filter(|placement| has(placement)).count();
        Count { before: of(&before.previous), next: of(next), end: of(end) }
    };
    let ids: BTreeSet<&InstanceId> = before.members.keys().chain(after.members.keys()).collect();
    let report = |id: &InstanceId| {
        let (was, is) = (before.members.get(id), after.members.get(id));
        let member = is.or(was)?;
        let presence = match (was, is) {
            (Some(_), Some(_)) => Presence::Stays,
            (None, _) => Presence::Comes,
            (_, None) => Presence::Goes,
        };
        Some(InstanceReport {
            instance: id.clone(),
            zone: member.zone.clone(),
            capacity: member.capacity.max(1),
            presence,
            actives: count(&|placement| placement.active.as_ref() == Some(id)),
            standbys: count(&|placement| placement.standbys.contains(id)),
        })
    };
    ids.into_iter().filter_map(report).collect()
}

// === impl TaskReport ===

impl TaskReport {
    fn new(before: &PlanInput, end: &Placements, task: TaskId, why: Explanation) -> Self {
        let Explanation { placement, active, followers, .. } = why;
        Self {
            task,
            before: before.previous.get(&task).map(PlaceReport::from),
            next: PlaceReport::from(&placement),
            end: end.get(&task).map_or_else(|| PlaceReport::from(&placement), PlaceReport::from),
            reason: placement.reason,
            why: active,
            followers: followers.into_iter().map(|(instance, why)| Why { instance, why }).collect(),
        }
    }

    /// Whether anything of it is elsewhere next or in the end.
    pub(super) fn moves(&self) -> bool {
        self.before.as_ref() != Some(&self.next) || self.next != self.end
    }
}

impl From<&TaskPlacement> for PlaceReport {
    fn from(placement: &TaskPlacement) -> Self {
        let TaskPlacement { active, standbys, warm_ups, kept_for, .. } = placement.clone();
        Self { active, standbys, warm_ups, kept_for }
    }
}
