//! The state machine of one instance: membership, metadata and reports in; what to publish, fence, start and stop out.

use std::{sync::Arc, time::Duration};

use super::{
    codec::MetadataRecord,
    error::ClusterError,
    metadata::{Assignment, HostMetadata},
    registry::{Change, Registry},
    view::ClusterView,
};
use crate::log::{Epoch, MembershipEvent};

mod action;
mod event;
mod leader;
mod local;
mod publisher;
mod settings;
mod take_over;

#[cfg(test)]
mod tests;

pub use self::{
    action::Action,
    event::{Event, TaskEvent},
    settings::{Identity, Settings},
};
use self::{
    leader::{Absences, Leading},
    local::LocalTasks,
    publisher::Publisher,
    take_over::TakeOver,
};

/// The membership of one instance in its cluster. Pure: it does nothing but answer events with actions, and the only time it
/// knows is the `now` of each event. The protocol is described at [`crate::cluster`].
#[derive(Debug)]
pub struct Coordinator {
    identity: Identity,
    settings: Settings,
    registry: Registry,
    phase: Phase,
    /// The current membership.
    epoch: Option<Epoch>,
    /// The epoch that the tasks commit with; set by the first assignment of its generation.
    confirmed: Option<Epoch>,
    /// [`Action::DropAll`] was not answered yet: nothing is published and nothing started.
    dropping: bool,
    draining: bool,
    drained: bool,
    leading: Option<Leading>,
    absences: Absences,
    take_over: TakeOver,
    local: LocalTasks,
    publisher: Publisher,
    actions: Vec<Action>,
    view: Arc<ClusterView>,
    view_is_old: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The metadata topic is being read.
    Loading,
    /// Taking part.
    Joined,
    /// Giving everything away.
    Stopping,
    /// Out, in peace or by a fatal error.
    Out,
}

// === impl Coordinator ===

impl Coordinator {
    /// A coordinator that waits for the metadata topic to be read.
    #[must_use]
    pub fn new(identity: Identity, settings: Settings) -> Self {
        let view = Arc::new(ClusterView::empty(&identity.instance_id));
        Self {
            publisher: Publisher::new(identity.started_ms),
            identity,
            settings,
            registry: Registry::default(),
            phase: Phase::Loading,
            epoch: None,
            confirmed: None,
            dropping: false,
            draining: false,
            drained: false,
            leading: None,
            absences: Absences::default(),
            take_over: TakeOver::default(),
            local: LocalTasks::default(),
            actions: Vec::new(),
            view,
            view_is_old: false,
        }
    }

    /// Takes an event in and says what to do, in this order.
    ///
    /// `now` is monotonic and has any origin.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        if self.phase != Phase::Out {
            self.apply(now, event);
        }
        if !matches!(self.phase, Phase::Loading | Phase::Out) {
            self.take_over(now);
            self.lead(now);
            self.follow(now);
            self.publish_host(now);
            self.say_when_empty();
        }
        std::mem::take(&mut self.actions)
    }

    /// What the cluster looks like from here: the same `Arc` until something changed.
    pub fn view(&mut self) -> Arc<ClusterView> {
        if std::mem::take(&mut self.view_is_old) {
            let me = &self.identity.instance_id;
            let view = ClusterView::new(me, self.epoch.as_ref(), &self.registry, &self.settings);
            self.view = Arc::new(view);
        }
        self.view.clone()
    }

    /// Whether this instance leads the current generation.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leading.is_some()
    }

    fn apply(&mut self, now: Duration, event: Event) {
        match event {
            Event::Metadata(record) => self.apply_metadata(now, &record),
            Event::MetadataLoaded => self.apply_loaded(),
            Event::Membership(MembershipEvent::Joined { epoch, leader }) => self.apply_joined(now, epoch, leader),
            Event::Membership(MembershipEvent::Lost { reason }) => self.apply_lost(&reason),
            Event::Membership(MembershipEvent::Unavailable { .. }) | Event::Tick => {}
            Event::Members { generation, result } => self.apply_members(now, generation, result),
            Event::Topics { generation, result } => self.apply_topics(now, generation, result),
            Event::Fenced { generation, instance_id, result } => {
                self.apply_fenced(now, generation, &instance_id, result);
            }
            Event::Task { task, event } => self.apply_task(now, task, event),
            Event::Suspects(suspects) => self.apply_suspects(now, suspects),
            Event::AllDropped => {
                self.dropping = false;
                self.publisher.mark_changed();
            }
            Event::Offsets(offsets) => self.local.offsets = offsets,
            Event::Drain => self.drain(),
            Event::Stop if self.phase == Phase::Loading => {
                // Nothing was published or started yet.
                self.actions.push(Action::Stopped);
                self.phase = Phase::Out;
            }
            Event::Stop => {
                self.drain();
                self.phase = Phase::Stopping;
            }
        }
    }

    fn apply_metadata(&mut self, now: Duration, record: &MetadataRecord) {
        let change = self.registry.apply(record);
        self.view_is_old |= change != Change::Nothing;
        match record {
            MetadataRecord::Host(host) => {
                self.absences.heard(host, self.registry.assignment().map(|last| &**last));
                if host.instance_id == self.identity.instance_id {
                    self.apply_own_host(host);
                }
                if change == Change::Plan {
                    self.host_changed(host);
                }
            }
            MetadataRecord::HostGone(instance_id) => {
                // A leader that took this instance for dead, or another process of the same name.
                if *instance_id == self.identity.instance_id {
                    self.publisher.mark_changed();
                }
                if change == Change::Plan {
                    self.replan();
                }
            }
            MetadataRecord::Assignment(assignment) => {
                if change == Change::Assignment {
                    self.absences.read(now, assignment);
                    tracing::debug!(order = %assignment.order(), leader = %assignment.leader, "assignment read");
                    self.assignment_changed(assignment);
                } else if change == Change::Usurped {
                    tracing::warn!(order = %assignment.order(), leader = %assignment.leader, "an assignment by an evicted leader");
                    self.assignment_usurped();
                }
            }
            MetadataRecord::Eviction(eviction) => self.apply_eviction(now, eviction, change),
            MetadataRecord::EvictionGone(_) => {}
        }
    }

    fn apply_own_host(&mut self, host: &HostMetadata) {
        let incarnation = self.publisher.incarnation();
        if self.phase == Phase::Loading {
            return;
        }
        if host.incarnation > incarnation {
            let instance_id = self.identity.instance_id.clone();
            self.halt(ClusterError::Superseded { instance_id, incarnation, by: host.incarnation });
        } else if host.incarnation == incarnation {
            self.publisher.seen(host.seq);
            self.local.claims_seen(host.seq);
        } else {
            // An earlier process lives on: compaction must not leave its record as the last one.
            self.publisher.mark_changed();
        }
    }

    fn apply_loaded(&mut self) {
        if self.phase == Phase::Loading {
            self.phase = Phase::Joined;
            let earlier = self.registry.host(&self.identity.instance_id).map(|host| host.incarnation);
            self.publisher.begin_after(earlier);
        }
    }

    fn apply_joined(&mut self, now: Duration, epoch: Epoch, leader: bool) {
        if self.epoch.as_ref().is_some_and(|known| known.member_id != epoch.member_id) {
            self.drop_all("the member id changed");
        }
        if self.registry.is_evicted(&self.identity.instance_id, &epoch.member_id) {
            return self.put_out("this membership was evicted");
        }
        tracing::info!(generation = epoch.generation, member_id = %epoch.member_id, leader, "joined");
        // What was claimed under the old generation and not started must be out of this instance's first record of the
        // new one: from then on the leader takes that record for all that this instance may hold.
        self.local.withdraw_claims();
        self.leading = leader.then(|| Leading::new(epoch.clone(), now, now + self.settings.topics_interval));
        self.epoch = Some(epoch);
        self.publisher.mark_changed();
        self.view_is_old = true;
    }

    fn apply_lost(&mut self, reason: &str) {
        self.epoch = None;
        self.leading = None;
        self.view_is_old = true;
        self.drop_all(reason);
    }

    fn drain(&mut self) {
        self.draining = true;
        self.publisher.mark_changed();
    }

    /// Everything that is open is lost; nothing goes on before the runtime has confirmed it.
    fn drop_all(&mut self, reason: &str) {
        self.local.clear();
        self.confirmed = None;
        self.publisher.mark_changed();
        if !self.dropping {
            tracing::warn!(reason, "all tasks are dropped");
            self.dropping = true;
            self.actions.push(Action::DropAll);
        }
    }

    fn halt(&mut self, error: ClusterError) {
        tracing::error!(%error, "this instance cannot go on");
        self.drop_all("this instance cannot go on");
        if !matches!(error, ClusterError::Superseded { .. }) {
            self.actions.push(Action::PublishTombstone { instance_id: self.identity.instance_id.clone() });
        }
        self.actions.push(Action::Fatal(error));
        self.leading = None;
        self.phase = Phase::Out;
    }

    fn say_when_empty(&mut self) {
        if !self.draining || !self.local.is_empty() || self.dropping {
            return;
        }
        let me = &self.identity.instance_id;
        if self.phase == Phase::Stopping {
            // The record without tasks has to come first, so that the tombstone is taken for a clean stop.
            if self.epoch.is_none() || self.publisher.is_settled() {
                self.actions.push(Action::PublishTombstone { instance_id: me.clone() });
                self.actions.push(Action::Stopped);
                self.leading = None;
                self.phase = Phase::Out;
            }
        } else if self.phase == Phase::Joined && !self.drained && self.publisher.is_settled() {
            let assigned = self.followed().map(|assignment| assignment.tasks_of(me));
            if assigned.is_some_and(|tasks| tasks.is_empty()) {
                self.drained = true;
                self.actions.push(Action::Drained);
            }
        }
    }

    /// The assignment in force for this instance: the highest, if it is of its generation and counts it as a member. While
    /// there is none, tasks go on and nothing is started or released.
    fn in_force(&self) -> Option<&Arc<Assignment>> {
        let (epoch, assignment) = (self.epoch.as_ref()?, self.registry.assignment()?);
        let mine = assignment.generation == epoch.generation
            && assignment.lists(&self.identity.instance_id, &epoch.member_id)
            && !self.dropping;
        mine.then_some(assignment)
    }

    /// The assignment in force, if it is more than a confirmation of the one before.
    fn followed(&self) -> Option<&Arc<Assignment>> {
        self.in_force().filter(|assignment| !assignment.provisional)
    }
}
