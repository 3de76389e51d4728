//! Where tasks go: a pure function from what is known of the members to a placement.
//!
//! 1. Every task has a *home*: where it was assigned, else where it runs, else where most of its state is. While nobody has it open,
//!    most state comes first: nothing was restored yet where it was assigned. Moving a task away from its home costs a
//!    restore, so the plan moves as few as it can.
//! 2. Load is bounded on both sides: each member gets its share by capacity, rounded up or down, of all tasks *and*
//!    of the tasks of each sub-topology ([`quota`]). Under this bound, homes decide.
//! 3. What has to move goes first to a member that has state of it, then along a consistent-hash ring over the members.
//! 4. A task that failed on a member is kept away from it and is left out of the balance, so that one broken task never
//!    moves healthy ones. When it failed everywhere, it stays and is tried again there.
//!
//! From this follows what the tests show: a plan is a function of its inputs, a stable cluster plans no move,
//! a member that joins or leaves moves about its own share.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::{InstanceId, Reason, TaskPlacement};
use crate::state::TaskId;

mod quota;
mod ring;

#[cfg(test)]
mod tests;

use self::{
    quota::{Demand, quotas},
    ring::Ring,
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
    /// How many standbys a task with state gets, if there are members enough.
    pub num_standby_replicas: usize,
}

/// A task to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanTask {
    /// Which.
    pub task: TaskId,
    /// Whether it has state in changelogs, so that standbys make sense.
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
    /// Nothing: what it holds it keeps as long as no member is open.
    Draining,
}

struct Planner<'a> {
    input: &'a PlanInput,
    /// The members that may be given tasks, in order.
    open: Vec<(&'a InstanceId, &'a PlanMember)>,
    ring: Ring,
    placements: Placements,
}

/// Where a task would stay.
struct Home {
    /// Index into the open members.
    member: usize,
    reason: Reason,
}

/// A task that is placed under the balance.
struct Candidate {
    task: TaskId,
    home: Option<Home>,
    /// The open members, best first.
    preference: Vec<usize>,
}

/// Places every task; see the module for the rules.
#[must_use]
pub fn plan(input: &PlanInput) -> Placements {
    let members = |acceptance| input.members.iter().filter(move |(_, member)| member.acceptance == acceptance);
    let open: Vec<_> = members(Acceptance::Open).collect();
    let ring = Ring::new(open.iter().map(|(instance_id, member)| (&***instance_id, member.capacity.max(1))));
    let mut planner = Planner { input, open, ring, placements: Placements::new() };
    planner.place_actives();
    planner.place_standbys();
    planner.placements
}

// === impl Planner ===

impl<'a> Planner<'a> {
    fn place_actives(&mut self) {
        let mut by_sub_topology = BTreeMap::<u32, Vec<Candidate>>::new();
        let tasks: BTreeSet<TaskId> = self.input.tasks.iter().map(|planned| planned.task).collect();
        for task in tasks {
            if let Some(keeper) = self.keeper(task) {
                self.place(task, keeper, Reason::State);
            } else if self.open.is_empty() {
                match self.holder(task) {
                    Some(holder) => self.place(task, holder, Reason::State),
                    None => drop(self.placements.insert(task, TaskPlacement::default())),
                }
            } else if self.open.iter().any(|(_, member)| member.failed.contains(&task)) {
                self.place_troubled(task);
            } else {
                let preference = self.ring.preference(task);
                let home = self.home(task, &preference);
                by_sub_topology.entry(task.sub_topology).or_default().push(Candidate { task, home, preference });
            }
        }
        self.place_balanced(by_sub_topology.into_values().collect());
    }

    /// A silent member keeps what it was given or still holds: only it can release a task.
    fn keeper(&self, task: TaskId) -> Option<&'a InstanceId> {
        let keeps = |instance_id: &InstanceId| {
            let (id, member) = self.input.members.get_key_value(instance_id)?;
            (member.acceptance == Acceptance::Keeps).then_some(id)
        };
        match self.assigned(task) {
            Some(assigned) if self.input.members.contains_key(assigned) => keeps(assigned),
            _ => self
                .input
                .members
                .iter()
                .find(|(id, m)| m.held.contains(&task) && keeps(id).is_some())
                .map(|(id, _)| id),
        }
    }

    /// A member that has the task open, whatever it may be given.
    fn holder(&self, task: TaskId) -> Option<&'a InstanceId> {
        self.input.members.iter().find(|(_, member)| member.held.contains(&task)).map(|(id, _)| id)
    }

    /// The open member that has the task, or most of its state. Failures count against it.
    fn home(&self, task: TaskId, preference: &[usize]) -> Option<Home> {
        let fit = |member: &&usize| !self.open[**member].1.failed.contains(&task);
        let assigned = self.assigned(task).and_then(|id| self.open.iter().position(|(open, _)| *open == id));
        let held = || self.open.iter().position(|(_, member)| member.held.contains(&task));
        let stored = || {
            let hosts = preference.iter().filter(fit).filter(|m| self.state(**m, task).is_some());
            hosts.rev().max_by_key(|m| self.state(**m, task)).copied()
        };
        // What was assigned last may never have been carried out: the cluster stopped, say.
        let most = || (0..self.open.len()).filter_map(|member| self.state(member, task)).max();
        let begun = |m: &usize| self.holder(task).is_some() || self.state(*m, task) >= most();
        let assigned = assigned.filter(|m| fit(&m) && begun(m));
        let member = assigned.or_else(|| held().filter(|m| fit(&m))).or_else(stored)?;
        Some(Home { member, reason: Reason::State })
    }

    /// A task that failed somewhere: kept away from there, outside of the balance.
    fn place_troubled(&mut self, task: TaskId) {
        let preference = self.ring.preference(task);
        let fit = |member: &&usize| !self.open[**member].1.failed.contains(&task);
        if let Some(home) = self.home(task, &preference) {
            self.place_open(task, home.member, home.reason);
        } else if let Some(member) = preference.iter().find(fit) {
            self.place_open(task, *member, Reason::Failure);
        } else {
            let assigned = self.assigned(task).and_then(|id| self.open.iter().position(|(open, _)| *open == id));
            self.place_open(task, assigned.unwrap_or(preference[0]), Reason::Failure);
        }
    }

    /// All other tasks: at home as far as the quotas allow.
    fn place_balanced(&mut self, sub_topologies: Vec<Vec<Candidate>>) {
        let weights: Vec<u64> = self.open.iter().map(|(_, member)| u64::from(member.capacity.max(1))).collect();
        let demands: Vec<Demand> = sub_topologies
            .iter()
            .map(|tasks| {
                let mut at_home = vec![0; weights.len()];
                tasks.iter().filter_map(|task| task.home.as_ref()).for_each(|home| at_home[home.member] += 1);
                Demand { tasks: tasks.len() as u64, at_home }
            })
            .collect();
        let quotas = quotas(&weights, &demands);
        for ((tasks, demand), quota) in sub_topologies.into_iter().zip(demands).zip(quotas) {
            self.place_sub_topology(tasks, &demand.at_home, &quota);
        }
    }

    /// The tasks of one sub-topology, when it is known how many each member gets.
    fn place_sub_topology(&mut self, tasks: Vec<Candidate>, at_home: &[u64], quota: &[u64]) {
        let mut surplus: Vec<u64> = at_home.iter().zip(quota).map(|(have, may)| have.saturating_sub(*may)).collect();
        let mut room: Vec<u64> = quota.iter().zip(at_home).map(|(may, have)| may.saturating_sub(*have)).collect();
        let (mut housed, mut homeless): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.home.is_some());

        // Where too many are at home, those go that others have state of, then those that the ring wants elsewhere.
        let receivers: Vec<usize> = (0..room.len()).filter(|member| room[*member] > 0).collect();
        housed.sort_by_cached_key(|candidate| {
            let elsewhere = receivers.iter().filter_map(|member| self.state(*member, candidate.task)).max();
            let rank =
                candidate.home.as_ref().and_then(|home| candidate.preference.iter().position(|m| *m == home.member));
            std::cmp::Reverse((elsewhere, rank, candidate.task))
        });
        for candidate in housed {
            let Some(home) = &candidate.home else { continue };
            if surplus[home.member] > 0 {
                surplus[home.member] -= 1;
                homeless.push(candidate);
            } else {
                self.place_open(candidate.task, home.member, home.reason);
            }
        }

        // Those of which somebody has state choose first.
        homeless.sort_by_cached_key(|candidate| {
            let most = receivers.iter().filter_map(|member| self.state(*member, candidate.task)).max();
            (std::cmp::Reverse(most), candidate.task)
        });
        for candidate in homeless {
            let with_room = candidate.preference.iter().filter(|member| room[**member] > 0);
            let member = with_room
                .rev()
                .max_by_key(|member| self.state(**member, candidate.task))
                .copied()
                .expect("the quotas of a sub-topology add up to its tasks");
            room[member] -= 1;
            let reason = match (&candidate.home, self.state(member, candidate.task)) {
                (Some(_), _) => Reason::Balance,
                (None, Some(_)) => Reason::State,
                (None, None) => Reason::Ring,
            };
            self.place_open(candidate.task, member, reason);
        }
    }

    /// Standbys of tasks with state: the next members on the ring, as many zones as there are.
    fn place_standbys(&mut self) {
        let wanted = self.input.num_standby_replicas;
        let stateful = self.input.tasks.iter().filter(|planned| planned.stateful && wanted > 0);
        for PlanTask { task, .. } in stateful {
            let preference = self.ring.preference(*task);
            let Some(placement) = self.placements.get_mut(task) else { continue };
            let Some(active) = placement.active.clone() else { continue };
            let mut zones: Vec<_> = self.input.members.get(&active).and_then(|m| m.zone.as_ref()).into_iter().collect();
            let fit = |(instance_id, member): &(&InstanceId, &PlanMember)| {
                **instance_id != active && !member.failed.contains(task)
            };
            let mut left: Vec<_> = preference.iter().map(|member| self.open[*member]).filter(fit).collect();
            while placement.standbys.len() < wanted && !left.is_empty() {
                let other_zone =
                    left.iter().position(|(_, m)| m.zone.as_ref().is_none_or(|zone| !zones.contains(&zone)));
                let (instance_id, member) = left.remove(other_zone.unwrap_or(0));
                zones.extend(&member.zone);
                placement.standbys.push(instance_id.clone());
            }
        }
    }

    fn assigned(&self, task: TaskId) -> Option<&'a InstanceId> {
        self.input.previous.get(&task).and_then(|placement| placement.active.as_ref())
    }

    fn state(&self, member: usize, task: TaskId) -> Option<i64> {
        self.open[member].1.state.get(&task).copied()
    }

    fn place_open(&mut self, task: TaskId, member: usize, reason: Reason) {
        self.place(task, self.open[member].0, reason);
    }

    fn place(&mut self, task: TaskId, member: &InstanceId, reason: Reason) {
        let stays = self.input.previous.get(&task).filter(|before| before.active.as_ref() == Some(member));
        let reason = stays.map_or(reason, |before| before.reason);
        let active = Some(member.clone());
        self.placements.insert(task, TaskPlacement { active, reason, ..TaskPlacement::default() });
    }
}
