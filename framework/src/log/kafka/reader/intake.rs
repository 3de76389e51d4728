//! Sorts the messages of a poll by partition, into one batch each.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::partition::{Partition, Standing};
use crate::log::{
    Fetched, LogError, ReaderEvent, TopicPartition,
    kafka::{
        error::{code_error, is_timeout, is_unreachable, topic_error},
        raw::Consumed,
    },
};

/// The assigned partitions, and what arrived for them.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// The assigned ones. Few enough to search, and searched once per run of messages of one partition, not per message.
    partitions: Vec<Partition>,
    /// Those with a batch under construction, in the order of their first records.
    open: Vec<usize>,
    /// The partition of the messages at hand.
    run: Option<Run>,
    events: Vec<ReaderEvent>,
    /// An error that waits until what arrived before it is given out.
    error: Option<LogError>,
    /// Why brokers cannot be reached.
    trouble: Option<String>,
}

/// Messages of one partition behind each other.
#[derive(Debug, Clone, Copy)]
struct Run {
    topic_address: usize,
    number: i32,
    /// Its place among the assigned partitions, if it is assigned.
    index: Option<usize>,
}

// === impl Intake ===

impl Intake {
    pub(super) fn find(&self, partition: &TopicPartition) -> Option<&Partition> {
        self.partitions.iter().find(|candidate| candidate.source == *partition)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter()
    }

    /// All partitions are read by another client from now on.
    pub(super) fn hear_anew(&mut self) {
        for partition in &mut self.partitions {
            partition.heard = false;
        }
    }

    pub(super) fn find_mut(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        self.partitions.iter_mut().find(|candidate| candidate.source == *partition)
    }

    pub(super) fn insert(&mut self, partition: Partition) {
        self.partitions.push(partition);
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) -> Option<Partition> {
        let index = self.partitions.iter().position(|candidate| candidate.source == *partition)?;
        Some(self.partitions.swap_remove(index))
    }

    /// Begins to take messages that librdkafka hands out together: topics are told apart by their address only among them.
    pub(super) fn begin(&mut self) {
        self.run = None;
    }

    /// Takes a message.
    pub(super) fn take(&mut self, message: Consumed<'_>) {
        let index = match self.run {
            Some(run) if message.same_partition(run.topic_address, run.number) => run.index,
            _ => self.begin_run(message),
        };
        if let Some(code) = message.error() {
            return self.take_error(message, index, code);
        }
        // What is not assigned (any more) was still on its way.
        let Some(index) = index else { return };
        let partition = &mut self.partitions[index];
        if partition.is_stale(message.offset()) {
            return;
        }
        let (builder, begun) = partition.builder(message.offset());
        builder.push(message.offset(), message.timestamp_ms(), message.key(), message.value(), message.headers());
        if begun {
            self.open.push(index);
        }
    }

    fn begin_run(&mut self, message: Consumed<'_>) -> Option<usize> {
        let number = message.partition();
        let index = message.topic().and_then(|topic| {
            let is_it = |partition: &Partition| {
                partition.source.partition == number
                    && *partition.source.topic == *topic
                    && partition.standing != Standing::Parked
            };
            self.partitions.iter().position(is_it)
        });
        self.run = Some(Run { topic_address: message.topic_address(), number, index });
        index
    }

    fn take_error(&mut self, message: Consumed<'_>, index: Option<usize>, code: Code) {
        let partition = index.map(|index| &mut self.partitions[index]);
        match (code, partition) {
            (Code::PartitionEOF, Some(partition)) if !partition.is_stale(message.offset()) => {
                partition.end(message.offset(), &mut self.events);
            }
            // With `auto.offset.reset=error`, how librdkafka says that the position does not exist.
            (Code::AutoOffsetReset | Code::OffsetOutOfRange, Some(partition))
                if !partition.is_stale(message.offset()) =>
            {
                partition.heard = true;
                let (partition, offset) = (partition.source.clone(), message.offset());
                self.events.push(ReaderEvent::OutOfRange { partition, offset });
            }
            (Code::PartitionEOF | Code::AutoOffsetReset | Code::OffsetOutOfRange, _) => {}
            // A reader does not use its group, so it need not be allowed to.
            (Code::GroupAuthorizationFailed, _) => tracing::debug!(reason = message.reason(), "not needed"),
            (code, _) if is_unreachable(code) || is_timeout(code) => self.trouble = Some(message.reason()),
            (code, Some(partition)) => {
                let what = format!("reading {}", partition.source);
                self.error = Some(topic_error(&what, &partition.source.topic, code, Duration::ZERO));
            }
            // Of a partition that was unassigned since.
            (_, None) if message.topic().is_some() => {}
            (code, None) => self.error = Some(code_error("reading", code, Duration::ZERO)),
        }
    }

    /// Gives out what resumed partitions held.
    pub(super) fn give_out(&mut self, fetched: &mut Fetched) {
        for partition in &mut self.partitions {
            partition.give_out(fetched);
        }
    }

    /// Gives out what arrived: batches, events, and why brokers cannot be reached.
    pub(super) fn finish(&mut self, fetched: &mut Fetched) -> Option<String> {
        for index in self.open.drain(..) {
            self.partitions[index].finish(fetched);
        }
        fetched.events.append(&mut self.events);
        self.trouble.take()
    }

    /// The error that was met, once.
    pub(super) fn error_met(&mut self) -> Option<LogError> {
        self.error.take()
    }

    /// The paused partitions that hold more than their share of so many bytes, now marked as parked.
    pub(super) fn park(&mut self, bytes: usize) -> impl Iterator<Item = &TopicPartition> {
        let share = bytes / self.partitions.len().max(1);
        self.partitions.iter_mut().filter(move |partition| partition.is_overfull(share)).map(|partition| {
            partition.standing = Standing::Parked;
            &partition.source
        })
    }
}
