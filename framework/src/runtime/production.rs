//! What a worker writes to the log, and how it becomes final: the one place where the guarantees differ.
//!
//! Exactly once: everything between two commits is one Kafka transaction (KIP-447: one transactional producer per worker thread, fenced
//! by the group's epoch). At least once: records are flushed, then positions are committed.
//!
//! A commit is carried out by a thread of its own ([`Committer`]), which has the client meanwhile. What the worker writes then waits in
//! the [`Outbox`] for the next transaction: there is one transaction per producer at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    committer::{Committer, Done, Job},
    outbox::Outbox,
    threads::Threads,
};
use crate::{
    config::Guarantee,
    log::{Append, Epoch, Group, Headers, Log, LogError, Partitioner, Producer, TopicPartition, TransactionalProducer},
    processor::{Output, ProcessError},
    time::Clock,
};

/// The producing side of a worker.
#[derive(Debug)]
pub(crate) struct Production {
    /// `None` while a commit is in flight, or postponed.
    client: Option<Client>,
    /// A commit that goes on under a later epoch.
    postponed: Option<Job>,
    committer: Committer,
    outbox: Outbox,
    /// Partition counts of all topics that the topology writes to.
    partitions: Arc<BTreeMap<Arc<str>, i32>>,
    partitioner: Partitioner,
    timeout: Duration,
}

/// The producer of a guarantee.
#[derive(Debug)]
pub(super) enum Client {
    ExactlyOnce {
        producer: Box<dyn TransactionalProducer>,
        /// Whether a transaction is open.
        open: bool,
    },
    AtLeastOnce {
        producer: Box<dyn Producer>,
    },
}

/// How a commit ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// All of it is final.
    Wholly,
    /// The records are on the log, the positions are not: the group is in a newer generation than the commit. The transaction is as good as
    /// before, and can be committed under an epoch of that generation.
    Postponed,
}

const HERE: &str = "a commit is waited for before anything but records is asked of the producer";

// === impl Production ===

impl Production {
    /// Opens the producer of worker `index`. Under exactly-once that fences an earlier one of the same id and ends what it left
    /// open.
    pub(crate) fn open(
        log: &dyn Log,
        index: usize,
        guarantee: Guarantee,
        transactional_id: &str,
        transaction_timeout: Duration,
        partitions: Arc<BTreeMap<Arc<str>, i32>>,
        (threads, clock): (&dyn Threads, &Arc<dyn Clock>),
    ) -> Result<Self, LogError> {
        let client = match guarantee {
            Guarantee::ExactlyOnce => {
                let mut producer = log.transactional_producer(transactional_id, transaction_timeout)?;
                producer.init(transaction_timeout.max(Duration::from_secs(30)))?;
                Client::ExactlyOnce { producer, open: false }
            }
            Guarantee::AtLeastOnce => Client::AtLeastOnce { producer: log.producer()? },
        };
        Ok(Self {
            client: Some(client),
            postponed: None,
            committer: Committer::start(threads, format!("millpond-commit-{index}"), Arc::clone(clock))?,
            outbox: Outbox::default(),
            partitions,
            partitioner: Partitioner::new(),
            timeout: transaction_timeout,
        })
    }

    /// Appends to a partition, or keeps the record while a commit is in flight.
    pub(crate) fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        match &mut self.client {
            Some(client) => client.append(record),
            None => {
                self.outbox.push(record);
                Ok(())
            }
        }
    }

    /// Serves acknowledgements without waiting.
    pub(crate) fn serve(&mut self) {
        match &mut self.client {
            Some(Client::ExactlyOnce { producer, .. }) => producer.serve(),
            Some(Client::AtLeastOnce { producer }) => producer.serve(),
            // The committer does.
            None => {}
        }
    }

    /// How many partitions a topic has.
    fn partitions_of(&self, topic: &Arc<str>) -> Result<i32, LogError> {
        self.partitions.get(topic).copied().ok_or_else(|| LogError::UnknownTopic { topic: topic.to_string() })
    }

    /// Memory of records that wait for a commit to end, in bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Begins to make all that was appended since the last commit final, together with the positions. Until
    /// [`Production::committed`] says how that ended, records wait.
    pub(crate) fn begin_commit(
        &mut self,
        positions: Vec<(TopicPartition, i64)>,
        group: Arc<dyn Group>,
        epoch: Epoch,
    ) -> Result<(), LogError> {
        let client = self.client.take().expect("at most one commit is in flight");
        self.committer.begin(Job { client, positions, group, epoch, timeout: self.timeout })
    }

    /// Goes on with the commit that was postponed, under an epoch of the generation that the group is in.
    pub(crate) fn resume_commit(&mut self, epoch: Epoch) -> Result<(), LogError> {
        let job = self.postponed.take().expect("who resumes a commit was told that it is postponed");
        self.committer.begin(Job { epoch, ..job })
    }

    /// Waits up to `patience` for the commit in flight; `None` while it is not over.
    ///
    /// On an error it is unknown whether it became final, but for [`LogError::Abortable`]: then it did not.
    pub(crate) fn committed(&mut self, patience: Duration) -> Option<Result<Committed, LogError>> {
        Some(self.committer.wait(patience)?.and_then(|Done { job, result }| {
            match result {
                Ok(Committed::Postponed) => self.postponed = Some(job),
                Ok(Committed::Wholly) | Err(_) => self.client = Some(job.client),
            }
            result
        }))
    }

    /// Appends what has waited for the commit to end.
    pub(crate) fn append_waiting(&mut self) -> Result<(), LogError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let client = self.client.as_mut().expect(HERE);
        self.outbox.drain(|record| client.append(record))
    }

    /// Why the transaction must be aborted: the record that was refused, if there was one.
    pub(crate) fn cause(&mut self, error: LogError) -> LogError {
        match self.client.as_mut().map(|client| client.flush(self.timeout)) {
            Some(Err(cause @ LogError::RecordRefused { .. })) => cause,
            _ => error,
        }
    }

    /// Takes back what was appended since the last commit, where that is possible (exactly once).
    pub(crate) fn abort(&mut self) -> Result<(), LogError> {
        self.outbox.clear();
        if let Some(job) = self.postponed.take() {
            self.client = Some(job.client);
        }
        match &mut self.client {
            Some(Client::ExactlyOnce { producer, open }) if *open => {
                producer.abort(self.timeout)?;
                *open = false;
                Ok(())
            }
            Some(Client::ExactlyOnce { .. }) => Ok(()),
            Some(Client::AtLeastOnce { producer }) => producer.flush(self.timeout),
            None => Err(LogError::Fatal { reason: "the producer was lost with the thread for commits".into() }),
        }
    }

    /// The offset after the last acknowledged record of a partition.
    pub(crate) fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        match self.client.as_ref().expect(HERE) {
            Client::ExactlyOnce { producer, .. } => producer.acknowledged(topic, partition),
            Client::AtLeastOnce { producer } => producer.acknowledged(topic, partition),
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
        let partition = self.partitioner.partition(partition_key, self.partitions_of(topic)?);
        Ok(self.append(Append { topic, partition, key, value, timestamp_ms, headers })?)
    }

    fn send_to(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        let partitions = self.partitions_of(topic)?;
        if !(0..partitions).contains(&partition) {
            let (what, reason) =
                (format!("a record for {topic}-{partition}"), format!("it has {partitions} partitions"));
            return Err(LogError::Refused { what, reason }.into());
        }
        Ok(self.append(Append { topic, partition, key, value, timestamp_ms, headers })?)
    }
}

// === impl Client ===

impl Client {
    /// Appends; begins the transaction if none is open.
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        match self {
            Self::ExactlyOnce { producer, open } => {
                if !*open {
                    producer.begin()?;
                    *open = true;
                }
                producer.append(record)
            }
            Self::AtLeastOnce { producer } => producer.append(record),
        }
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        match self {
            Self::ExactlyOnce { producer, .. } => producer.flush(timeout),
            Self::AtLeastOnce { producer } => producer.flush(timeout),
        }
    }

    pub(super) fn commit(
        &mut self,
        positions: &[(TopicPartition, i64)],
        group: &dyn Group,
        epoch: &Epoch,
        timeout: Duration,
    ) -> Result<Committed, LogError> {
        match self {
            Self::ExactlyOnce { producer, open } => {
                if !*open {
                    producer.begin()?;
                    *open = true;
                }
                // First, so that a record that is refused is told as such: behind it every call says only that the transaction must end.
                producer.flush(timeout)?;
                // A stale epoch: whether the tasks stay here is not known yet, but nothing of them was given to the group.
                let metadata = match group.metadata(epoch) {
                    Err(LogError::Fenced { .. }) => return Ok(Committed::Postponed),
                    metadata => metadata?,
                };
                producer.send_offsets(positions, &metadata)?;
                producer.commit(timeout)?;
                *open = false;
                Ok(Committed::Wholly)
            }
            Self::AtLeastOnce { producer } => {
                producer.flush(timeout)?;
                group.commit(epoch, positions).map(|()| Committed::Wholly)
            }
        }
    }
}
