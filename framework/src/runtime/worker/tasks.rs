//! The life of a worker's task: opened, restored, run, closed.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    LAST_RETRY, Restoring, Slot, Worker,
    recovery::Trouble,
    resets::{Resets, begin_at},
};
use crate::{
    config::{Guarantee, OffsetReset},
    log::{LogError, ReadFrom, Reader, TopicPartition},
    processor::{Context, ProcessError, Tolerance},
    runtime::{
        Report, RestoreReading,
        opening::{self, is_damage_of},
        restore::{ChangelogIds, Changelogs, Restore, Until},
        task::{Input, Task},
    },
    state::{CommitPoint, StateError, TaskId, TaskStores},
};

// === impl Worker ===

impl Worker {
    pub(super) fn open_task(&mut self, id: TaskId) -> Result<(), ProcessError> {
        self.count_from_zero(id);
        let stores = opening::open_stores(&self.shared, id)?;
        self.begin_restore(id, stores)
    }

    /// A counter that appears with its first increment has no rate.
    pub(super) fn count_from_zero(&self, id: TaskId) {
        let (metrics, name) = (&self.shared.metrics, id.to_string());
        for counter in [&metrics.task_records, &metrics.task_errors, &metrics.restore_records] {
            counter.with_label_values(&[&name]).inc_by(0);
        }
    }

    pub(super) fn begin_restore(&mut self, id: TaskId, stores: TaskStores) -> Result<(), ProcessError> {
        let sub_topology = self.shared.sub_topology(id);
        let specs = &sub_topology.stores;
        let has_changelog = specs.iter().any(|spec| spec.changelog.is_some());
        let ids = if has_changelog { self.changelog_ids()? } else { Arc::default() };
        let changelogs = Changelogs { specs, partition: id.partition, ids: &ids, until: Until::End };
        let now = (self.shared.clock.monotonic(), self.shared.clock.now_ms());
        let Self { restorer, watermarks, shared, .. } = self;
        let (stores, restore) = opening::begin(shared, id, stores, |stores| {
            Restore::begin(stores, &changelogs, &mut **restorer, &mut **watermarks, now)
        })?;
        if self.shared.hosted.restoring(id, stores.view(), restore.progress()) && !restore.is_done() {
            tracing::info!(task = %id, records = restore.remaining(), "restore begins");
            self.report(Report::Restoring { task: id });
        }
        self.tasks.insert(id, Slot::Restoring(Box::new(Restoring { stores, restore })));
        Ok(())
    }

    /// Which topics all changelogs of the topology are now; asked once in a turn.
    fn changelog_ids(&mut self) -> Result<Arc<ChangelogIds>, LogError> {
        if let Some(ids) = &self.changelog_ids {
            return Ok(Arc::clone(ids));
        }
        let ids = opening::changelog_ids(&self.shared)?;
        Ok(Arc::clone(self.changelog_ids.insert(ids)))
    }

    /// Moves the damaged state of a task aside, and begins to rebuild it.
    pub(super) fn rebuild_task(&mut self, id: TaskId, error: &StateError) -> Result<(), Trouble> {
        self.shared.hosted.remove(id);
        drop(self.detach(id));
        opening::set_aside(&self.shared, id, error).map_err(Trouble::State)?;
        match self.open_task(id) {
            // Once more would be in vain.
            Err(ProcessError::State(error)) if is_damage_of(id, &error) => {
                self.fail_task(id, &ProcessError::State(error))
            }
            opened => self.began(id, opened),
        }
    }

    /// A task that could not begin because the log is away is tried again; one that cannot begin at all has failed.
    pub(super) fn began(&mut self, id: TaskId, result: Result<(), ProcessError>) -> Result<(), Trouble> {
        match result {
            Ok(()) => Ok(()),
            Err(ProcessError::Log(error)) if error.is_retriable() => {
                self.shared.hosted.remove(id);
                self.report(Report::LogUnavailable { reason: error.to_string() });
                self.waiting.insert(id, self.shared.clock.monotonic() + LAST_RETRY);
                Ok(())
            }
            // Nothing that writes can go on, whichever task met it first.
            Err(ProcessError::State(error)) if error.is_disk_full() => Err(Trouble::State(error)),
            Err(ProcessError::State(error)) if is_damage_of(id, &error) => self.rebuild_task(id, &error),
            Err(error) => self.fail_task(id, &error),
        }
    }

    /// Tries again the tasks that could not begin.
    pub(super) fn begin_waiting(&mut self) -> Result<(), Trouble> {
        let now = self.shared.clock.monotonic();
        let due: Vec<_> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.waiting.remove(&id);
            self.mark_progress();
            let opened = self.open_task(id);
            self.began(id, opened)?;
        }
        Ok(())
    }

    /// The stores are whole: process from the committed positions.
    pub(super) fn begin_run(
        &mut self,
        id: TaskId,
        from: Vec<((usize, TopicPartition), Option<i64>)>,
    ) -> Result<(), ProcessError> {
        let policies = from.iter().map(|((_, partition), _)| self.offset_reset(id, &partition.topic)).collect();
        let Some(Slot::Restoring(restoring)) = self.tasks.get_mut(&id) else { return Ok(()) };
        let begin = Begin { guarantee: self.shared.settings.guarantee, now_ms: self.shared.clock.now_ms(), policies };
        let inputs = inputs(restoring, &mut *self.reader, from, &begin, &mut self.resets)?;
        for (index, Input { partition, position, .. }) in inputs.iter().enumerate() {
            if let Err(error) = self.reader.assign(partition, ReadFrom::Offset(*position)) {
                for Input { partition: assigned, .. } in &inputs[..index] {
                    self.sources.remove(assigned);
                    self.reader.unassign(assigned)?;
                }
                return Err(error.into());
            }
            self.sources.insert(partition.clone(), (id, index));
        }
        let sub_topology = self.shared.sub_topology(id);
        let processors = self.shared.topology.instantiate(id.sub_topology);
        let mut processors = processors.expect("the control thread starts only tasks of this topology");
        processors.set_timestamps(self.shared.settings.timestamps);
        let Some(Slot::Restoring(restoring)) = self.tasks.remove(&id) else { return Ok(()) };
        let Restoring { mut stores, restore } = *restoring;
        let current_ms = Some(self.shared.clock.now_ms());
        let changelog_offsets = restore.empty().clone();
        stores.commit(&CommitPoint { changelog_offsets, current_ms, ..CommitPoint::default() })?;
        let restored = restore.progress().read(self.shared.clock.monotonic());
        if restored.records > 0 {
            let RestoreReading { records, bytes, elapsed, .. } = restored;
            tracing::info!(task = %id, records, bytes, elapsed_ms = elapsed.as_millis() as u64, "restored");
        }
        tracing::info!(task = %id, "running");
        self.shared.hosted.running(id, stores.view());
        let offsets = stores.committed().changelog_offsets.clone();
        let mut context = Context::new(id, stores, Arc::clone(&self.shared.globals), self.production.clone());
        context.set_wall_clock_ms(self.shared.clock.now_ms());
        context.tolerate(Tolerance::of(&self.shared.handlers));
        let begun = processors.init(&mut context);
        let task = Task::new(id, sub_topology, processors, context, inputs, self.shared.settings.max_task_idle);
        self.tasks.insert(id, Slot::Running(Box::new(task)));
        begun?;
        self.report(Report::Running { task: id, offsets });
        Ok(())
    }

    pub(super) fn running_tasks(&self) -> BTreeSet<TaskId> {
        self.tasks.iter().filter(|(_, slot)| matches!(slot, Slot::Running(_))).map(|(id, _)| *id).collect()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter_map(|slot| match slot {
            Slot::Running(task) => Some(&**task),
            Slot::Restoring(_) => None,
        })
    }
}

/// How a task begins where it has no position.
#[derive(Debug)]
struct Begin {
    guarantee: Guarantee,
    now_ms: i64,
    /// What is said about each partition.
    policies: Vec<Option<OffsetReset>>,
}

/// Where a task begins: at the positions that the group has, else where the offset reset says. Where the state knows of a position
/// and the group does not, nothing is taken for granted: the task begins only if the reset is set.
///
/// The group forgets positions that are not committed for long (`offsets.retention.minutes`). To begin again beside state that
/// holds those records already would count them twice, so that is refused.
fn inputs(
    restoring: &mut Restoring,
    reader: &mut dyn Reader,
    from: Vec<((usize, TopicPartition), Option<i64>)>,
    begin: &Begin,
    resets: &mut Resets,
) -> Result<Vec<Input>, ProcessError> {
    let stored = restoring.stores.committed().positions.clone();
    let is_known = from.iter().any(|((_, partition), committed)| committed.is_some() || stored.contains_key(partition));
    if !is_known && begin.guarantee == Guarantee::ExactlyOnce && restoring.stores.has_rows()? {
        let names: Vec<_> = from.iter().map(|((_, partition), _)| partition.to_string()).collect();
        return Err(ProcessError::Log(LogError::Refused {
            what: format!("beginning with {}", names.join(", ")),
            reason: "the changelogs hold state, and the group has no position for it: the positions expired \
                     (offsets.retention.minutes), or were deleted; commit positions for the group, or delete the internal \
                     topics and the state to process everything again"
                .into(),
        }));
    }
    let input = |(((source, partition), committed), policy): (((usize, TopicPartition), Option<i64>), &Option<_>)| {
        let stored = stored.get(&partition).copied();
        let chosen = resets.get(&partition, committed.or(stored));
        let position = match (chosen, committed, stored) {
            (Some(offset), ..) | (None, Some(offset), _) => offset,
            // Kafka deletes positions with their topic.
            (None, None, Some(before)) if policy.is_none() => return Err(position_gone(&partition, before)),
            (None, None, before) => {
                let reset = policy.unwrap_or(OffsetReset::Earliest);
                let offset = begin_at(reader, &partition, reset, begin.now_ms)?;
                if let Some(before) = before {
                    tracing::warn!(%partition, before, offset, ?reset, "the group has no position any more: the topic was made anew");
                }
                resets.choose(&partition, before, offset);
                offset
            }
        };
        Ok(Input { source, partition, position, is_committed: committed.is_some() && chosen.is_none() })
    };
    from.into_iter().zip(&begin.policies).map(input).collect()
}

/// The state was made of records up to an offset that the group knows nothing of.
fn position_gone(partition: &TopicPartition, before: i64) -> ProcessError {
    ProcessError::Log(LogError::Refused {
        what: format!("beginning with {partition}"),
        reason: format!(
            "the group has no position for it, and the state was made of its records up to offset {before}: the topic was made anew, or the \
             positions were deleted; set an offset reset to begin there beside the state, or commit positions for the group"
        ),
    })
}
