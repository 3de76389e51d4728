//! What is looked after now and then: progress of restores, offsets of stores, state and records that nobody uses any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Control;
use crate::{
    app::leader_calls::Call,
    cluster::{Offsets, Role},
    log::TopicPartition,
    runtime::{RestoreReading, Shared},
    state::{StoreId, TaskId},
};

// === impl Control: upkeep ===

impl Control {
    /// One line for all restores, while there are any.
    pub(super) fn log_restores(&self, now: Duration) {
        let mut tasks = 0;
        let all = self.shared.hosted.restores(now).map(|(_, _, reading)| reading);
        if let Some(together) = all.inspect(|_| tasks += 1).reduce(RestoreReading::and) {
            tracing::info!(tasks, "restoring {together}");
        }
    }

    /// Removes the state of tasks that have not been hosted here for long (`state.cleanup.delay.ms` of Kafka Streams): it would be out of
    /// date, and takes room.
    pub(super) fn clean_up_state(&mut self, now: Duration) {
        let Some(dir) = &self.shared.state.dir else { return };
        let stored = match dir.tasks() {
            Ok(stored) => stored,
            Err(error) => return tracing::warn!(%error, "cannot look for state that is not used any more"),
        };
        let hosted = self.shared.hosted.all();
        let view = self.coordinator.view();
        let is_used = |task: &TaskId| {
            let is_assigned = view.tasks.get(task).is_some_and(|task| task.is_assigned_to(&view.me));
            hosted.contains_key(task) || is_assigned
        };
        let unused: BTreeSet<TaskId> = stored.into_iter().filter(|task| !is_used(task)).collect();
        self.unused.retain(|task, _| unused.contains(task));
        for task in unused {
            let since = *self.unused.entry(task).or_insert(now);
            if now.saturating_sub(since) < self.state_cleanup_delay {
                continue;
            }
            match dir.remove(task) {
                Ok(()) => {
                    tracing::info!(%task, "removed the state of a task that is not hosted here any more");
                    self.offsets.remove(&task);
                }
                // Whoever opened it meanwhile uses it.
                Err(error) => tracing::debug!(%task, %error, "the state of a task was not removed"),
            }
            self.unused.remove(&task);
        }
    }

    /// Has the records of repartition topics deleted that are processed and committed: nobody else reads them
    /// (`repartition.purge.interval.ms` of Kafka Streams).
    pub(super) fn purge_repartition_topics(&self) {
        let mut processed = Vec::new();
        let hosted = self.shared.hosted.all().into_iter();
        for (task, hosted) in hosted.filter(|(_, hosted)| hosted.role == Role::Active) {
            let sub_topology = self.shared.sub_topology(task);
            let Ok(point) = hosted.view.position() else { continue };
            let of_repartition =
                |(partition, _): &(TopicPartition, i64)| sub_topology.repartition_topics.contains(&partition.topic);
            processed.extend(point.positions.into_iter().filter(of_repartition));
        }
        if !processed.is_empty() {
            self.calls.make(Call::Purge { processed });
        }
    }

    /// Where the hosted stores stand now.
    pub(super) fn look_at_offsets(&mut self) {
        for (task, hosted) in self.shared.hosted.all() {
            // One that is closed meanwhile has told where it stood.
            if let Ok(point) = hosted.view.position() {
                self.remember(task, &point.changelog_offsets);
            }
        }
    }

    pub(super) fn remember(&mut self, task: TaskId, offsets: &BTreeMap<StoreId, i64>) {
        self.offsets.insert(task, changelog_offsets(&self.shared, task, offsets));
    }
}

/// Offsets of stores as offsets of their changelog partitions.
pub(in crate::app) fn changelog_offsets(shared: &Shared, task: TaskId, offsets: &BTreeMap<StoreId, i64>) -> Offsets {
    let stores = &shared.sub_topology(task).stores;
    offsets
        .iter()
        .filter_map(|(store, offset)| {
            let changelog = stores.get(store.index())?.changelog.as_ref()?;
            Some((TopicPartition::new(Arc::clone(changelog), task.partition), *offset))
        })
        .collect()
}
