//! What the leader plans from, and when it can.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Leading, Request};
use crate::{
    cluster::{
        coordinator::{Coordinator, Settings},
        error::ClusterError,
        metadata::{AssignedMember, Assignment, HostMetadata, InstanceId},
        planner::{Acceptance, PlanInput, PlanMember, PlanTask, plan},
    },
    log::Member,
};

/// The live members, as the group names them, with what they said of themselves.
pub(super) type Live = BTreeMap<InstanceId, LiveMember>;

#[derive(Debug)]
pub(super) struct LiveMember {
    pub(super) member_id: Arc<str>,
    /// What it said under this member id.
    pub(super) host: Option<Arc<HostMetadata>>,
    /// Whether it said so in this generation.
    pub(super) reported: bool,
}

// === impl Coordinator: planning ===

impl Coordinator {
    /// Plans as soon as everything that a plan depends on is known, or the deadline for the members' reports has passed.
    pub(super) fn plan(&mut self, leading: &mut Leading, now: Duration) -> Result<(), ClusterError> {
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
        leading.expects_until = self.absences.over_at(self.settings.standby_replacement_delay, &input.expected);
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

    pub(super) fn last_assignment<'a>(&'a self, leading: &'a Leading) -> Option<&'a Arc<Assignment>> {
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
        let stays = |id: &InstanceId| members.get(id).is_some_and(PlanMember::stays);
        // Without standbys there is nothing to keep: what is gone is restored elsewhere at once.
        let delay = if num_standby_replicas == 0 { Duration::ZERO } else { delay };
        let expected = self.absences.expected(now, delay, &previous, stays);
        PlanInput { tasks, members, previous, expected, num_standby_replicas, max_warmup_replicas }
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
