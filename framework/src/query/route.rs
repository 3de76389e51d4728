//! Who answers a lookup: a pure decision over what this instance knows at one moment.

use crate::{
    cluster::{ClusterView, Role, TaskState},
    state::TaskId,
};

/// What is known when a lookup is routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The task that holds the key.
    pub(super) task: TaskId,
    /// That task on this instance, first hand: in what role and how far.
    pub(super) local: Option<(Role, TaskState)>,
    /// Who owns what, second hand: what the instances published.
    pub(super) view: &'a ClusterView,
    /// This instance's id.
    pub(super) this_instance: &'a str,
    /// Whether another instance forwarded the lookup to this one.
    pub(super) forwarded: bool,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// This instance, from its task.
    Answer,
    /// This instance will, when its task has been restored.
    Restoring,
    /// Another instance.
    Forward(Host<'a>),
    /// Nobody at the moment.
    NoLiveOwner,
    /// Somebody else, and the lookup was forwarded already.
    Refuse,
}

/// An instance that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// Its id.
    pub(super) instance: &'a str,
    /// Where its REST interface is reached.
    pub(super) url: &'a str,
}

/// Decides who answers.
///
/// What this instance knows first hand goes before the view, which is always a little old: an active task that can be
/// read here is the owner's state even while the view names the next owner already (who has not started: it waits for this one's
/// release). An instance that was voted out drops its tasks as soon as it learns of it; until then its view is as old
/// as its tasks.
pub(super) fn route<'a>(facts: &Facts<'a>) -> Decision<'a> {
    let (active_here, readable_here) = match facts.local {
        Some((Role::Active, TaskState::Running | TaskState::Releasing)) => (true, true),
        Some((Role::Active, TaskState::Claimed | TaskState::Restoring)) => (true, false),
        Some((Role::Active, TaskState::Failed) | (Role::Standby | Role::WarmUp, _)) | None => (false, false),
    };
    if readable_here {
        return Decision::Answer;
    }
    match facts.view.owner(facts.task) {
        Some((instance, _)) if **instance == *facts.this_instance => Decision::Restoring,
        // Also while the task is being restored here: the instance that gives it away may still answer.
        Some((instance, url)) if !facts.forwarded => Decision::Forward(Host { instance, url }),
        _ if active_here => Decision::Restoring,
        _ if facts.forwarded => Decision::Refuse,
        Some(_) | None => Decision::NoLiveOwner,
    }
}
