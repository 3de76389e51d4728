//! Places of standbys that are kept for members that left.
//!
//! A member that is restarted has its state on its disk, so nobody else reads a changelog from its beginning in the meantime: not
//! to follow a task in its place, and not to level the load that it left. What is urgent is done all the same: a task that nobody has
//! is processed at once, and what a draining member has goes to somebody. As long as a place is kept, a task has one copy less.

use super::{PlanMember, actives::Active, facts::Facts, homes::Place};
use crate::cluster::metadata::InstanceId;

/// Who is expected back as a standby of a task, beside the member that has the active: those that had a copy of it.
pub(super) fn expected_back(facts: &Facts<'_>, task: usize, active: usize) -> Vec<InstanceId> {
    let Some(previous) = facts.tasks[task].previous else { return Vec::new() };
    let mut expected = Vec::new();
    for instance in previous.kept_for.iter().chain(&previous.standbys).chain(&previous.active) {
        let is_there = facts.input.members.get(instance).is_some_and(PlanMember::stays);
        let waits = facts.input.expected.contains(instance) && !is_there && facts.id(active) != instance;
        if waits && !expected.contains(instance) {
            expected.push(instance.clone());
        }
    }
    expected
}

/// Where the active is, goes back to, or has most of its state, whatever the load: that is levelled when it is known who is there.
pub(super) fn stays(facts: &Facts<'_>, task: usize, place: Place) -> Option<usize> {
    let is_levelled = facts.input.expected.is_empty() || !facts.tasks[task].stateful;
    if is_levelled { None } else { place.home(facts, task) }
}

/// For whom the active of a task is elsewhere, as long as it is expected back, and then until it has the task.
pub(super) fn stands_in_for(facts: &Facts<'_>, task: usize, active: &Active) -> Option<InstanceId> {
    let previous = facts.tasks[task].previous?;
    let now = facts.id(active.now?);
    let is_back = |instance: &InstanceId| active.awaited().is_some_and(|member| facts.id(member) == instance);
    let is_awaited = |instance: &InstanceId| facts.input.expected.contains(instance) || is_back(instance);
    if previous.stands_in_for.as_ref() == Some(now) {
        return None;
    }
    let stood_in_for = previous.stands_in_for.iter().filter(|instance| is_awaited(instance));
    let left = previous.active.iter().filter(|instance| facts.input.expected.contains(*instance));
    stood_in_for.chain(left).find(|instance| *instance != now).cloned()
}

/// The member that another one stands in for, when it is back. Without warm-ups a task would move before it has caught up, so
/// that the other one has more of it: it stays there.
pub(super) fn returned(facts: &Facts<'_>, task: usize) -> Option<usize> {
    let before = facts.tasks[task].previous?.stands_in_for.as_ref().filter(|_| facts.input.warms_up())?;
    facts.index(before).filter(|member| facts.is_open(*member) && !facts.tie(task, *member).failed)
}

/// Whether a copy of the task may be begun at a member that has nothing of it.
pub(super) fn may_begin(facts: &Facts<'_>, task: usize, member: usize) -> bool {
    facts.input.expected.is_empty() || facts.affinity(task, member).is_any()
}
