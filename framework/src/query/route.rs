//! Who answers a lookup: a pure decision over what this instance knows at one moment.

use super::{Consistency, ServedAs};

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
    /// Whether that task's rows here may pass for those of a standby: it follows, or did until a moment ago.
    pub(super) follows: bool,
    /// Whether another instance forwarded the lookup to this one.
    pub(super) forwarded: bool,
}

/// Where an answer may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// From this instance.
    Here(ServedAs),
    /// From another one.
    There(Host<'a>, ServedAs),
}

/// The ways to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ways<'a> {
    /// Best first.
    pub(super) ways: Vec<Way<'a>>,
    /// Why the owner gives none, if it does not.
    pub(super) without: Option<Without>,
}

/// Why there is no owner to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    /// This instance will be it, when its task has been restored.
    Restoring,
    /// Nobody is, at the moment.
    NoLiveOwner,
    /// Somebody else is, and the lookup was forwarded already.
    Refuse,
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

/// All ways to an answer that the consistency allows: the owner's state, and the copies of those who follow it and have caught up.
pub(super) fn ways<'a>(facts: &Facts<'a>, consistency: Consistency) -> Ways<'a> {
    let (owner, without) = match route(facts) {
        Decision::Answer => (Some(Way::Here(ServedAs::Active)), None),
        Decision::Forward(host) => (Some(Way::There(host, ServedAs::Active)), None),
        Decision::Restoring => (None, Some(Without::Restoring)),
        Decision::NoLiveOwner => (None, Some(Without::NoLiveOwner)),
        Decision::Refuse => (None, Some(Without::Refuse)),
    };
    let copies = || {
        let here = facts.follows.then_some(Way::Here(ServedAs::Standby));
        here.into_iter().chain(followers(facts))
    };
    let ways = match consistency {
        Consistency::Active => owner.into_iter().collect(),
        Consistency::Any => owner.into_iter().chain(copies()).collect(),
        Consistency::Standby => copies().chain(owner).collect(),
    };
    Ways { ways, without }
}

/// The other instances that follow the task and have caught up.
fn followers<'a>(facts: &Facts<'a>) -> impl Iterator<Item = Way<'a>> {
    let Facts { task, view, this_instance, forwarded, .. } = *facts;
    let followers = view.tasks.get(&task).filter(|_| !forwarded).into_iter().flat_map(|task| &task.followers);
    let others = followers.filter(move |(id, state)| *state == TaskState::Running && **id != *this_instance);
    others.filter_map(|(id, _)| {
        let (instance, url) = (&**id, view.url(id)?);
        Some(Way::There(Host { instance, url }, ServedAs::Standby))
    })
}
