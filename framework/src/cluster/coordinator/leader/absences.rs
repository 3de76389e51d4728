//! Who is gone, or about to go, and since when: the place of a standby is kept for it for a while.
//!
//! Every instance notes it, as far as assignments tell, so that a new leader does not begin to count anew. Nor does who comes back for a
//! moment and goes again: an absence is over when the instance has caught up with all that it was given.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::cluster::{
    metadata::{Assignment, HostMetadata, InstanceId},
    planner::Placements,
};

#[derive(Debug, Default)]
pub(in super::super) struct Absences {
    since: BTreeMap<InstanceId, Duration>,
}

// === impl Absences ===

impl Absences {
    /// An assignment was read: places are kept for these.
    pub(in super::super) fn read(&mut self, now: Duration, assignment: &Assignment) {
        let kept: BTreeSet<_> = assignment.tasks.values().flat_map(|placement| &placement.kept_for).collect();
        self.since.retain(|id, _| kept.contains(id) || assignment.members.contains_key(id));
        for instance in kept {
            self.since.entry(instance.clone()).or_insert(now);
        }
    }

    /// An instance says what it has.
    pub(in super::super) fn heard(&mut self, host: &HostMetadata, last: Option<&Assignment>) {
        let Some(last) = last.filter(|_| self.since.contains_key(&host.instance_id)) else { return };
        let is_there = last.lists(&host.instance_id, &host.epoch.member_id) && !last.provisional && !host.draining;
        let caught_up = host.caught_up();
        if is_there && last.tasks_of(&host.instance_id).keys().all(|task| caught_up.contains(task)) {
            self.since.remove(&host.instance_id);
        }
    }

    /// Who is named by the last placements and is not there to stay, or is there again and has not caught up, as long as `delay` has
    /// not passed since it was missed first.
    pub(super) fn expected(
        &mut self,
        now: Duration,
        delay: Duration,
        last: &Placements,
        stays: impl Fn(&InstanceId) -> bool,
    ) -> BTreeSet<InstanceId> {
        let named = last.values().flat_map(|p| p.active.iter().chain(&p.standbys).chain(&p.kept_for));
        let absent: BTreeSet<&InstanceId> = named.filter(|id| !stays(id)).collect();
        self.since.retain(|id, _| absent.contains(id) || stays(id));
        for id in absent {
            self.since.entry(id.clone()).or_insert(now);
        }
        self.since.iter().filter(|(_, since)| now < **since + delay).map(|(id, _)| id.clone()).collect()
    }

    /// When the first of these has been expected for long enough.
    pub(super) fn over_at(&self, delay: Duration, expected: &BTreeSet<InstanceId>) -> Option<Duration> {
        expected.iter().filter_map(|id| self.since.get(id)).min().map(|since| *since + delay)
    }
}
