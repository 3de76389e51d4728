//! What a worker writes to the log, and how it becomes final: the one place where the guarantees differ.
//!
//! Exactly once: everything between two commits is one Kafka transaction (KIP-447: one transactional producer per worker thread, fenced
//! by the group's epoch). At least once: records are flushed, then positions are committed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::Guarantee,
    log::{Append, Epoch, Group, Headers, Log, LogError, Partitioner, Producer, TopicPartition, TransactionalProducer},
    processor::{Output, ProcessError},
};

/// The producing side of a worker.
#[derive(Debug)]
pub(crate) struct Production {
    producer: Kind,
    /// Partition counts of all topics that the topology writes to.
    partitions: Arc<BTreeMap<Arc<str>, i32>>,
    partitioner: Partitioner,
    timeout: Duration,
}

#[derive(Debug)]
enum Kind {
    ExactlyOnce { producer: Box<dyn TransactionalProducer>, open: bool },
    AtLeastOnce { producer: Box<dyn Producer> },
}

// === impl Production ===

impl Production {
    /// Opens the producer. Under exactly-once that fences an earlier one of the same id and ends what it left open.
    pub(crate) fn open(
        log: &dyn Log,
        guarantee: Guarantee,
        transactional_id: &str,
        transaction_timeout: Duration,
        partitions: Arc<BTreeMap<Arc<str>, i32>>,
    ) -> Result<Self, LogError> {
        let producer = match guarantee {
            Guarantee::ExactlyOnce => {
                let mut producer = log.transactional_producer(transactional_id, transaction_timeout)?;
                producer.init(transaction_timeout.max(Duration::from_secs(30)))?;
                Kind::ExactlyOnce { producer, open: false }
            }
            Guarantee::AtLeastOnce => Kind::AtLeastOnce { producer: log.producer()? },
        };
        Ok(Self { producer, partitions, partitioner: Partitioner::new(), timeout: transaction_timeout })
    }

    /// Appends to a partition; begins the transaction if none is open.
    pub(crate) fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        match &mut self.producer {
            Kind::ExactlyOnce { producer, open } => {
                if !*open {
                    producer.begin()?;
                    *open = true;
                }
                producer.append(record)
            }
            Kind::AtLeastOnce { producer } => producer.append(record),
        }
    }

    /// Serves acknowledgements without waiting.
    pub(crate) fn serve(&mut self) {
        match &mut self.producer {
            Kind::ExactlyOnce { producer, .. } => producer.serve(),
            Kind::AtLeastOnce { producer } => producer.serve(),
        }
    }

    /// Makes all that was appended since the last commit final, together with the positions.
    ///
    /// On an error it is unknown whether it became final, but for [`LogError::Abortable`]: then it did not.
    pub(crate) fn commit(
        &mut self,
        positions: &[(TopicPartition, i64)],
        group: &dyn Group,
        epoch: &Epoch,
    ) -> Result<(), LogError> {
        match &mut self.producer {
            Kind::ExactlyOnce { producer, open } => {
                if !*open {
                    producer.begin()?;
                    *open = true;
                }
                // First, so that a record that is refused is told as such: behind it every call says only that the transaction must end.
                producer.flush(self.timeout)?;
                // A stale epoch: the tasks may have moved, but the producer is still good.
                let metadata = group.metadata(epoch).map_err(|error| match error {
                    LogError::Fenced { reason } => LogError::Abortable { reason },
                    error => error,
                })?;
                producer.send_offsets(positions, &metadata)?;
                producer.commit(self.timeout)?;
                *open = false;
                Ok(())
            }
            Kind::AtLeastOnce { producer } => {
                producer.flush(self.timeout)?;
                group.commit(epoch, positions)
            }
        }
    }

    /// Takes back what was appended since the last commit, where that is possible (exactly once).
    pub(crate) fn abort(&mut self) -> Result<(), LogError> {
        match &mut self.producer {
            Kind::ExactlyOnce { producer, open } if *open => {
                producer.abort(self.timeout)?;
                *open = false;
                Ok(())
            }
            Kind::ExactlyOnce { .. } => Ok(()),
            Kind::AtLeastOnce { producer } => producer.flush(self.timeout),
        }
    }

    /// The offset after the last acknowledged record of a partition.
    pub(crate) fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        match &self.producer {
            Kind::ExactlyOnce { producer, .. } => producer.acknowledged(topic, partition),
            Kind::AtLeastOnce { producer } => producer.acknowledged(topic, partition),
        }
        .map(|offset| offset + 1)
    }
}

impl Output for Production {
    fn send(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        partition_key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        let partitions =
            self.partitions.get(topic).copied().ok_or_else(|| LogError::UnknownTopic { topic: topic.to_string() })?;
        let partition = self.partitioner.partition(partition_key, partitions);
        Ok(self.append(Append { topic, partition, key, value, timestamp_ms, headers })?)
    }
}
