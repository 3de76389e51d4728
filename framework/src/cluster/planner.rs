//! Where tasks go: a pure function from what is known of the members to a placement.
//!
//! Two placements are made. The *target* is where tasks belong, and knows of load; the placement *for now* leads there
//! without losing state.
//!
//! 1. Every task has a *place*: who has it, or was given it ([`homes`]). Moving it away from there costs, so the plan moves as few as it can.
//! 2. *Targets* ([`targets`]): load is bounded on both sides: each member gets its share by capacity, rounded up or down, of all
//!    tasks *and* of the tasks of each sub-topology ([`quota`]). Under this bound tasks stay where they are; what has to move goes
//!    first to a member that follows it or has state of it, then along a consistent-hash ring over the members.
//! 3. *For now* ([`actives`]): an active with state stays where it is until its target has caught up. When its host is gone or is to be
//!    emptied, whoever has caught up takes it over; when nobody has, the one that has most of its state.
//! 4. *Standbys* ([`standbys`], [`levelling`]) stay with their state too, are never where the active is, and are spread over zones
//!    and members. One gives its place to another only when that one has caught up.
//!    For a member that left a short while ago its place is *kept* ([`kept`]): it comes back with the state.
//! 5. *Warm-ups* ([`warm_ups`]) follow a task until they have caught up, a few at a time.
//!
//! From this follows what the tests show: a plan is a function of its inputs, a stable cluster plans no move, repeated planning
//! ends at a level load, and a member that joins or leaves moves about its own share.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::{InstanceId, TaskPlacement};
use crate::state::TaskId;

mod actives;
mod explain;
mod facts;
mod forecast;
mod homes;
mod kept;
mod levelling;
mod quota;
mod ring;
mod standbys;
mod targets;
mod warm_ups;

#[cfg(test)]
mod tests;

use self::{
    actives::Active,
    facts::Facts,
    homes::Place,
    kept::stands_in_for,
    standbys::{Followers, standbys},
    targets::targets,
    warm_ups::warm_ups,
};
pub use self::{
    explain::{Explanation, explain},
    forecast::{Forecast, forecast},
};

/// Where every task belongs.
pub type Placements = BTreeMap<TaskId, TaskPlacement>;

/// All that a plan depends on.
#[derive(Debug, Clone, Default)]
pub struct PlanInput {
    /// The tasks to place.
    pub tasks: Vec<PlanTask>,
    /// The live members.
    pub members: BTreeMap<InstanceId, PlanMember>,
    /// The placement in force.
    pub previous: Placements,
    /// Who left a short while ago, or is about to, and may come back, as a standby of what it had in the placement in force; or is back,
    /// and has not caught up. Until then load is not levelled.
    pub expected: BTreeSet<InstanceId>,
    /// How many standbys a task with state gets, if there are members enough.
    pub num_standby_replicas: usize,
    /// How many members at a time may follow a task beside its standbys, because it shall move there. With 0 there are no
    /// warm-ups: tasks move at once, and are restored where they go.
    pub max_warmup_replicas: usize,
}

/// A task to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanTask {
    /// Which.
    pub task: TaskId,
    /// Whether it has state in changelogs, so that it makes sense to follow it.
    pub stateful: bool,
}

/// A live member.
#[derive(Debug, Clone)]
pub struct PlanMember {
    /// Its weight; 0 counts as 1.
    pub capacity: u32,
    /// Its failure domain.
    pub zone: Option<String>,
    /// What it may be given.
    pub acceptance: Acceptance,
    /// The tasks it holds.
    pub held: BTreeSet<TaskId>,
    /// The tasks it has, or follows so closely that it could take them over at once.
    pub caught_up: BTreeSet<TaskId>,
    /// How much state of a task it has: the sum of the changelog offsets.
    pub state: BTreeMap<TaskId, i64>,
    /// The tasks that failed here of late.
    pub failed: BTreeSet<TaskId>,
}

/// What a member may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Anything.
    Open,
    /// What it has, and nothing more: it is alive, but was not heard of yet in this generation.
    Keeps,
    /// Nothing: what it holds it keeps until another member has caught up, or as long as no member is open.
    Draining,
}

/// A plan by numbers of tasks and members.
struct Draft<'a> {
    facts: Facts<'a>,
    actives: Vec<Active>,
    followers: Vec<Followers>,
    warm_ups: Vec<Vec<usize>>,
}

/// Places every task; see the module for the rules.
#[must_use]
pub fn plan(input: &PlanInput) -> Placements {
    Draft::new(input).placements()
}

// === impl PlanMember ===

impl PlanMember {
    /// Whether it is not to be emptied.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.acceptance != Acceptance::Draining
    }
}

// === impl PlanInput ===

impl PlanInput {
    /// Whether tasks wait until they are followed where they shall go.
    fn warms_up(&self) -> bool {
        self.max_warmup_replicas > 0
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    fn new(input: &'a PlanInput) -> Self {
        let facts = Facts::new(input);
        let places: Vec<Place> = (0..facts.tasks.len()).map(|task| Place::of(&facts, task)).collect();
        let targets = targets(&facts, &places);
        let actives = places.iter().zip(targets).enumerate();
        let actives: Vec<Active> =
            actives.map(|(task, (place, target))| Active::new(&facts, task, *place, target)).collect();
        let followers = standbys(&facts, &actives);
        let warm_ups = warm_ups(&facts, &actives, &followers);
        Self { facts, actives, followers, warm_ups }
    }

    fn placements(&self) -> Placements {
        (0..self.facts.tasks.len()).map(|task| (self.facts.tasks[task].task, self.placement(task))).collect()
    }

    fn placement(&self, task: usize) -> TaskPlacement {
        let id = |member: &usize| self.facts.id(*member).clone();
        let active = self.actives[task];
        TaskPlacement {
            active: active.now.as_ref().map(id),
            standbys: self.followers[task].standbys.iter().map(id).collect(),
            warm_ups: self.warm_ups[task].iter().map(id).collect(),
            kept_for: self.followers[task].kept_for.clone(),
            stands_in_for: stands_in_for(&self.facts, task, &active),
            reason: active.reason,
        }
    }
}
