//! Records: fetched for the tasks' queues, and processed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{FETCH_RECORDS, Slot, Worker, recovery::Trouble};
use crate::{
    log::{LogError, ReaderEvent, TopicPartition},
    processor::ProcessError,
    runtime::{Report, task::Task},
};

// === impl Worker ===

impl Worker {
    pub(super) fn fetch(&mut self, timeout: Duration) -> Result<(), Trouble> {
        if self.sources.is_empty() {
            return Ok(());
        }
        let fetched = self.reader.poll(FETCH_RECORDS, timeout).map_err(Trouble::Clients)?;
        let limit_bytes = self.queue_limit();
        for batch in fetched.batches {
            if let Some((id, index)) = self.sources.get(batch.source())
                && let Some(Slot::Running(task)) = self.tasks.get_mut(id)
            {
                task.push(*index, batch);
                let queue = task.queue_mut(*index);
                if queue.bytes() > limit_bytes && !queue.paused {
                    queue.paused = true;
                    self.reader.pause(queue.partition()).map_err(Trouble::Rewind)?;
                }
            }
        }
        for event in fetched.events {
            match event {
                ReaderEvent::EndReached { partition, next_offset } => {
                    if let Some((id, index)) = self.sources.get(&partition)
                        && let Some(Slot::Running(task)) = self.tasks.get_mut(id)
                    {
                        task.queue_mut(*index).reached_end(next_offset);
                    }
                }
                ReaderEvent::OutOfRange { partition, offset } => {
                    if let Some((id, _)) = self.sources.get(&partition) {
                        let id = *id;
                        self.position_lost(id, &partition, offset)?;
                    }
                }
                ReaderEvent::Unavailable { reason } => self.report(Report::LogUnavailable { reason }),
            }
        }
        Ok(())
    }

    /// Lets every task process a bounded number of records; `true` if any has more at hand.
    pub(super) fn process(&mut self) -> Result<bool, Trouble> {
        let resume_below = self.queue_limit() / 2;
        let mut more = false;
        let suspect = self.suspects.first().copied();
        let mut halted = None;
        for (id, slot) in &mut self.tasks {
            let Slot::Running(task) = slot else { continue };
            if suspect.is_some_and(|suspect| suspect != *id) {
                continue;
            }
            let known = (&*self.shared, &self.failures, self.hunt.as_ref());
            let judging = Self::judging(known, *id, task.uncommitted_records());
            let ran = match guarded(task, |task| task.run(&*self.shared.clock, judging))? {
                Ok(ran) => ran,
                Err(halt) => {
                    halted = Some((*id, halt));
                    break;
                }
            };
            self.shared.mark_progress(self.index);
            if !self.failed.is_empty() && task.is_caught_up() && self.failed.remove(id) {
                let _ = self.reports.send(Report::Recovered { task: *id });
            }
            more |= ran.more;
            if ran.wants_commit {
                self.next_commit = Duration::ZERO;
            }
            if ran.records > 0 {
                self.shared.metrics.task_records.with_label_values(&[&id.to_string()]).inc_by(ran.records);
            }
            for index in 0..task.queues().len() {
                let queue = task.queue_mut(index);
                if queue.paused && queue.bytes() < resume_below {
                    queue.paused = false;
                    self.reader.resume(queue.partition()).map_err(Trouble::Rewind)?;
                }
            }
        }
        if let Some((id, halt)) = halted {
            return Err(self.halted(id, halt));
        }
        self.production.borrow_mut().serve();
        Ok(more)
    }

    /// Bytes that may wait in one input queue.
    fn queue_limit(&self) -> usize {
        self.shared.settings.memory.taken_in / self.sources.len().max(1)
    }

    pub(super) fn uncommitted_bytes(&self) -> usize {
        let waiting = self.production.borrow().waiting_bytes();
        self.running().map(Task::uncommitted_bytes).sum::<usize>() + waiting
    }

    /// Brings the gauges of the tasks up to date.
    pub(super) fn observe(&mut self) {
        let metrics = &self.shared.metrics;
        for (id, slot) in &mut self.tasks {
            let Slot::Running(task) = slot else { continue };
            let name = id.to_string();
            let lag: i64 = task
                .queues()
                .iter()
                .filter_map(|queue| Some((self.reader.known_end(queue.partition())? - queue.position()).max(0)))
                .sum();
            metrics.task_input_lag.with_label_values(&[&name]).set(lag);
            metrics.task_stream_time.with_label_values(&[&name]).set(task.stream_time_ms());
            let uncommitted = i64::try_from(task.uncommitted_bytes()).unwrap_or(i64::MAX);
            metrics.state_uncommitted_bytes.with_label_values(&[&name]).set(uncommitted);
        }
        self.observe_memory();
    }

    fn observe_memory(&mut self) {
        let (mut rows, mut in_memory, mut queued) = (0, 0, 0);
        for slot in self.tasks.values() {
            match slot {
                Slot::Restoring(restoring) => {
                    rows += restoring.stores.held_bytes();
                    in_memory += restoring.stores.in_memory_bytes();
                }
                Slot::Running(task) => {
                    rows += task.rows_bytes();
                    in_memory += task.in_memory_bytes();
                    queued += task.queued_bytes();
                }
            }
        }
        let outputs = self.production.borrow().waiting_bytes();
        let fetched = self.reader.fetched_bytes() + self.restorer.fetched_bytes();
        self.memory.show([
            ("rows", rows),
            ("in_memory", in_memory),
            ("input_queues", queued),
            ("outputs", outputs),
            ("fetched", fetched),
        ]);
    }
}

/// Lets a task run functions of the topology; a panic becomes an error that names the last record. What the task holds then is thrown
/// away.
pub(super) fn guarded<T>(task: &mut Task, run: impl FnOnce(&mut Task) -> T) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(|| run(task))).map_err(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(message), _) => (*message).to_owned(),
            (None, Some(message)) => message.clone(),
            (None, None) => "the message is on standard error".to_owned(),
        };
        let (partition, offset) = task.last_record();
        let (topic, partition) = (Arc::clone(&partition.topic), partition.partition);
        Trouble::Panicked(ProcessError::Panicked { topic, partition, offset, message })
    })
}

pub(super) fn out_of_range(partition: &TopicPartition, offset: i64, what: &str) -> LogError {
    LogError::Refused {
        what: format!("reading {what} {partition} from offset {offset}"),
        reason: "the log does not reach back (or up) to it: it was truncated, or the topic was made anew".into(),
    }
}
