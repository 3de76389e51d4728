//! What is told on the metadata topic.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    cluster::{MetadataDecoder, MetadataRecord},
    log::{Isolation, Log, LogError, ReadFrom, Reader, TopicPartition, embedded::EmbeddedLog},
    testing::simulation::{scheduler::Scheduler, workload::APPLICATION},
};

/// Reads the metadata topic.
pub(super) struct Told {
    log: EmbeddedLog,
    reader: Box<dyn Reader>,
    decoder: MetadataDecoder,
    is_there: bool,
    /// The memberships that were ever evicted.
    evicted: BTreeSet<Arc<str>>,
}

// === impl Told ===

impl Told {
    pub(super) fn new(log: &EmbeddedLog) -> Result<Self, LogError> {
        let reader = log.reader(Isolation::ReadUncommitted)?;
        let decoder = MetadataDecoder::default();
        Ok(Self { log: log.clone(), reader, decoder, is_there: false, evicted: BTreeSet::new() })
    }

    /// Whether a membership was evicted.
    pub(super) fn is_evicted(&self, member_id: &str) -> bool {
        self.evicted.contains(member_id)
    }

    /// Reads what is new.
    pub(super) fn follow(&mut self, scheduler: &Scheduler) -> Result<(), LogError> {
        let topic = format!("{APPLICATION}-metadata");
        if !self.is_there {
            if self.log.admin()?.topics(&[&topic])?.is_empty() {
                return Ok(());
            }
            self.reader.assign(&TopicPartition::new(topic.as_str(), 0), ReadFrom::Beginning)?;
            self.is_there = true;
        }
        for batch in self.reader.poll(10_000, Duration::ZERO)?.batches {
            for record in batch.iter() {
                match self.decoder.decode(record.key, record.value) {
                    Some(MetadataRecord::Assignment(assignment)) => {
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
                        self.evicted.insert(Arc::clone(&eviction.member_id));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
