//! Even numbers of standbys.
//!
//! Where a member has many for its capacity, one of its places goes to a member that has few; if none of its tasks may go there,
//! then along the shortest chain of members that does: each takes a place from the one before and gives one to the next. Every chain makes
//! the sum of `load² / capacity` less, so it ends, and where it ends is as level as zones and actives allow.

use std::{
    cmp::{Ordering, Reverse},
    collections::VecDeque,
};

use super::standbys::Standbys;

/// How many standbys could go from one member to another, for every two of them.
struct Ways {
    members: usize,
    count: Vec<usize>,
}

/// A place of a standby changes hands.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: usize,
    to: usize,
}

/// Moves standbys until no move makes their numbers more even.
pub(super) fn level(standbys: &mut Standbys<'_, '_>) {
    let mut ways = Ways::of(standbys);
    while let Some(chain) = next_chain(standbys, &ways) {
        for Step { from, to } in chain {
            let tasks = (0..standbys.members_of.len()).filter(|task| may_move(standbys, *task, from, to));
            let Some(task) = tasks.max_by_key(|task| worth(standbys, *task, from, to)) else {
                // It went with an earlier step of the same chain.
                return;
            };
            ways.forget(standbys, task);
            standbys.replace(task, from, to);
            ways.add(standbys, task);
        }
    }
}

/// The shortest chain from the member that has most for its capacity, among those from which one leads to a member that has
/// less, to the one that has least.
fn next_chain(standbys: &Standbys<'_, '_>, ways: &Ways) -> Option<Vec<Step>> {
    let mut sources: Vec<usize> = standbys.facts.open().filter(|member| standbys.load[*member] > 0).collect();
    sources.sort_by(|a, b| by_load(standbys, *b, 0, *a, 0));
    sources.into_iter().find_map(|source| {
        let evens = |sink: usize| by_load(standbys, source, -1, sink, 1) == Ordering::Greater;
        if !standbys.facts.open().any(evens) {
            return None;
        }
        let reached_from = ways.reach(source);
        let reached = standbys.facts.open().filter(|sink| reached_from[*sink].is_some() && evens(*sink));
        let sink = reached.min_by(|a, b| by_load(standbys, *a, 1, *b, 1))?;
        let mut chain = Vec::new();
        let mut to = sink;
        while to != source {
            let from = reached_from[to]?;
            chain.push(Step { from, to });
            to = from;
        }
        Some(chain)
    })
}

/// Compares `(2 * load + change) / capacity` of two members: what the sum of `load² / capacity` gains by one more (1) or loses by one less (-1).
fn by_load(standbys: &Standbys<'_, '_>, a: usize, change_a: i64, b: usize, change_b: i64) -> Ordering {
    let twice = |member: usize, change: i64| (2 * standbys.load[member]).saturating_add_signed(change);
    let weights = &standbys.facts.weights;
    (twice(a, change_a) * weights[b]).cmp(&(twice(b, change_b) * weights[a]))
}

/// Whether a standby may move: not to or from where the active is or shall be, and not to a worse zone.
fn may_move(standbys: &Standbys<'_, '_>, task: usize, from: usize, to: usize) -> bool {
    standbys.members_of[task].contains(&from)
        && standbys.may_have(task, to)
        && ![Some(from), Some(to)].contains(&standbys.actives[task].awaited())
        && standbys.in_zone_of(task, to, Some(from)) <= standbys.in_zone_of(task, from, Some(from))
}

/// What is best to be moved: what is near the state there, then what evens out whose tasks are followed where. The greater, the better.
fn worth(standbys: &Standbys<'_, '_>, task: usize, from: usize, to: usize) -> impl Ord + use<> {
    let affinity = standbys.facts.affinity(task, to);
    (affinity, standbys.pair_load(task, from), Reverse(standbys.pair_load(task, to)), Reverse(task))
}

// === impl Ways ===

impl Ways {
    fn of(standbys: &Standbys<'_, '_>) -> Self {
        let members = standbys.facts.members();
        let mut ways = Self { members, count: vec![0; members * members] };
        (0..standbys.members_of.len()).for_each(|task| ways.add(standbys, task));
        ways
    }

    fn add(&mut self, standbys: &Standbys<'_, '_>, task: usize) {
        for way in self.ways_of(standbys, task) {
            self.count[way] += 1;
        }
    }

    fn forget(&mut self, standbys: &Standbys<'_, '_>, task: usize) {
        for way in self.ways_of(standbys, task) {
            self.count[way] -= 1;
        }
    }

    fn ways_of(&self, standbys: &Standbys<'_, '_>, task: usize) -> Vec<usize> {
        let hosts = standbys.members_of[task].iter().filter(|host| standbys.facts.is_open(**host));
        let to = |from: usize| standbys.facts.open().filter(move |to| may_move(standbys, task, from, *to));
        hosts.flat_map(|from| to(*from).map(|to| *from * self.members + to)).collect()
    }

    /// For each member that is reached from `source`, the one before it on the shortest chain.
    fn reach(&self, source: usize) -> Vec<Option<usize>> {
        let mut reached_from = vec![None; self.members];
        let mut queue = VecDeque::from([source]);
        while let Some(from) = queue.pop_front() {
            for to in (0..self.members).filter(|to| self.count[from * self.members + to] > 0) {
                if to != source && reached_from[to].is_none() {
                    reached_from[to] = Some(from);
                    queue.push_back(to);
                }
            }
        }
        reached_from
    }
}
