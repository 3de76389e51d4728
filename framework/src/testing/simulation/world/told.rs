//! What is told on the metadata topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    cluster::{InstanceId, MetadataDecoder, MetadataRecord},
    log::{Isolation, Log, LogError, ReadFrom, Reader, TopicPartition, embedded::EmbeddedLog},
    state::TaskId,
    testing::simulation::{scheduler::Scheduler, workload::APPLICATION},
};

/// Reads the metadata topic.
pub(super) struct Told {
    log: EmbeddedLog,
    reader: Box<dyn Reader>,
    decoder: MetadataDecoder,
    is_there: bool,
    /// Where each task was last, and which of them have moved since that was asked.
    active: BTreeMap<TaskId, InstanceId>,
    moved: BTreeSet<TaskId>,
    /// Up to where it was read.
    next: i64,
}

// === impl Told ===

impl Told {
    pub(super) fn new(log: &EmbeddedLog) -> Result<Self, LogError> {
        let reader = log.reader(Isolation::ReadUncommitted)?;
        let decoder = MetadataDecoder::default();
        Ok(Self {
            log: log.clone(),
            reader,
            decoder,
            is_there: false,
            active: BTreeMap::new(),
            moved: BTreeSet::new(),
            next: 0,
        })
    }

    /// All tasks that were ever assigned.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.active.keys().copied()
    }

    /// Which tasks were assigned to others since this was asked last.
    pub(super) fn moved(&mut self) -> BTreeSet<TaskId> {
        std::mem::take(&mut self.moved)
    }

    /// Reads what is new; gives where it ends.
    pub(super) fn follow(&mut self, scheduler: &Scheduler) -> Result<i64, LogError> {
        let topic = format!("{APPLICATION}-metadata");
        if !self.is_there {
            if self.log.admin()?.topics(&[&topic])?.is_empty() {
                return Ok(0);
            }
            self.reader.assign(&TopicPartition::new(topic.as_str(), 0), ReadFrom::Beginning)?;
            self.is_there = true;
        }
        for batch in self.reader.poll(10_000, Duration::ZERO)?.batches {
            for record in batch.iter() {
                self.next = record.offset + 1;
                match self.decoder.decode(record.key, record.value) {
                    Some(MetadataRecord::Assignment(assignment)) => {
                        for (task, placement) in &assignment.tasks {
                            let Some(active) = &placement.active else { continue };
                            if self.active.insert(*task, active.clone()).is_none_or(|before| before != *active) {
                                self.moved.insert(*task);
                            }
                        }
                        let tasks = assignment.tasks.iter().map(|(task, placement)| {
                            let active = placement.active.as_deref().unwrap_or("-");
                            let followers = [&placement.standbys, &placement.warm_ups];
                            let [standbys, warm_ups] =
                                followers.map(|names| names.iter().map(|name| &**name).collect::<Vec<_>>().join("+"));
                            format!("{task}:{active}/{standbys}/{warm_ups}")
                        });
                        let (order, leader) = (assignment.order(), &assignment.leader);
                        let provisional = if assignment.provisional { " provisional" } else { "" };
                        let tasks = tasks.collect::<Vec<_>>().join(" ");
                        scheduler.note(format_args!("assignment {order}{provisional} by {leader}: {tasks}"));
                    }
                    Some(MetadataRecord::Eviction(eviction)) => {
                        scheduler.note(format_args!("{} is evicted by {}", eviction.member_id, eviction.by));
                    }
                    _ => {}
                }
            }
        }
        Ok(self.next)
    }
}
