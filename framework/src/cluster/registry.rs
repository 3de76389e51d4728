//! What the metadata topic says, as far as it was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    codec::MetadataRecord,
    eviction::{Eviction, Evictions},
    metadata::{AssignedMember, Assignment, HostMetadata, InstanceId},
};
use crate::state::TaskId;

/// The newest record of every instance and the highest assignment.
#[derive(Debug, Default)]
pub(super) struct Registry {
    hosts: BTreeMap<InstanceId, Known>,
    assignment: Option<Arc<Assignment>>,
    evictions: Evictions,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: the record is old.
    Nothing,
    /// Something that no plan depends on.
    Detail,
    /// Something that a plan depends on.
    Plan,
    /// There is a new highest assignment.
    Assignment,
    /// A membership is over.
    Eviction,
    /// An assignment of a leader who was evicted before: it has no effect, but took the place of one that has.
    Usurped,
}

#[derive(Debug)]
struct Known {
    host: Arc<HostMetadata>,
    /// A tombstone came while the host held tasks. A clean stop gives its tasks away first, so this is not one: the record
    /// stays in force until the host speaks again or an assignment says that it is gone.
    tombstoned: bool,
}

/// Tasks that others may still commit for.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Other live members hold them.
    tasks: BTreeSet<TaskId>,
    /// A member was restarted after the assignment, with fewer producers: what it held before is not known any more, and what
    /// was left of it is not fenced yet. The next assignment says when it is.
    anything: bool,
}

// === impl Registry ===

impl Registry {
    pub(super) fn apply(&mut self, record: &MetadataRecord) -> Change {
        match record {
            MetadataRecord::Host(host) => self.apply_host(host),
            MetadataRecord::HostGone(instance_id) => self.apply_tombstone(instance_id),
            MetadataRecord::Assignment(assignment) => self.apply_assignment(assignment),
            MetadataRecord::Eviction(eviction) if self.evictions.apply(eviction) => Change::Eviction,
            MetadataRecord::Eviction(_) => Change::Nothing,
            MetadataRecord::EvictionGone(instance_id) => {
                self.evictions.forget(instance_id);
                Change::Nothing
            }
        }
    }

    pub(super) fn is_evicted(&self, instance_id: &str, member_id: &str) -> bool {
        self.evictions.is_evicted(instance_id, member_id)
    }

    pub(super) fn evictions(&self) -> impl Iterator<Item = &Arc<Eviction>> {
        self.evictions.iter()
    }

    /// Who leads the generation of the highest assignment now.
    pub(super) fn leader(&self) -> Option<(InstanceId, Arc<str>)> {
        let assignment = self.assignment.as_ref()?;
        let first = (assignment.leader.clone(), assignment.leader_member_id.clone()?);
        Some(self.evictions.leader(assignment.generation, first))
    }

    pub(super) fn host(&self, instance_id: &str) -> Option<&Arc<HostMetadata>> {
        self.hosts.get(instance_id).map(|known| &known.host)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Arc<HostMetadata>> {
        self.hosts.values().map(|known| &known.host)
    }

    pub(super) fn assignment(&self) -> Option<&Arc<Assignment>> {
        self.assignment.as_ref()
    }

    /// What `me` must not start while it follows `assignment`.
    pub(super) fn taken(&self, me: &str, assignment: &Assignment) -> Taken {
        let mut taken = Taken::default();
        for host in self.hosts().filter(|host| *host.instance_id != *me) {
            if assignment.lists_host(host) {
                taken.tasks.extend(host.held());
            } else if let Some(before) = assignment.members.get(&host.instance_id) {
                taken.anything |= left_producers(before, host);
            }
        }
        taken
    }

    fn apply_host(&mut self, host: &Arc<HostMetadata>) -> Change {
        let known = Known { host: host.clone(), tombstoned: false };
        match self.hosts.get_mut(&host.instance_id) {
            None => {
                self.hosts.insert(host.instance_id.clone(), known);
                Change::Plan
            }
            // After a tombstone an instance may have begun to count its incarnations anew.
            Some(before) if before.tombstoned || before.host.is_older_than(host) => {
                let same = plan_relevant(&before.host) == plan_relevant(host);
                *before = known;
                if same { Change::Detail } else { Change::Plan }
            }
            Some(_) => Change::Nothing,
        }
    }

    fn apply_tombstone(&mut self, instance_id: &InstanceId) -> Change {
        let Some(known) = self.hosts.get_mut(instance_id) else { return Change::Nothing };
        let may_hold = known.host.held().next().is_some()
            && self
                .assignment
                .as_ref()
                .is_none_or(|assignment| assignment.provisional || assignment.lists_host(&known.host));
        if may_hold {
            known.tombstoned = true;
            return Change::Detail;
        }
        self.hosts.remove(instance_id);
        Change::Plan
    }

    fn apply_assignment(&mut self, assignment: &Arc<Assignment>) -> Change {
        if self.assignment.as_ref().is_some_and(|known| known.order() >= assignment.order()) {
            return Change::Nothing;
        }
        let is_out = |member_id| self.evictions.is_evicted(&assignment.leader, member_id);
        if assignment.leader_member_id.as_deref().is_some_and(is_out) {
            return Change::Usurped;
        }
        self.hosts.retain(|_, known| !known.tombstoned || assignment.provisional || assignment.lists_host(&known.host));
        self.assignment = Some(assignment.clone());
        Change::Assignment
    }
}

/// Whether a restarted instance has no use for some producers that it had when `before` was written.
fn left_producers(before: &AssignedMember, host: &HostMetadata) -> bool {
    before.incarnation.is_some_and(|incarnation| incarnation < host.incarnation)
        && before.transactional_ids.iter().any(|id| !host.transactional_ids.contains(id))
}

// === impl Taken ===

impl Taken {
    pub(super) fn is_free(&self, task: TaskId) -> bool {
        !self.anything && !self.tasks.contains(&task)
    }
}

/// What a plan depends on, beside offsets: they only ever matter for tasks that have to move anyway.
///
/// A follower that has caught up lets a task move. What a host gives up when it is to be emptied, others have to take.
fn plan_relevant(host: &HostMetadata) -> impl PartialEq + '_ {
    let caught_up = host.tasks.iter().filter(|(_, report)| report.is_caught_up()).map(|(task, _)| *task);
    let held = host.held().filter(|_| host.draining);
    (
        (host.incarnation, &host.epoch, &host.transactional_ids, &host.topology_fingerprint),
        (&host.zone, host.capacity, host.draining),
        host.failed(),
        (caught_up.collect::<Vec<_>>(), held.collect::<Vec<_>>()),
    )
}
