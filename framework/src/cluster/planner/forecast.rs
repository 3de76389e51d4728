//! What comes of a plan: the plans that would follow it if everybody did as it says.

use std::collections::BTreeMap;

use super::{Placements, PlanInput, plan};
use crate::cluster::metadata::Role;

/// The plans from now to the one that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The next plan first; each of the others is made when everyone has followed the one before and has caught up. The last
    /// one stays as it is.
    pub plans: Vec<Placements>,
}

/// Plans again and again, as the leader would: each time when everyone has what the plan before gave them, and has caught up.
///
/// # Panics
///
/// If the plans do not come to an end; they do for every input.
#[must_use]
pub fn forecast(input: &PlanInput) -> Forecast {
    let mut input = input.clone();
    let mut plans: Vec<Placements> = Vec::new();
    // Every plan but the last moves at least one replica.
    let replicas = input.tasks.len() * (1 + input.num_standby_replicas);
    for _ in 0..=2 * replicas + 2 {
        let next = plan(&input);
        if plans.last() == Some(&next) {
            return Forecast { plans };
        }
        input.carry_out(&next);
        plans.push(next);
    }
    panic!("a plan moves replicas for ever: {input:?}")
}

// === impl PlanInput ===

impl PlanInput {
    /// Makes it say that everyone has what a plan gave them, and has caught up.
    pub fn carry_out(&mut self, placements: &Placements) {
        for (instance_id, member) in &mut self.members {
            member.held.clear();
            member.caught_up.clear();
            for planned in &self.tasks {
                let placement = placements.get(&planned.task);
                let Some(role) = placement.and_then(|placement| placement.role_of(instance_id)) else { continue };
                if role == Role::Active {
                    member.held.insert(planned.task);
                }
                if planned.stateful {
                    member.caught_up.insert(planned.task);
                }
            }
        }
        let mut most = BTreeMap::new();
        for (task, state) in self.members.values().flat_map(|member| &member.state) {
            let most = most.entry(*task).or_insert(*state);
            *most = (*most).max(*state);
        }
        for member in self.members.values_mut() {
            let caught_up = member.caught_up.iter().filter_map(|task| Some((*task, *most.get(task)?)));
            member.state.extend(caught_up);
        }
        self.previous.clone_from(placements);
    }
}
