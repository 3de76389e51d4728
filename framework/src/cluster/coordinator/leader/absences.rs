//! Who is gone, or about to go, and since when: the place of a standby is kept for it for a while.
//!
//! Every instance notes it, as far as assignments tell, so that a new leader does not begin to count anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::cluster::{metadata::InstanceId, planner::Placements};

#[derive(Debug, Default)]
pub(in super::super) struct Absences {
    since: BTreeMap<InstanceId, Duration>,
}

// === impl Absences ===

impl Absences {
    /// An assignment was read: places are kept for these.
    pub(in super::super) fn read(&mut self, now: Duration, placements: &Placements) {
        let kept: BTreeSet<&InstanceId> = placements.values().flat_map(|placement| &placement.kept_for).collect();
        self.since.retain(|id, _| kept.contains(id));
        for instance in kept {
            self.since.entry(instance.clone()).or_insert(now);
        }
    }

    /// Who is named by the last placements and is not there to stay, as long as `delay` has not passed since it was missed first.
    pub(super) fn expected(
        &mut self,
        now: Duration,
        delay: Duration,
        last: &Placements,
        stays: impl Fn(&InstanceId) -> bool,
    ) -> BTreeSet<InstanceId> {
        let named = last.values().flat_map(|p| p.active.iter().chain(&p.standbys).chain(&p.kept_for));
        let absent: BTreeSet<&InstanceId> = named.filter(|id| !stays(id)).collect();
        self.since.retain(|id, _| absent.contains(id));
        for id in absent {
            self.since.entry(id.clone()).or_insert(now);
        }
        let expected = self.since.iter().filter(|(_, since)| now < **since + delay);
        expected.map(|(id, _)| id.clone()).collect()
    }

    /// Whether a place was kept for long enough.
    pub(super) fn are_over(&self, now: Duration, delay: Duration, last: &Placements) -> bool {
        let is_over = |id: &InstanceId| self.since.get(id).is_some_and(|since| now >= *since + delay);
        !self.since.is_empty() && last.values().any(|placement| placement.kept_for.iter().any(is_over))
    }
}
