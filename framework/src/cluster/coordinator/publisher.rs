//! When this instance publishes its host metadata: one record at a time, the next when it was seen on the topic.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Action, Coordinator};
use crate::{
    cluster::metadata::{HostMetadata, Offsets, Role, TaskReport, TaskState},
    state::TaskId,
};

/// Counts the records of this incarnation and knows which are still under way.
#[derive(Debug)]
pub(super) struct Publisher {
    incarnation: u64,
    seq: u64,
    /// The last published record that was not seen on the topic yet, and when it was published.
    under_way: Option<(u64, Duration)>,
    /// There is something to say.
    changed: bool,
    last_published: Option<Duration>,
    last_offsets: BTreeMap<TaskId, Offsets>,
}

// === impl Publisher ===

impl Publisher {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            seq: 0,
            under_way: None,
            changed: true,
            last_published: None,
            last_offsets: BTreeMap::new(),
        }
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Makes this incarnation later than the one that the topic knows, and unlike that of another process that does the
    /// same now.
    pub(super) fn begin_after(&mut self, earlier: Option<u64>) {
        let later = earlier.map_or(0, |earlier| earlier.saturating_add(1 + self.incarnation % 1000));
        self.incarnation = self.incarnation.max(later);
    }

    pub(super) fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// A record of this incarnation was read from the topic, and with it everything that was published before it.
    pub(super) fn seen(&mut self, seq: u64) {
        if self.under_way.is_some_and(|(under_way, _)| under_way <= seq) {
            self.under_way = None;
        }
    }

    /// Whether the topic says all there is to say.
    pub(super) fn is_settled(&self) -> bool {
        !self.changed && self.under_way.is_none()
    }
}

// === impl Coordinator: host metadata ===

impl Coordinator {
    /// Publishes this instance's host metadata if there is something to say.
    pub(super) fn publish_host(&mut self, now: Duration) {
        let Some(epoch) = self.epoch.clone() else { return };
        let publisher = &mut self.publisher;
        if let Some((_, at)) = publisher.under_way {
            if now < at + self.settings.retry_interval {
                return;
            }
            publisher.changed = true;
        }
        let offsets_due = publisher.last_published.is_none_or(|at| now >= at + self.settings.offsets_interval)
            && publisher.last_offsets != self.local.offsets;
        if self.dropping || !(publisher.changed || offsets_due) {
            return;
        }
        publisher.seq += 1;
        publisher.changed = false;
        publisher.under_way = Some((publisher.seq, now));
        publisher.last_published = Some(now);
        publisher.last_offsets.clone_from(&self.local.offsets);
        let (incarnation, seq) = (publisher.incarnation, publisher.seq);
        self.local.claims_published(seq);

        let tasks = self.task_reports();
        let mut stored = self.local.offsets.clone();
        stored.retain(|task, offsets| !tasks.contains_key(task) && !offsets.is_empty());
        let identity = &self.identity;
        self.actions.push(Action::PublishHost(Arc::new(HostMetadata {
            instance_id: identity.instance_id.clone(),
            incarnation,
            seq,
            epoch,
            url: identity.url.clone(),
            zone: identity.zone.clone(),
            capacity: identity.capacity.max(1),
            transactional_ids: identity.transactional_ids.clone(),
            topology_fingerprint: identity.topology_fingerprint.clone(),
            tasks,
            stored,
            draining: self.draining,
        })));
    }

    fn task_reports(&self) -> BTreeMap<TaskId, TaskReport> {
        let offsets = |task| self.local.offsets.get(task).cloned().unwrap_or_default();
        let report = |task, role, state| TaskReport { role, state, reason: None, offsets: offsets(task) };
        let mut reports: BTreeMap<_, _> =
            self.local.tasks().map(|(task, role, state)| (*task, report(task, role, state))).collect();
        for (task, reason) in self.local.failures() {
            let report = reports.entry(*task).or_insert_with(|| report(task, Role::Active, TaskState::Failed));
            report.reason = Some(reason.to_owned());
        }
        reports
    }
}
