//! Where a task is now.

use super::{Acceptance, facts::Facts, kept::returned};

/// Where a task is, as far as the members say, and the last plan does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At a silent member: only that one can release it.
    Silent(usize),
    /// At an open member: it has the task, or was given it and can begin.
    Open(usize),
    /// At a member that is to be emptied, and still has it.
    Leaving(usize),
    /// Nobody has it.
    Nowhere,
}

// === impl Place ===

impl Place {
    pub(super) fn of(facts: &Facts<'_>, task: usize) -> Self {
        let assigned = facts.tasks[task].assigned;
        let holders = || (0..facts.members()).filter(|member| facts.tie(task, *member).held);
        match assigned {
            // Only a member that has not been heard of keeps what it was given, whatever else is known.
            Some(member) if facts.acceptance(member) == Acceptance::Keeps => return Self::Silent(member),
            Some(member) if facts.is_open(member) && can_begin(facts, task, member) => return Self::Open(member),
            _ => {}
        }
        let fit = |member: &usize| !facts.is_open(*member) || !facts.tie(task, *member).failed;
        match holders().find(fit) {
            Some(member) if facts.is_open(member) => Self::Open(member),
            Some(member) if facts.acceptance(member) == Acceptance::Keeps => Self::Silent(member),
            Some(member) => Self::Leaving(member),
            // It was given the task when there was nobody else, and may be about to take it.
            None => match assigned {
                Some(member) if facts.open().next().is_none() => Self::Leaving(member),
                _ => Self::Nowhere,
            },
        }
    }

    /// The open member that the task would best stay at, or go to: where it is, unless that one stands in for a member that is back; else where
    /// most of its state is.
    pub(super) fn home(self, facts: &Facts<'_>, task: usize) -> Option<usize> {
        match self {
            Self::Silent(_) => None,
            Self::Open(member) => Some(returned(facts, task).unwrap_or(member)),
            Self::Leaving(_) | Self::Nowhere => {
                let some = facts.fit(task).filter(|member| facts.affinity(task, *member).is_any());
                some.rev().max_by_key(|member| facts.affinity(task, *member))
            }
        }
    }
}

/// Whether an open member that was given a task has it, or is the best to have it. What was given may never have been
/// carried out: the cluster stopped, say, or the member came back without its disk.
fn can_begin(facts: &Facts<'_>, task: usize, member: usize) -> bool {
    let tie = facts.tie(task, member);
    if tie.failed {
        return false;
    }
    if !facts.tasks[task].stateful || tie.held || tie.caught_up {
        return true;
    }
    let others = (0..facts.members()).filter(|other| *other != member && !facts.tie(task, *other).failed);
    let mut better = others.filter(|other| {
        let other_tie = facts.tie(task, *other);
        let has_more = other_tie.state > tie.state || (other_tie.caught_up && tie.state.is_none());
        (other_tie.held && facts.input.warms_up()) || (has_more && facts.is_open(*other))
    });
    better.next().is_none()
}
