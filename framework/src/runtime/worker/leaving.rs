//! How a task leaves a worker: closed, or with its stores open; and how it comes from the follower.

use std::collections::BTreeMap;

use super::{Slot, Worker, recovery::Trouble};
use crate::{
    processor::{ProcessError, with_causes},
    runtime::{Giver, HandedOver, Report, opening},
    state::{CommitPoint, Role, StateError, StoreId, TaskId, TaskStores},
};

// === impl Worker ===

impl Worker {
    /// Takes a task off the readers and closes its stores, what is not committed is lost. Says where they stand; `None` if
    /// they were not open.
    pub(super) fn close_task(&mut self, id: TaskId) -> Result<Option<BTreeMap<StoreId, i64>>, Trouble> {
        self.shared.hosted.remove(id);
        let Some((mut stores, was_running)) = self.take_off(id) else { return Ok(None) };
        let closed = self.write_down(&mut stores, was_running).and_then(|offsets| stores.close().map(|()| offsets));
        match closed {
            Ok(offsets) => Ok(Some(offsets)),
            Err(error) => self.not_closed(id, error).map(Some),
        }
    }

    /// Gives the open stores of a task to the follower, without what is not committed.
    pub(super) fn demote_task(&mut self, id: TaskId, role: Role, to: Giver) -> Result<(), Trouble> {
        if let Some(taker) = self.awaiting.remove(&id) {
            self.report(Report::Released { task: id, offsets: None });
            // Nobody takes it when all is dropped: what comes is closed then.
            let _ = to.give(HandedOver::From(taker));
            return Ok(());
        }
        let was_waiting = self.waiting.contains_key(&id);
        let Some((mut stores, was_running)) = self.take_off(id) else {
            self.report(Report::Released { task: id, offsets: None });
            let _ = to.give(if was_waiting { HandedOver::NotOpen } else { HandedOver::Gone });
            return Ok(());
        };
        match self.write_down(&mut stores, was_running) {
            Ok(offsets) => {
                stores.set_follows(true);
                self.shared.hosted.follows(id, role);
                // Before the stores: what the follower reports comes behind it.
                self.report(Report::Released { task: id, offsets: Some(offsets) });
                if let Err(HandedOver::Stores(stores)) = to.give(HandedOver::Stores(Box::new(stores))) {
                    self.shared.hosted.remove(id);
                    stores.close().map_err(Trouble::State)?;
                }
            }
            Err(error) => {
                drop(stores);
                self.shared.hosted.remove(id);
                let offsets = Some(self.not_closed(id, error)?);
                self.report(Report::Released { task: id, offsets });
                let _ = to.give(HandedOver::NotOpen);
            }
        }
        Ok(())
    }

    /// Takes a task off the readers, and forgets it. Gives its stores, and whether it ran; `None` if they were not open.
    fn take_off(&mut self, id: TaskId) -> Option<(TaskStores, bool)> {
        self.awaiting.remove(&id);
        self.waiting.remove(&id);
        self.suspects.remove(&id);
        self.forget_failures(id);
        self.shared.inputs(id).iter().for_each(|(_, partition)| self.resets.forget(partition));
        let was_running = matches!(self.tasks.get(&id), Some(Slot::Running(_)));
        let stores = self.detach(id)?;
        let (metrics, name) = (&self.shared.metrics, id.to_string());
        let gauges = [
            &metrics.restore_remaining,
            &metrics.task_input_lag,
            &metrics.task_stream_time,
            &metrics.state_uncommitted_bytes,
        ];
        for gauge in gauges {
            // One that was never set is none to remove.
            let _ = gauge.remove_label_values(&[&name]);
        }
        Some((stores, was_running))
    }

    /// Writes down where stores stand that are given away.
    fn write_down(&self, stores: &mut TaskStores, was_running: bool) -> Result<BTreeMap<StoreId, i64>, StateError> {
        if was_running {
            let current_ms = Some(self.shared.clock.now_ms());
            stores.commit(&CommitPoint { current_ms, ..CommitPoint::default() })?;
        }
        // A restore that was given up goes on from here.
        stores.apply_gathered()?;
        Ok(stores.committed().changelog_offsets.clone())
    }

    /// What damaged stores hold is lost here, and whoever runs the task next rebuilds it. The other tasks are closed as well.
    fn not_closed(&self, id: TaskId, error: StateError) -> Result<BTreeMap<StoreId, i64>, Trouble> {
        if !error.is_damage() {
            return Err(Trouble::State(error));
        }
        opening::set_aside(&self.shared, id, &error).map_err(Trouble::State)?;
        Ok(BTreeMap::new())
    }

    /// Begins with the tasks that were handed over.
    pub(super) fn take_over(&mut self) -> Result<(), Trouble> {
        let taken = self.awaiting.iter_mut().filter_map(|(id, taker)| Some((*id, taker.take()?)));
        let taken: Vec<_> = taken.collect();
        for (id, handed) in taken {
            self.awaiting.remove(&id);
            self.mark_progress();
            let began = match handed {
                HandedOver::Stores(mut stores) => {
                    stores.set_follows(false);
                    self.count_from_zero(id);
                    self.begin_restore(id, *stores)
                }
                HandedOver::NotOpen => self.open_task(id),
                // `Taker` follows it itself.
                HandedOver::Gone | HandedOver::From(_) => Ok(()),
            };
            self.began(id, began)?;
        }
        Ok(())
    }

    /// Takes a task off the readers. If a reader does not let go of a partition, its records find no task.
    pub(super) fn detach(&mut self, id: TaskId) -> Option<TaskStores> {
        let (stores, result) = match self.tasks.remove(&id)? {
            Slot::Restoring(restoring) => (restoring.stores, restoring.restore.cancel(&mut *self.restorer)),
            Slot::Running(task) => {
                let mut result = Ok(());
                for queue in task.queues() {
                    self.sources.remove(queue.partition());
                    result = result.and(self.reader.unassign(queue.partition()));
                }
                (task.into_stores(), result)
            }
        };
        if let Err(error) = result {
            tracing::warn!(task = %id, %error, "a reader did not let go of a partition");
        }
        Some(stores)
    }

    pub(super) fn fail_task(&mut self, id: TaskId, error: &ProcessError) -> Result<(), Trouble> {
        let error = with_causes(error);
        tracing::error!(task = %id, error, "the task stops at its last commit");
        self.shared.metrics.task_errors.with_label_values(&[&id.to_string()]).inc();
        self.close_task(id)?;
        self.failed.insert(id);
        self.report(Report::Failed { task: id, error });
        Ok(())
    }
}
