//! The restores of a worker's tasks, side by side.

use std::time::Duration;

use super::{FETCH_RECORDS, LAST_RETRY, Restoring, Slot, Worker, processing::out_of_range, recovery::Trouble};
use crate::{
    log::ReaderEvent,
    processor::ProcessError,
    runtime::{Report, opening::is_damage_of},
};

/// How long a committed position may take to be read.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Worker ===

impl Worker {
    pub(super) fn is_restoring(&self) -> bool {
        self.tasks.values().any(|slot| matches!(slot, Slot::Restoring(_)))
    }

    /// One step of all restores; tasks that are whole begin to run.
    pub(super) fn restore(&mut self, idle: Duration) -> Result<(), Trouble> {
        self.take_over()?;
        self.begin_waiting()?;
        if !self.is_restoring() {
            return Ok(());
        }
        // While no task runs there is nothing else to wait for.
        let timeout = if self.running().next().is_some() { Duration::ZERO } else { idle };
        let fetched = self.restorer.poll(FETCH_RECORDS, timeout).map_err(Trouble::Clients)?;
        self.restore_is_idle = fetched.batches.is_empty();
        for batch in &fetched.batches {
            for (id, slot) in &mut self.tasks {
                if let Slot::Restoring(restoring) = slot
                    && restoring.restore.wants(batch.source())
                {
                    let Restoring { stores, restore } = &mut **restoring;
                    restore.apply(stores, batch).map_err(|error| Trouble::of(*id, error.into()))?;
                    let restored = self.shared.metrics.restore_records.with_label_values(&[&id.to_string()]);
                    restored.inc_by(batch.len() as u64);
                }
            }
        }
        for event in fetched.events {
            self.restore_event(event)?;
        }
        let now = self.shared.clock.monotonic();
        let mut whole = Vec::new();
        for (id, slot) in &mut self.tasks {
            if let Slot::Restoring(restoring) = slot {
                let Restoring { stores, restore } = &mut **restoring;
                restore.settle(&mut *self.restorer).map_err(Trouble::Clients)?;
                let task = id.to_string();
                self.shared
                    .metrics
                    .restore_remaining
                    .with_label_values(&[&task])
                    .set(restore.remaining().cast_signed());
                if let Some(reason) = restore.held_back(now) {
                    tracing::warn!(task = %id, "the restore is held back: {reason}");
                }
                if restore.is_done() {
                    stores.apply_gathered().map_err(|error| Trouble::of(*id, error.into()))?;
                    whole.push(*id);
                }
            }
        }
        if whole.is_empty() || now < self.next_run {
            return Ok(());
        }
        let inputs: Vec<_> = whole.iter().map(|id| self.shared.inputs(*id)).collect();
        let partitions: Vec<_> = inputs.iter().flatten().map(|(_, partition)| partition.clone()).collect();
        let committed = match self.shared.group.committed(&partitions, COMMITTED_TIMEOUT) {
            Ok(committed) => committed,
            // The others go on meanwhile.
            Err(error) if error.is_retriable() => {
                self.report(Report::LogUnavailable { reason: error.to_string() });
                self.next_run = self.shared.clock.monotonic() + LAST_RETRY;
                return Ok(());
            }
            Err(error) => {
                return whole.iter().try_for_each(|id| self.fail_task(*id, &ProcessError::Log(error.clone())));
            }
        };
        let mut committed = committed.into_iter();
        for (id, inputs) in whole.into_iter().zip(inputs) {
            let inputs = inputs.into_iter().zip(committed.by_ref()).collect();
            match self.begin_run(id, inputs) {
                Ok(()) => {}
                Err(ProcessError::Log(error)) if error.is_retriable() => return Err(Trouble::Rewind(error)),
                Err(ProcessError::State(error)) if is_damage_of(id, &error) => self.rebuild_task(id, &error)?,
                Err(ProcessError::State(error)) => return Err(Trouble::State(error)),
                Err(error) => self.fail_task(id, &error)?,
            }
        }
        Ok(())
    }

    /// Lets running tasks bring rows to hand that they found on disk; gives whether any goes on with that.
    pub(super) fn warm_up(&mut self) -> Result<bool, Trouble> {
        let mut more = false;
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot {
                more |= task.warm_up().map_err(|error| Trouble::of(*id, error))?;
            }
        }
        Ok(more)
    }

    pub(super) fn restore_event(&mut self, event: ReaderEvent) -> Result<(), Trouble> {
        match event {
            ReaderEvent::EndReached { partition, next_offset } => {
                let now = self.shared.clock.monotonic();
                for slot in self.tasks.values_mut() {
                    if let Slot::Restoring(restoring) = slot {
                        restoring.restore.reached_end(&partition, next_offset, now);
                    }
                }
                Ok(())
            }
            ReaderEvent::OutOfRange { partition, offset } => {
                let owner = self.tasks.iter().find_map(|(id, slot)| match slot {
                    Slot::Restoring(restoring) if restoring.restore.wants(&partition) => Some(*id),
                    _ => None,
                });
                match owner {
                    Some(id) => self.fail_task(id, &ProcessError::Log(out_of_range(&partition, offset, "changelog"))),
                    None => Ok(()),
                }
            }
            ReaderEvent::Unavailable { reason } => {
                self.report(Report::LogUnavailable { reason });
                Ok(())
            }
        }
    }
}
