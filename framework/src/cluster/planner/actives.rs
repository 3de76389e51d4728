//! Where every active is for now: state decides before the balance.
//!
//! An active stays where it is until the member that it belongs to has caught up. Only if nobody has it, or whoever has it
//! is to be emptied, another follower that has caught up goes first.

use super::{facts::Facts, homes::Place, kept::stays};
use crate::cluster::metadata::Reason;

/// Where an active is and where it shall be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    /// Where it was found.
    pub(super) place: Place,
    /// Who processes it now.
    pub(super) now: Option<usize>,
    /// Who shall in the end.
    pub(super) target: Option<usize>,
    /// Why `now`.
    pub(super) reason: Reason,
}

// === impl Active ===

impl Active {
    pub(super) fn new(facts: &Facts<'_>, task: usize, place: Place, target: Option<usize>) -> Self {
        let target = stays(facts, task, place).or(target);
        let now = target.map(|target| now(facts, task, place, target));
        Self { place, now, target, reason: reason(facts, task, place, now) }
    }

    /// The member that has to catch up before the active moves there.
    pub(super) fn awaited(&self) -> Option<usize> {
        self.target.filter(|_| self.now != self.target)
    }

    /// Whether its place can wait no longer than it must.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self.place, Place::Leaving(member) if self.now == Some(member))
    }
}

fn now(facts: &Facts<'_>, task: usize, place: Place, target: usize) -> usize {
    let may_move_at_once = !facts.tasks[task].stateful || !facts.input.warms_up();
    if may_move_at_once || facts.tie(task, target).caught_up {
        return target;
    }
    // Along the ring, the first of the best.
    let best = |fit: &dyn Fn(usize) -> bool| {
        let some = facts.fit(task).filter(|member| fit(*member));
        some.rev().max_by_key(|member| facts.affinity(task, *member))
    };
    let caught_up = || best(&|member| facts.tie(task, member).caught_up);
    match place {
        Place::Silent(member) | Place::Open(member) => member,
        Place::Leaving(member) => caught_up().unwrap_or(member),
        Place::Nowhere => {
            let state_of_target = facts.tie(task, target).state;
            caught_up().or_else(|| best(&|member| facts.tie(task, member).state > state_of_target)).unwrap_or(target)
        }
    }
}

/// As long as a task stays, so does the reason.
fn reason(facts: &Facts<'_>, task: usize, place: Place, now: Option<usize>) -> Reason {
    let Some(now) = now else { return Reason::NoMember };
    let facts_of_task = &facts.tasks[task];
    let (assigned, tie) = (facts_of_task.assigned, facts.tie(task, now));
    match place {
        _ if assigned == Some(now) => facts_of_task.previous.map_or(Reason::State, |previous| previous.reason),
        _ if assigned.is_some_and(|member| facts.tie(task, member).failed) => Reason::Failure,
        Place::Open(member) | Place::Silent(member) if member != now => Reason::Balance,
        Place::Leaving(member) if member != now => Reason::Drain,
        Place::Nowhere if tie.caught_up => Reason::Failover,
        _ if tie.affinity().is_any() => Reason::State,
        Place::Nowhere if place.home(facts, task).is_some() => Reason::Balance,
        _ => Reason::Ring,
    }
}
