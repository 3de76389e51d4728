//! Who follows a task because it shall move there: as few at once as was asked for.

use std::cmp::Reverse;

use super::{
    actives::Active,
    facts::{Affinity, Facts},
    kept::may_begin,
    standbys::Followers,
};

/// A place that waits for a member to catch up. In the order in which they are granted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// What was begun is finished first.
    is_new: bool,
    kind: Kind,
    nearest: Reverse<Affinity>,
    task: usize,
    member: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Active,
    Standby,
}

/// For each task, the members that warm up for it.
///
/// Who is a standby already needs no warm-up. Nor is it counted when a member that is to be emptied has nobody to give a task
/// to: it does not wait for ever.
pub(super) fn warm_ups(facts: &Facts<'_>, actives: &[Active], followers: &[Followers]) -> Vec<Vec<usize>> {
    let mut warm_ups = vec![Vec::new(); actives.len()];
    let mut wishes = Vec::new();
    for (task, (active, followers)) in actives.iter().zip(followers).enumerate() {
        let mut wish = |kind, member| {
            if followers.standbys.contains(&member) || active.now == Some(member) || !may_begin(facts, task, member) {
                return;
            }
            let previous = facts.tasks[task].previous;
            let is_new = !previous.is_some_and(|previous| previous.warm_ups.contains(facts.id(member)));
            wishes.push(Wish { is_new, kind, nearest: Reverse(facts.affinity(task, member)), task, member });
        };
        match active.awaited() {
            Some(member) if active.is_urgent() && !followers.standbys.contains(&member) => warm_ups[task].push(member),
            Some(member) => wish(Kind::Active, member),
            None => {}
        }
        followers.awaited.iter().for_each(|(member, _)| wish(Kind::Standby, *member));
    }
    wishes.sort_unstable();
    let mut left = facts.input.max_warmup_replicas;
    for Wish { task, member, .. } in wishes {
        if left == 0 {
            break;
        }
        if !warm_ups[task].contains(&member) {
            warm_ups[task].push(member);
            left -= 1;
        }
    }
    warm_ups
}
