//! What the leader of a generation does: confirm, ask, fence, plan, publish, clean up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

mod absences;
mod fencing;
mod planning;

pub(super) use self::absences::Absences;
use self::fencing::Fencing;
use super::{Action, Coordinator};
use crate::{
    cluster::{
        metadata::{Assignment, HostMetadata, InstanceId},
        planner::PlanTask,
    },
    log::{Epoch, LogError, Member},
};

/// Leading one generation.
#[derive(Debug)]
pub(super) struct Leading {
    epoch: Epoch,
    since: Duration,
    members: Request<Vec<Member>>,
    topics: Request<Vec<PlanTask>>,
    /// When to look at the topics again: somebody may change them.
    recheck_topics: Duration,
    fencings: BTreeMap<InstanceId, Fencing>,
    /// The last assignment of this generation, and when it was published.
    published: Option<(Arc<Assignment>, Duration)>,
    needs_plan: bool,
    /// When the first of those is not expected any more that the last plan expects back.
    expects_until: Option<Duration>,
    /// Whose host metadata was taken from the topic.
    swept: BTreeSet<InstanceId>,
    /// Whose eviction was taken from the topic, by member id.
    swept_evictions: BTreeSet<Arc<str>>,
}

/// Something asked of the world.
#[derive(Debug)]
enum Request<T> {
    /// To be asked at this time: for the first time, or again, if there is no answer till then.
    Due(Duration),
    Answered(T),
}

// === impl Request ===

impl<T> Request<T> {
    /// Whether to ask now. Without an answer it is asked again after `patience`.
    fn ask(&mut self, now: Duration, patience: Duration) -> bool {
        let due = matches!(self, Self::Due(at) if *at <= now);
        if due {
            *self = Self::Due(now + patience);
        }
        due
    }

    fn answer(&self) -> Option<&T> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Due(_) => None,
        }
    }
}

// === impl Leading ===

impl Leading {
    pub(super) fn new(epoch: Epoch, now: Duration, recheck_topics: Duration) -> Self {
        Self {
            epoch,
            since: now,
            members: Request::Due(now),
            topics: Request::Due(now),
            recheck_topics,
            fencings: BTreeMap::new(),
            published: None,
            needs_plan: true,
            expects_until: None,
            swept: BTreeSet::new(),
            swept_evictions: BTreeSet::new(),
        }
    }

    fn is_member(&self, member_id: &str) -> bool {
        self.members.answer().is_some_and(|members| members.iter().any(|member| *member.member_id == *member_id))
    }
}

// === impl Coordinator: events of the leader ===

impl Coordinator {
    /// Whether the group counts it as a member, and nobody has evicted it.
    pub(super) fn is_alive(&self, leading: &Leading, member_id: &str) -> bool {
        leading.is_member(member_id) && !self.registry.evictions().any(|eviction| *eviction.member_id == *member_id)
    }

    /// The assignment in force is no longer the last on the topic: who starts now must find it.
    pub(super) fn assignment_usurped(&mut self) {
        let published = self.leading.as_ref().and_then(|leading| leading.published.as_ref());
        self.actions.extend(published.map(|(assignment, _)| Action::PublishAssignment(assignment.clone())));
    }

    pub(super) fn apply_members(&mut self, now: Duration, generation: i32, result: Result<Vec<Member>, LogError>) {
        let retry_at = now + self.settings.retry_interval;
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.epoch.generation == generation) else {
            return;
        };
        leading.needs_plan = true;
        leading.members = match result {
            Ok(members) => Request::Answered(members),
            Err(error) => {
                tracing::warn!(%error, "cannot ask for the members of the group");
                Request::Due(retry_at)
            }
        };
    }

    pub(super) fn apply_topics(&mut self, now: Duration, generation: i32, result: Result<Vec<PlanTask>, LogError>) {
        let retry_at = now + self.settings.retry_interval;
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.epoch.generation == generation) else {
            return;
        };
        match result {
            Ok(tasks) if leading.topics.answer() == Some(&tasks) => {}
            Ok(tasks) => {
                leading.needs_plan = true;
                leading.topics = Request::Answered(tasks);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot check the topics");
                if leading.topics.answer().is_none() {
                    leading.topics = Request::Due(retry_at);
                }
            }
        }
    }

    /// Something that the plan depends on is new in a host's metadata.
    pub(super) fn host_changed(&mut self, host: &HostMetadata) {
        let Some(leading) = &mut self.leading else { return };
        leading.needs_plan = true;
        let unknown = leading.members.answer().is_some() && !leading.is_member(&host.epoch.member_id);
        if host.epoch.generation == leading.epoch.generation && unknown {
            // It is a member of this generation, whatever the group said when it was asked.
            leading.members = Request::Due(Duration::ZERO);
        }
    }

    /// There is a new highest assignment: one's own, as a rule.
    pub(super) fn assignment_changed(&mut self, assignment: &Assignment) {
        let Some(leading) = &mut self.leading else { return };
        if leading.published.as_ref().is_some_and(|(published, _)| published.order() == assignment.order()) {
            return;
        }
        leading.needs_plan = true;
        if assignment.generation > leading.epoch.generation {
            // Somebody leads a later generation, or the group began to count anew: only the group knows.
            leading.members = Request::Due(Duration::ZERO);
        }
    }

    pub(super) fn replan(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.needs_plan = true;
        }
    }
}

// === impl Coordinator: leading ===

impl Coordinator {
    /// Does what the leader can do now.
    pub(super) fn lead(&mut self, now: Duration) {
        let Some(mut leading) = self.leading.take() else { return };
        let patience = self.settings.answer_deadline;
        if leading.members.ask(now, patience) {
            self.actions.push(Action::QueryMembers { generation: leading.epoch.generation });
        }
        let again = leading.topics.answer().is_some() && now >= leading.recheck_topics;
        if again {
            leading.recheck_topics = now + self.settings.topics_interval;
        }
        if again || leading.topics.ask(now, patience) {
            self.actions.push(Action::CheckTopics { generation: leading.epoch.generation });
        }
        self.publish_again(&mut leading, now);
        self.confirm(&mut leading, now);
        leading.needs_plan |= leading.expects_until.is_some_and(|until| now >= until);
        let planned = if leading.needs_plan { self.plan(&mut leading, now) } else { Ok(()) };
        self.sweep(&mut leading);
        self.leading = Some(leading);
        if let Err(error) = planned {
            self.halt(error);
        }
    }

    /// Lets tasks go on committing at once: the placement in force holds in the new generation too, until there is a new one.
    /// It is provisional, because an old leader's last assignment may still arrive after it was published, and somebody may
    /// have followed that.
    ///
    /// This instance's own record of the new generation was read back, so every assignment that was published before it is known.
    fn confirm(&mut self, leading: &mut Leading, now: Duration) {
        let reported = self.registry.host(&self.identity.instance_id).is_some_and(|me| me.epoch == leading.epoch);
        let Some(last) = self.registry.assignment() else { return };
        let continued = last.generation < leading.epoch.generation
            && last.topology_fingerprint == self.identity.topology_fingerprint
            // After a stop of all there is nothing to go on with, and what was assigned last may never have been carried out.
            && self.registry.hosts().any(|host| host.held().next().is_some());
        if leading.published.is_some() || !reported || !continued {
            return;
        }
        let confirmed = Assignment {
            generation: leading.epoch.generation,
            version: 1,
            provisional: true,
            leader: self.identity.instance_id.clone(),
            leader_member_id: Some(leading.epoch.member_id.clone()),
            ..Assignment::clone(last)
        };
        self.publish_assignment(leading, now, confirmed);
    }

    fn publish_assignment(&mut self, leading: &mut Leading, now: Duration, assignment: Assignment) {
        let unplaced = assignment.tasks.values().filter(|placement| placement.active.is_none()).count();
        let (members, tasks) = (assignment.members.len(), assignment.tasks.len());
        tracing::info!(order = %assignment.order(), members, tasks, unplaced, "assignment published");
        let assignment = Arc::new(assignment);
        self.actions.push(Action::PublishAssignment(assignment.clone()));
        leading.published = Some((assignment, now));
    }

    /// What was not read back from the topic after a while did not get there.
    fn publish_again(&mut self, leading: &mut Leading, now: Duration) {
        let Some((published, at)) = &mut leading.published else { return };
        let arrived = self.registry.assignment().is_some_and(|known| known.order() >= published.order());
        if !arrived && now >= *at + self.settings.retry_interval {
            *at = now;
            self.actions.push(Action::PublishAssignment(published.clone()));
        }
    }

    /// Takes host metadata of members that are gone from the topic, when the assignment that says so has arrived there.
    fn sweep(&mut self, leading: &mut Leading) {
        let Some((published, _)) = &leading.published else { return };
        let arrived = self.registry.assignment().is_some_and(|known| known.order() == published.order());
        if leading.needs_plan || !arrived {
            return;
        }
        for host in self.registry.hosts() {
            let gone = !published.members.contains_key(&host.instance_id)
                && host.epoch.generation <= published.generation
                && !self.is_alive(leading, &host.epoch.member_id);
            if gone && leading.swept.insert(host.instance_id.clone()) {
                self.actions.push(Action::PublishTombstone { instance_id: host.instance_id.clone() });
            }
        }
        for eviction in self.registry.evictions() {
            // The group knows that it is over, too.
            let is_over = eviction.generation < published.generation && !leading.is_member(&eviction.member_id);
            if is_over && leading.swept_evictions.insert(eviction.member_id.clone()) {
                let instance_id = eviction.instance_id.clone();
                self.actions.push(Action::PublishEvictionTombstone { instance_id });
            }
        }
    }
}
