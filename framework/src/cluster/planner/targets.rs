//! Where every active belongs in the end: at home, as far as the load is level.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    facts::Facts,
    homes::Place,
    quota::{Demand, quotas},
};

/// A task that is placed under the balance.
struct Candidate {
    task: usize,
    home: Option<usize>,
}

/// Places the tasks of one sub-topology after the other.
struct Balance<'f, 'a> {
    facts: &'f Facts<'a>,
    targets: Vec<Option<usize>>,
}

/// For each task, the member that shall have it in the end; `None` if there is nobody.
///
/// A task that failed somewhere is kept away from there and is left out of the balance, so that one broken task never
/// moves healthy ones. When it failed everywhere it stays and is tried again there.
pub(super) fn targets(facts: &Facts<'_>, places: &[Place]) -> Vec<Option<usize>> {
    let mut balance = Balance { facts, targets: vec![None; facts.tasks.len()] };
    let mut by_sub_topology = BTreeMap::<u32, Vec<Candidate>>::new();
    let nobody_is_open = facts.open().next().is_none();
    for (task, place) in places.iter().enumerate() {
        match place {
            Place::Silent(member) => balance.targets[task] = Some(*member),
            Place::Leaving(member) if nobody_is_open => balance.targets[task] = Some(*member),
            _ if nobody_is_open => {}
            _ if facts.open().any(|member| facts.tie(task, member).failed) => {
                balance.targets[task] = Some(troubled(facts, task, *place));
            }
            place => {
                let home = place.home(facts, task);
                let sub_topology = facts.tasks[task].task.sub_topology;
                by_sub_topology.entry(sub_topology).or_default().push(Candidate { task, home });
            }
        }
    }
    balance.place(by_sub_topology.into_values().collect());
    balance.targets
}

/// Of a task that failed somewhere. There is an open member.
fn troubled(facts: &Facts<'_>, task: usize, place: Place) -> usize {
    let facts_of_task = &facts.tasks[task];
    let stays = || facts_of_task.assigned.filter(|member| facts.is_open(*member));
    let target = place.home(facts, task).or_else(|| facts.fit(task).next()).or_else(stays);
    target.unwrap_or(facts_of_task.preference[0])
}

// === impl Candidate ===

impl Candidate {
    /// Whether somebody else than its home follows it already.
    fn is_followed_by(&self, facts: &Facts<'_>, member: usize) -> bool {
        self.home != Some(member) && facts.affinity(self.task, member).is_begun()
    }
}

// === impl Balance ===

impl Balance<'_, '_> {
    fn place(&mut self, sub_topologies: Vec<Vec<Candidate>>) {
        let members = self.facts.members();
        let demands: Vec<Demand> = sub_topologies
            .iter()
            .map(|tasks| {
                let mut at_home = vec![0; members];
                tasks.iter().filter_map(|task| task.home).for_each(|home| at_home[home] += 1);
                let followed =
                    |member| tasks.iter().filter(|task| task.is_followed_by(self.facts, member)).count() as u64;
                Demand { tasks: tasks.len() as u64, at_home, following: (0..members).map(followed).collect() }
            })
            .collect();
        let quotas = quotas(&self.facts.weights, &demands);
        for ((tasks, demand), quota) in sub_topologies.into_iter().zip(demands).zip(quotas) {
            self.place_sub_topology(tasks, &demand.at_home, &quota);
        }
    }

    /// The tasks of one sub-topology, when it is known how many each member gets.
    fn place_sub_topology(&mut self, tasks: Vec<Candidate>, at_home: &[u64], quota: &[u64]) {
        let facts = self.facts;
        let mut surplus: Vec<u64> = at_home.iter().zip(quota).map(|(have, may)| have.saturating_sub(*may)).collect();
        let mut room: Vec<u64> = quota.iter().zip(at_home).map(|(may, have)| may.saturating_sub(*have)).collect();
        let receivers: Vec<usize> = (0..room.len()).filter(|member| room[*member] > 0).collect();
        let nearest = |task| receivers.iter().map(|member| facts.affinity(task, *member)).max();
        let (mut housed, mut homeless): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.home.is_some());

        // Where too many are at home, those go that others follow or have state of, then those that the ring wants elsewhere.
        housed.sort_by_cached_key(|candidate| {
            let preference = &facts.tasks[candidate.task].preference;
            let rank = preference.iter().position(|member| Some(*member) == candidate.home);
            Reverse((nearest(candidate.task), rank, candidate.task))
        });
        for candidate in housed {
            let Some(home) = candidate.home else { continue };
            if surplus[home] > 0 {
                surplus[home] -= 1;
                homeless.push(candidate);
            } else {
                self.targets[candidate.task] = Some(home);
            }
        }

        // Those choose first that somebody has most of.
        homeless.sort_by_cached_key(|candidate| (Reverse(nearest(candidate.task)), candidate.task));
        for Candidate { task, .. } in homeless {
            let with_room = facts.tasks[task].preference.iter().copied().filter(|member| room[*member] > 0);
            let member = with_room
                .rev()
                .max_by_key(|member| facts.affinity(task, *member))
                .expect("the quotas of a sub-topology add up to its tasks");
            room[member] -= 1;
            self.targets[task] = Some(member);
        }
    }
}
