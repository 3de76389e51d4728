//! Why a plan is as it is, in sentences for people.

use std::collections::BTreeMap;

use super::{Draft, PlanInput, homes::Place, kept::may_begin};
use crate::{
    cluster::metadata::{InstanceId, Reason, TaskPlacement},
    state::TaskId,
};

/// Why a task is placed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where the plan has it.
    pub placement: TaskPlacement,
    /// Who shall process it in the end: somebody else than `placement.active` while that one has to catch up.
    pub target: Option<InstanceId>,
    /// Why `placement.active` has it.
    pub active: String,
    /// Why the others follow it, or do not yet.
    pub followers: Vec<(InstanceId, String)>,
}

/// Plans as [`plan`](super::plan) does, and says why for every task.
#[must_use]
pub fn explain(input: &PlanInput) -> BTreeMap<TaskId, Explanation> {
    let draft = Draft::new(input);
    let explanation = |task| Explanation {
        placement: draft.placement(task),
        target: draft.actives[task].target.map(|member| draft.facts.id(member).clone()),
        active: draft.why_active(task),
        followers: draft.why_followers(task),
    };
    (0..draft.facts.tasks.len()).map(|task| (draft.facts.tasks[task].task, explanation(task))).collect()
}

// === impl Draft ===

impl Draft<'_> {
    fn why_active(&self, task: usize) -> String {
        let active = self.actives[task];
        let Some(now) = active.now else { return "there is no member that can take it".to_owned() };
        let id = |member: usize| self.facts.id(member);
        let here = match active.place {
            Place::Silent(_) => "has it and was not heard of in this generation: only it can give it up".to_owned(),
            Place::Open(_) if active.reason == Reason::Failure => "goes on with it: it failed elsewhere".to_owned(),
            Place::Open(member) if member == now => "has it".to_owned(),
            Place::Open(member) => {
                format!("takes it from {}, {}, to level the load", id(member), self.readiness(task, now))
            }
            Place::Leaving(member) if member == now => "is to be emptied, and nobody else has caught up".to_owned(),
            Place::Leaving(member) => {
                format!("takes it from {}, which is to be emptied, {}", id(member), self.readiness(task, now))
            }
            Place::Nowhere => self.why_taken(task, now),
        };
        let later = match active.awaited() {
            Some(target) if active.place == Place::Leaving(now) => {
                format!("; {} takes it when it has caught up", id(target))
            }
            Some(target) => format!("; {} takes it when it has caught up, to level the load", id(target)),
            None => String::new(),
        };
        format!("{} {here}{later}", id(now))
    }

    /// Nobody has the task.
    fn why_taken(&self, task: usize, now: usize) -> String {
        let facts_of_task = &self.facts.tasks[task];
        let tie = self.facts.tie(task, now);
        let before = facts_of_task.previous.and_then(|previous| previous.active.as_ref());
        let gone = match (before, facts_of_task.assigned) {
            (Some(before), None) => format!(", as {before} is gone"),
            (Some(before), Some(member)) if self.facts.tie(task, member).failed => {
                format!(", as it failed on {before}")
            }
            _ => String::new(),
        };
        if tie.failed {
            return "tries it again: it failed on every member".to_owned();
        }
        if tie.caught_up && facts_of_task.stateful {
            return format!("takes it over{gone}: it follows it and has caught up");
        }
        let why = match self.actives[task].reason {
            Reason::State | Reason::Failover => "it has most of the state that is left",
            Reason::Balance => "who has state of it has enough tasks",
            _ if !facts_of_task.stateful => "the ring decides; it has no state",
            _ => "the ring decides; nobody has state of it",
        };
        format!("takes it{gone}: {why}")
    }

    fn readiness(&self, task: usize, member: usize) -> &'static str {
        match self.facts.tie(task, member) {
            _ if !self.facts.tasks[task].stateful => "at once, as it has no state",
            tie if tie.caught_up => "as it has caught up",
            _ => "and restores it",
        }
    }

    fn why_followers(&self, task: usize) -> Vec<(InstanceId, String)> {
        let followers = &self.followers[task];
        let mut why = Vec::new();
        for standby in &followers.standbys {
            let waits_for = followers.awaited.iter().find(|(_, goes)| goes == standby).map(|(comes, _)| *comes);
            why.push((*standby, self.why_standby(task, *standby, waits_for)));
        }
        let active = self.actives[task].awaited().map(|member| (member, "shall have the active".to_owned()));
        let place =
            |(member, goes): &(usize, usize)| (*member, format!("shall have the place of {}", self.facts.id(*goes)));
        for (member, why_it) in active.into_iter().chain(followers.awaited.iter().map(place)) {
            if followers.standbys.contains(&member) {
                continue;
            }
            why.push(match self.warm_ups[task].contains(&member) {
                true => (member, format!("warms up: it {why_it}")),
                false if !may_begin(&self.facts, task, member) => {
                    (member, format!("{why_it}, but waits for those that are expected back"))
                }
                false => (
                    member,
                    format!(
                        "{why_it}, but has to wait: not more than {} warm up at once",
                        self.facts.input.max_warmup_replicas
                    ),
                ),
            });
        }
        let kept = followers.kept_for.iter().map(|id| (id.clone(), "is expected back: its place is kept".into()));
        why.into_iter().map(|(member, why)| (self.facts.id(member).clone(), why)).chain(kept).collect()
    }

    fn why_standby(&self, task: usize, member: usize, waits_for: Option<usize>) -> String {
        let tie = self.facts.tie(task, member);
        let apart = match (self.facts.zone(member), self.actives[task].now.and_then(|active| self.facts.zone(active))) {
            (Some(zone), Some(other)) if zone != other => format!(", in another zone ({zone})"),
            (Some(zone), Some(_)) => format!(", in the same zone ({zone})"),
            _ => String::new(),
        };
        if let Some(comes) = waits_for {
            return format!("keeps its place until {} has caught up", self.facts.id(comes));
        }
        let why = match tie {
            tie if tie.held => "had it until now, and has all of its state",
            tie if tie.follows && tie.caught_up => "follows it and has caught up",
            tie if tie.follows => "follows it",
            tie if tie.state.is_some() => "has state of it",
            _ => "has room",
        };
        format!("{why}{apart}")
    }
}
