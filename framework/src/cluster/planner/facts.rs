//! What is known of every task at every member, by number: a plan asks for it often.

use std::collections::BTreeSet;

use super::{Acceptance, PlanInput, PlanMember, ring::Ring};
use crate::{
    cluster::metadata::{InstanceId, TaskPlacement},
    state::TaskId,
};

/// Members and tasks are named by their numbers here, in the order of their names.
pub(super) struct Facts<'a> {
    pub(super) input: &'a PlanInput,
    members: Vec<(&'a InstanceId, &'a PlanMember)>,
    /// What each member may be given, relative to the others; 0 for those that are not open.
    pub(super) weights: Vec<u64>,
    pub(super) tasks: Vec<TaskFacts<'a>>,
    /// By task, then by member.
    ties: Vec<Tie>,
}

/// A task, and where the last plan has it.
pub(super) struct TaskFacts<'a> {
    pub(super) task: TaskId,
    pub(super) stateful: bool,
    pub(super) previous: Option<&'a TaskPlacement>,
    /// Of the last plan, if it lives.
    pub(super) assigned: Option<usize>,
    /// The open members along the ring, best first.
    pub(super) preference: Vec<usize>,
}

/// What ties a task to a member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tie {
    /// It has the task as active.
    pub(super) held: bool,
    /// It could take the task over at once.
    pub(super) caught_up: bool,
    /// By the last plan it follows the task.
    pub(super) follows: bool,
    /// The task failed there of late.
    pub(super) failed: bool,
    /// The sum of the changelog offsets.
    pub(super) state: Option<i64>,
}

/// How near the state of a task is to being at a member: the greater, the less is left to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Affinity {
    nearness: Nearness,
    state: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Away,
    Stored,
    Following,
    There,
}

// === impl Tie ===

impl Tie {
    pub(super) fn affinity(&self) -> Affinity {
        let nearness = match self {
            tie if tie.held || tie.caught_up => Nearness::There,
            tie if tie.follows => Nearness::Following,
            tie if tie.state.is_some() => Nearness::Stored,
            _ => Nearness::Away,
        };
        Affinity { nearness, state: self.state }
    }
}

// === impl Affinity ===

impl Affinity {
    /// Whether the member has begun to follow the task, or has all of it.
    pub(super) fn is_begun(self) -> bool {
        self.nearness >= Nearness::Following
    }

    /// Whether the member has anything of it.
    pub(super) fn is_any(self) -> bool {
        self.nearness > Nearness::Away
    }
}

// === impl Facts ===

impl<'a> Facts<'a> {
    pub(super) fn new(input: &'a PlanInput) -> Self {
        let members: Vec<_> = input.members.iter().collect();
        let weight = |member: &PlanMember| match member.acceptance {
            Acceptance::Open => u64::from(member.capacity.max(1)),
            Acceptance::Keeps | Acceptance::Draining => 0,
        };
        let weights: Vec<u64> = members.iter().map(|(_, member)| weight(member)).collect();
        let open = members.iter().enumerate().filter(|(index, _)| weights[*index] > 0);
        let ring = Ring::new(open.map(|(index, (id, member))| (&***id, index, member.capacity.max(1))));

        let tasks: BTreeSet<_> = input.tasks.iter().map(|planned| (planned.task, planned.stateful)).collect();
        let mut tasks: Vec<_> = tasks
            .into_iter()
            .map(|(task, stateful)| {
                let previous = input.previous.get(&task);
                TaskFacts { task, stateful, previous, assigned: None, preference: ring.preference(task) }
            })
            .collect();
        // Named twice, with state and without: that with state counts.
        tasks.reverse();
        tasks.dedup_by_key(|facts| facts.task);
        tasks.reverse();

        let mut facts =
            Self { input, ties: vec![Tie::default(); tasks.len() * members.len()], members, weights, tasks };
        facts.tie_members();
        facts.tie_previous();
        facts
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn id(&self, member: usize) -> &'a InstanceId {
        self.members[member].0
    }

    pub(super) fn zone(&self, member: usize) -> Option<&'a str> {
        self.members[member].1.zone.as_deref()
    }

    pub(super) fn acceptance(&self, member: usize) -> Acceptance {
        self.members[member].1.acceptance
    }

    pub(super) fn is_open(&self, member: usize) -> bool {
        self.weights[member] > 0
    }

    /// The open members, in order.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.members.len()).filter(|member| self.is_open(*member))
    }

    pub(super) fn tie(&self, task: usize, member: usize) -> &Tie {
        &self.ties[task * self.members.len() + member]
    }

    pub(super) fn affinity(&self, task: usize, member: usize) -> Affinity {
        self.tie(task, member).affinity()
    }

    /// The open members at which the task did not fail of late, along the ring.
    pub(super) fn fit(&self, task: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.tasks[task].preference.iter().copied().filter(move |member| !self.tie(task, *member).failed)
    }

    /// The followers of the last plan that still live and may go on, and those that are back in the place that was kept for them.
    pub(super) fn previous_standbys(&self, task: usize) -> impl Iterator<Item = usize> + '_ {
        let previous = self.tasks[task].previous.into_iter();
        let previous = previous.flat_map(|placement| placement.standbys.iter().chain(&placement.kept_for));
        previous.filter_map(|id| self.index(id)).filter(move |member| self.may_follow(task, *member))
    }

    /// Whether a member may go on with the task as a follower, if it has it.
    pub(super) fn may_follow(&self, task: usize, member: usize) -> bool {
        self.members[member].1.stays() && !self.tie(task, member).failed
    }

    pub(super) fn index(&self, id: &InstanceId) -> Option<usize> {
        self.members.binary_search_by(|(known, _)| (*known).cmp(id)).ok()
    }

    fn task_index(&self, task: TaskId) -> Option<usize> {
        self.tasks.binary_search_by_key(&task, |facts| facts.task).ok()
    }

    fn tie_at(&mut self, task: TaskId, member: usize, change: impl FnOnce(&mut Tie)) {
        let members = self.members.len();
        if let Some(task) = self.task_index(task) {
            change(&mut self.ties[task * members + member]);
        }
    }

    fn tie_members(&mut self) {
        for (index, (_, member)) in self.members.clone().into_iter().enumerate() {
            member.held.iter().for_each(|task| self.tie_at(*task, index, |tie| tie.held = true));
            member.caught_up.iter().for_each(|task| self.tie_at(*task, index, |tie| tie.caught_up = true));
            member.failed.iter().for_each(|task| self.tie_at(*task, index, |tie| tie.failed = true));
            member.state.iter().for_each(|(task, state)| self.tie_at(*task, index, |tie| tie.state = Some(*state)));
        }
    }

    fn tie_previous(&mut self) {
        for task in 0..self.tasks.len() {
            let Some(previous) = self.tasks[task].previous else { continue };
            self.tasks[task].assigned = previous.active.as_ref().and_then(|active| self.index(active));
            for follower in previous.standbys.iter().chain(&previous.warm_ups) {
                if let Some(member) = self.index(follower) {
                    let members = self.members.len();
                    self.ties[task * members + member].follows = true;
                }
            }
        }
    }
}
