//! Taking over from members that nobody hears, before the group's session timeout would say that they are gone (DESIGN 4.10).
//!
//! The order is what makes it safe: the eviction is on the topic first, then the producers are fenced, then the tasks are
//! assigned. Whoever initialises a producer reads the topic to its end before it goes on, so a member that was evicted finds its
//! producers fenced or its eviction. Only where commits are fenced by producers: at least once, the session timeout decides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Action, Coordinator, Phase, leader::Leading};
use crate::cluster::{Eviction, metadata::InstanceId, registry::Change};

/// Members that nobody hears.
#[derive(Debug, Default)]
pub(super) struct TakeOver {
    suspects: BTreeMap<InstanceId, Suspect>,
}

#[derive(Debug)]
struct Suspect {
    member_id: Arc<str>,
    since: Duration,
    /// When its eviction was published here last.
    published: Option<Duration>,
}

// === impl Coordinator: take-over ===

impl Coordinator {
    /// These memberships are suspected now, and no others.
    pub(super) fn apply_suspects(&mut self, now: Duration, suspects: BTreeMap<InstanceId, Arc<str>>) {
        let before = std::mem::take(&mut self.take_over.suspects);
        let mut before: BTreeMap<_, _> = before
            .into_iter()
            .map(|(instance_id, suspect)| ((instance_id, suspect.member_id.clone()), suspect))
            .collect();
        for (instance_id, member_id) in suspects {
            let suspect = before.remove(&(instance_id.clone(), member_id.clone())).unwrap_or_else(|| {
                tracing::warn!(%instance_id, %member_id, "nobody hears this instance");
                Suspect { member_id, since: now, published: None }
            });
            self.take_over.suspects.insert(instance_id, suspect);
        }
    }

    /// An eviction that counts was read.
    pub(super) fn apply_eviction(&mut self, now: Duration, eviction: &Eviction, change: Change) {
        if change != Change::Eviction || self.phase == Phase::Loading {
            return;
        }
        let Eviction { instance_id, member_id, by, .. } = eviction;
        if *instance_id == self.identity.instance_id {
            self.actions.push(Action::Evicted);
        }
        // The end of the session may have been heard of before.
        let Some(epoch) = self.epoch.clone() else { return };
        tracing::warn!(%instance_id, %member_id, %by, "evicted");
        if *instance_id == self.identity.instance_id && *member_id == epoch.member_id {
            return self.put_out(&format!("evicted by `{by}`, which did not hear this instance"));
        }
        let leads_now = self.registry.leader().is_some_and(|(_, leader)| leader == epoch.member_id)
            && self.registry.assignment().is_some_and(|assignment| assignment.generation == epoch.generation);
        if leads_now && self.leading.is_none() {
            tracing::warn!(generation = epoch.generation, "leading the rest of the generation");
            self.leading = Some(Leading::new(epoch, now, now + self.settings.topics_interval));
        }
        self.replan();
    }

    /// This membership is over: everything that is open is lost, and another membership begins.
    pub(super) fn put_out(&mut self, reason: &str) {
        self.epoch = None;
        self.leading = None;
        self.view_is_old = true;
        self.drop_all(reason);
        if self.phase != Phase::Stopping {
            self.actions.push(Action::Rejoin);
        }
    }

    /// Evicts whom this instance may evict: the leader everyone, the others a silent leader, one after the other.
    pub(super) fn take_over(&mut self, now: Duration) {
        let Some(epoch) = self.epoch.clone().filter(|_| self.settings.evicts && !self.dropping) else { return };
        let due: Vec<_> = self.take_over.suspects.keys().filter(|id| self.may_evict(id, now)).cloned().collect();
        for instance_id in due {
            let Some(suspect) = self.take_over.suspects.get_mut(&instance_id) else { continue };
            suspect.published = Some(now);
            let member_id = suspect.member_id.clone();
            tracing::warn!(%instance_id, %member_id, "evicting");
            self.actions.push(Action::PublishEviction(Arc::new(Eviction {
                instance_id,
                member_id,
                generation: epoch.generation,
                by: self.identity.instance_id.clone(),
                by_member_id: epoch.member_id.clone(),
            })));
        }
    }

    fn may_evict(&self, instance_id: &InstanceId, now: Duration) -> bool {
        let Some(suspect) = self.take_over.suspects.get(instance_id) else { return false };
        let is_under_way = suspect.published.is_some_and(|at| now < at + self.settings.retry_interval);
        if is_under_way || self.registry.is_evicted(instance_id, &suspect.member_id) {
            return false;
        }
        match &self.leading {
            Some(leading) => self.is_alive(leading, &suspect.member_id),
            None => self.turn_to_lead(instance_id, suspect).is_some_and(|turn| now >= turn),
        }
    }

    /// When this instance evicts the silent leader: by its place among the members that are heard, in the order of their names.
    fn turn_to_lead(&self, instance_id: &InstanceId, suspect: &Suspect) -> Option<Duration> {
        let assignment = self.in_force()?;
        let (leader, leader_member_id) = self.registry.leader()?;
        if leader != *instance_id || leader_member_id != suspect.member_id {
            return None;
        }
        let is_heard = |instance_id: &&InstanceId| {
            let member_id = &assignment.members[*instance_id].member_id;
            let suspected =
                self.take_over.suspects.get(*instance_id).is_some_and(|suspect| suspect.member_id == *member_id);
            !suspected && !self.registry.is_evicted(instance_id, member_id)
        };
        let rank = assignment.members.keys().filter(is_heard).position(|id| *id == self.identity.instance_id)?;
        Some(suspect.since + self.settings.leader_patience.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX)))
    }
}
