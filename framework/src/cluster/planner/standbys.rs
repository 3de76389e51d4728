//! Who follows every task to take it over.
//!
//! Never the member that has the active; in as many zones as there are; where the state already is; in even numbers by
//! capacity, and so that the tasks of one member are followed by many others, who share its load when it is gone.

use std::cmp::Reverse;

use super::{actives::Active, facts::Facts, kept::expected_back, levelling::level};
use crate::cluster::metadata::InstanceId;

/// Loads are compared per unit of capacity, in integers.
const SCALE: u64 = 1 << 20;

/// The standbys of all tasks while they are placed, by task.
pub(super) struct Standbys<'f, 'a> {
    pub(super) facts: &'f Facts<'a>,
    pub(super) actives: &'f [Active],
    pub(super) members_of: Vec<Vec<usize>>,
    /// The places that nobody gets: somebody is expected back.
    kept_for: Vec<Vec<InstanceId>>,
    /// How many each member has.
    pub(super) load: Vec<u64>,
    /// How many tasks of a member (as active) another one follows: by the first, then by the second.
    pairs: Vec<u64>,
}

/// The standbys of a task for now, and who shall become one.
#[derive(Debug, Default)]
pub(super) struct Followers {
    pub(super) standbys: Vec<usize>,
    /// Who has to catch up, and whose place it takes then.
    pub(super) awaited: Vec<(usize, usize)>,
    /// Who is expected back.
    pub(super) kept_for: Vec<InstanceId>,
}

/// For each task, who follows it now and who shall.
pub(super) fn standbys(facts: &Facts<'_>, actives: &[Active]) -> Vec<Followers> {
    let tasks = facts.tasks.len();
    let wanted = |task: &usize| facts.input.num_standby_replicas > 0 && facts.tasks[*task].stateful;
    let wanted: Vec<usize> = (0..tasks).filter(wanted).collect();
    let members = facts.members();
    let mut standbys = Standbys {
        facts,
        actives,
        members_of: vec![Vec::new(); tasks],
        kept_for: vec![Vec::new(); tasks],
        load: vec![0; members],
        pairs: vec![0; members * members],
    };
    wanted.iter().for_each(|task| standbys.keep(*task));
    let bounds = standbys.bounds(wanted.iter().map(|task| standbys.places(*task)).sum());
    wanted.iter().for_each(|task| standbys.fill(*task, &bounds));
    // Who is expected back brings places with it.
    if facts.input.expected.is_empty() {
        level(&mut standbys);
    }
    (0..tasks).map(|task| standbys.for_now(task)).collect()
}

// === impl Standbys ===

impl Standbys<'_, '_> {
    /// The member that has the active.
    pub(super) fn active(&self, task: usize) -> Option<usize> {
        self.actives[task].now
    }

    /// Whether a member could be given a standby of the task.
    pub(super) fn may_have(&self, task: usize, member: usize) -> bool {
        let can = self.facts.is_open(member) && !self.facts.tie(task, member).failed;
        can && self.active(task) != Some(member) && !self.members_of[task].contains(&member)
    }

    /// How many members of a member's zone have the task, without `except`. Who names no zone is alone in its own.
    pub(super) fn in_zone_of(&self, task: usize, member: usize, except: Option<usize>) -> usize {
        let Some(zone) = self.facts.zone(member) else { return 0 };
        let hosts = self.active(task).into_iter().chain(self.members_of[task].iter().copied());
        hosts.filter(|host| Some(*host) != except && self.facts.zone(*host) == Some(zone)).count()
    }

    /// How many tasks of the active's member a member would follow, by capacity, if it had this one too.
    pub(super) fn pair_load(&self, task: usize, member: usize) -> u64 {
        let pair = self.active(task).map_or(0, |active| self.pairs[active * self.facts.members() + member]);
        (pair + 1) * SCALE / self.facts.weights[member].max(1)
    }

    pub(super) fn add(&mut self, task: usize, member: usize) {
        self.members_of[task].push(member);
        self.count(task, member, 1);
    }

    /// Gives the place of a standby to another member.
    pub(super) fn replace(&mut self, task: usize, from: usize, to: usize) {
        let place = self.members_of[task].iter_mut().find(|member| **member == from);
        *place.expect("a standby gives its place away") = to;
        self.count(task, from, -1);
        self.count(task, to, 1);
    }

    /// Whose load the place is in the end: a follower that is to have the active changes places with who has it now.
    fn in_the_end(&self, task: usize, member: usize) -> usize {
        let Active { now, target, .. } = self.actives[task];
        if target == Some(member) { now.unwrap_or(member) } else { member }
    }

    fn count(&mut self, task: usize, member: usize, change: i64) {
        let member = self.in_the_end(task, member);
        // A silent member is not part of the balance.
        if !self.facts.is_open(member) {
            return;
        }
        self.load[member] = self.load[member].saturating_add_signed(change);
        if let Some(active) = self.active(task) {
            let pair = &mut self.pairs[active * self.facts.members() + member];
            *pair = pair.saturating_add_signed(change);
        }
    }

    /// How many standbys of the task open members have in the end.
    fn places(&self, task: usize) -> u64 {
        let Some(_) = self.active(task) else { return 0 };
        let silent = self.members_of[task].iter().filter(|member| !self.facts.is_open(**member)).count();
        let open = self.facts.fit(task).filter(|member| self.active(task) != Some(*member)).count();
        open.min(self.wanted(task) - silent) as u64
    }

    /// How many standbys the task has now, if there are members enough.
    fn wanted(&self, task: usize) -> usize {
        self.facts.input.num_standby_replicas - self.kept_for[task].len()
    }

    /// The most that each member should have of a number of standbys: its share by capacity, rounded up.
    fn bounds(&self, places: u64) -> Vec<u64> {
        let weight: u64 = self.facts.weights.iter().sum();
        self.facts.weights.iter().map(|share| (places * share).div_ceil(weight.max(1))).collect()
    }

    /// Keeps those of the last plan that are in as good a zone as any.
    fn keep(&mut self, task: usize) {
        let Some(active) = self.active(task) else { return };
        let previous: Vec<usize> = self.facts.previous_standbys(task).filter(|member| *member != active).collect();
        for member in previous {
            if self.members_of[task].len() == self.facts.input.num_standby_replicas {
                break;
            }
            let others = self.facts.fit(task).filter(|other| self.may_have(task, *other));
            let best = others.map(|other| self.in_zone_of(task, other, None)).min();
            let silent = !self.facts.is_open(member);
            if silent || best.is_none_or(|best| self.in_zone_of(task, member, None) <= best) {
                self.add(task, member);
            }
        }
        let free = self.facts.input.num_standby_replicas - self.members_of[task].len();
        self.kept_for[task] = expected_back(self.facts, task, active);
        self.kept_for[task].truncate(free);
    }

    /// Fills the places that are left.
    fn fill(&mut self, task: usize, bounds: &[u64]) {
        if self.active(task).is_none() {
            return;
        }
        while self.members_of[task].len() < self.wanted(task) {
            let preference = self.facts.fit(task).filter(|member| self.may_have(task, *member));
            let best = preference.min_by_key(|member| {
                let affinity = self.facts.affinity(task, *member);
                let full = self.load[*member] >= bounds[*member];
                let zone = self.in_zone_of(task, *member, None);
                (zone, !affinity.is_begun(), full, Reverse(affinity), self.pair_load(task, *member))
            });
            let Some(member) = best else { return };
            self.add(task, member);
        }
    }

    /// Who has caught up, or has more of the task, keeps its place until the one that shall have it has caught up; so does a member that had
    /// the active until now.
    fn for_now(&self, task: usize) -> Followers {
        let facts = self.facts;
        let shall = &self.members_of[task];
        let had_it = facts.tasks[task].assigned.filter(|member| facts.may_follow(task, *member));
        let (stays, goes): (Vec<_>, Vec<_>) = facts
            .previous_standbys(task)
            .chain(had_it)
            .filter(|member| self.active(task) != Some(*member))
            .partition(|member| shall.contains(member));
        let mut goes = goes;
        goes.sort_by_key(|member| Reverse((facts.tie(task, *member).caught_up, facts.affinity(task, *member))));
        let mut goes = goes.into_iter().peekable();
        let mut followers = Followers { kept_for: self.kept_for[task].clone(), ..Followers::default() };
        let mut begin = Vec::new();
        followers.standbys.clone_from(&stays);
        for member in shall.iter().copied().filter(|member| !stays.contains(member)) {
            let tie = facts.tie(task, member);
            let waits = !tie.caught_up && !tie.held && facts.input.warms_up();
            let is_better = |goes: &usize| {
                facts.tie(task, *goes).caught_up || facts.affinity(task, *goes) > facts.affinity(task, member)
            };
            match waits.then(|| goes.next_if(is_better)).flatten() {
                Some(goes) => {
                    followers.standbys.push(goes);
                    followers.awaited.push((member, goes));
                }
                None => begin.push(member),
            }
        }
        followers.standbys.extend(begin);
        followers
    }
}
