//! What the leader of a generation does: confirm, ask, fence, plan, publish, clean up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

mod absences;
mod fencing;

pub(super) use self::absences::Absences;
use self::fencing::Fencing;
use super::{Action, Coordinator, Settings};
use crate::{
    cluster::{
        error::ClusterError,
        metadata::{AssignedMember, Assignment, HostMetadata, InstanceId},
        planner::{Acceptance, PlanInput, PlanMember, PlanTask, plan},
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

/// The live members, as the group names them, with what they said of themselves.
type Live = BTreeMap<InstanceId, LiveMember>;

#[derive(Debug)]
struct LiveMember {
    member_id: Arc<str>,
    /// What it said under this member id.
    host: Option<Arc<HostMetadata>>,
    /// Whether it said so in this generation.
    reported: bool,
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
        let delay = self.settings.standby_replacement_delay;
        let last = self.last_assignment(&leading);
        leading.needs_plan |= last.is_some_and(|last| self.absences.are_over(now, delay, &last.tasks));
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

    /// Plans as soon as everything that a plan depends on is known, or the deadline for the members' reports has passed.
    fn plan(&mut self, leading: &mut Leading, now: Duration) -> Result<(), ClusterError> {
        let (Some(members), Some(tasks)) = (leading.members.answer(), leading.topics.answer()) else { return Ok(()) };
        if !self.is_alive(leading, &leading.epoch.member_id) {
            // An answer of another time: the group was forming, or this instance is out and will hear of it.
            leading.members = Request::Due(now + self.settings.retry_interval);
            return Ok(());
        }
        let Some(term) = self.term(leading).filter(|_| !self.is_over(leading)) else { return Ok(()) };
        let live = self.live(leading, members);
        // Its own record comes back after every assignment that was published before this generation.
        if !live.get(&self.identity.instance_id).is_some_and(|me| me.reported) {
            return Ok(());
        }
        let all_reported = live.values().all(|member| member.reported);
        if !all_reported && now < leading.since + self.settings.report_deadline {
            return Ok(());
        }
        let fingerprint = self.fingerprint_in_force(leading, &live)?;
        let tasks = tasks.clone();
        if !self.fence(leading, &live, now) {
            return Ok(());
        }
        if now < leading.since + self.settings.state_wait && self.lacks_state(leading, &live, &tasks) {
            return Ok(());
        }
        let input = self.plan_input(leading, &live, tasks, &fingerprint, now);
        leading.needs_plan = false;
        let planned = Assignment {
            term,
            generation: leading.epoch.generation,
            version: 1,
            provisional: false,
            leader: self.identity.instance_id.clone(),
            leader_member_id: Some(leading.epoch.member_id.clone()),
            topology_fingerprint: fingerprint,
            members: live.iter().map(|(instance_id, member)| (instance_id.clone(), member.assigned())).collect(),
            tasks: plan(&input),
            fenced: self.fenced(leading, &live),
        };
        let last =
            self.last_assignment(leading).filter(|last| (last.term, last.generation) == (term, planned.generation));
        match last {
            Some(last) if says_the_same(last, &planned) => {}
            Some(last) => {
                let version = last.version + 1;
                self.publish_assignment(leading, now, Assignment { version, ..planned });
            }
            None => self.publish_assignment(leading, now, planned),
        }
        Ok(())
    }

    /// Whether the cluster starts again, nobody runs anything yet, and there are tasks whose state none of the members has that came
    /// first: those that come next may have it, and it need not be restored.
    fn lacks_state(&self, leading: &Leading, live: &Live, tasks: &[PlanTask]) -> bool {
        // Who crashed still says what it had: that is for the others at once.
        let somebody_runs = self.registry.hosts().any(|host| !host.tasks.is_empty());
        if self.last_assignment(leading).is_none() || somebody_runs {
            return false;
        }
        let states: Vec<_> = live.values().filter_map(|member| Some(member.host.as_ref()?.state())).collect();
        let lacks = |task: &PlanTask| task.stateful && states.iter().all(|state| !state.contains_key(&task.task));
        tasks.iter().any(lacks)
    }

    /// The term to publish under; `None` if somebody else leads a later generation.
    ///
    /// Generations start anew when the group was deleted, or has expired while nobody was in it. Then the highest
    /// assignment is of a higher generation than the current one, but nobody it names is a member: whoever lived
    /// through the change from that generation to this one would have kept its member id. The members were asked after the
    /// assignment was read, and this instance is among them, so it is not the one that is out of date.
    fn term(&self, leading: &Leading) -> Option<u64> {
        match self.last_assignment(leading) {
            None => Some(0),
            Some(last) if last.generation <= leading.epoch.generation => Some(last.term),
            Some(last) => {
                let lives_on = last.members.values().any(|member| self.is_alive(leading, &member.member_id));
                (!lives_on).then_some(last.term.saturating_add(1))
            }
        }
    }

    /// Whether a member has come back as another one that the group did not name: it has joined a later generation.
    fn is_over(&self, leading: &Leading) -> bool {
        let Some(last) = self.last_assignment(leading) else { return false };
        last.members.iter().filter(|(_, member)| member.incarnation.is_some()).any(|(instance_id, member)| {
            let speaks_as = self.registry.host(instance_id).map(|host| &host.epoch.member_id);
            self.is_alive(leading, &member.member_id)
                && speaks_as.is_some_and(|id| *id != member.member_id && !self.is_alive(leading, id))
        })
    }

    fn last_assignment<'a>(&'a self, leading: &'a Leading) -> Option<&'a Arc<Assignment>> {
        let published = leading.published.as_ref().map(|(assignment, _)| assignment);
        self.registry.assignment().into_iter().chain(published).max_by_key(|assignment| assignment.order())
    }

    fn live(&self, leading: &Leading, members: &[Member]) -> Live {
        let mut live = Live::new();
        for member in members.iter().filter(|member| self.is_alive(leading, &member.member_id)) {
            let host = self.registry.host(&member.client_id).filter(|host| host.epoch.member_id == member.member_id);
            let reported = host.is_some_and(|host| host.epoch.generation == leading.epoch.generation);
            // Two processes may have the same name for a while: the one that spoke last counts.
            if host.is_some() || !live.contains_key(member.client_id.as_str()) {
                let member_id = member.member_id.clone();
                live.insert(member.client_id.as_str().into(), LiveMember { member_id, host: host.cloned(), reported });
            }
        }
        live
    }

    /// The topology of the running cluster, as long as a member runs it; else this instance's own.
    fn fingerprint_in_force(&self, leading: &Leading, live: &Live) -> Result<String, ClusterError> {
        let own = &self.identity.topology_fingerprint;
        let Some(last) = self.last_assignment(leading) else { return Ok(own.clone()) };
        let runs_on = |member: &LiveMember| {
            member.host.as_ref().is_some_and(|host| host.topology_fingerprint == last.topology_fingerprint)
        };
        if last.topology_fingerprint != *own && live.values().any(runs_on) {
            return Err(ClusterError::TopologyMismatch {
                instance_id: self.identity.instance_id.clone(),
                fingerprint: own.clone(),
                leader: last.leader.clone(),
                cluster_fingerprint: last.topology_fingerprint.clone(),
            });
        }
        Ok(own.clone())
    }

    fn plan_input(
        &mut self,
        leading: &Leading,
        live: &Live,
        tasks: Vec<PlanTask>,
        fingerprint: &str,
        now: Duration,
    ) -> PlanInput {
        let mut members = BTreeMap::new();
        for (instance_id, member) in live {
            let Some(host) = &member.host else { continue };
            if host.topology_fingerprint != *fingerprint {
                continue;
            }
            let acceptance = match (member.reported, host.draining) {
                (false, _) => Acceptance::Keeps,
                (true, true) => Acceptance::Draining,
                (true, false) => Acceptance::Open,
            };
            let planned = PlanMember {
                capacity: host.capacity,
                zone: host.zone.clone(),
                acceptance,
                held: host.held().collect(),
                caught_up: host.caught_up(),
                state: host.state(),
                failed: host.failed(),
            };
            members.insert(instance_id.clone(), planned);
        }
        let previous = self.last_assignment(leading).map(|last| last.tasks.clone()).unwrap_or_default();
        let Settings { num_standby_replicas, max_warmup_replicas, standby_replacement_delay: delay, .. } =
            self.settings;
        let stays = |id: &InstanceId| {
            members.get(id).is_some_and(|member: &PlanMember| member.acceptance != Acceptance::Draining)
        };
        let expected = self.absences.expected(now, delay, &previous, stays);
        PlanInput { tasks, members, previous, expected, num_standby_replicas, max_warmup_replicas }
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

// === impl LiveMember ===

impl LiveMember {
    fn assigned(&self) -> AssignedMember {
        AssignedMember {
            member_id: self.member_id.clone(),
            incarnation: self.host.as_ref().map(|host| host.incarnation),
            transactional_ids: self.host.as_ref().map(|host| host.transactional_ids.clone()).unwrap_or_default(),
        }
    }
}

/// Whether there is nothing new for anyone. Fences alone are none: they are for the next leader.
fn says_the_same(a: &Assignment, b: &Assignment) -> bool {
    (a.provisional, &a.topology_fingerprint, &a.members, &a.tasks)
        == (b.provisional, &b.topology_fingerprint, &b.members, &b.tasks)
}
