//! The transaction coordinator: who may write under a transactional id, and what hangs on an open transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    disk::Entry,
    partition::{Marker, Stored, TransactionNumber},
    recovery::positions,
    state::State,
};
use crate::log::{Epoch, LogError, TopicPartition};

/// All transactional ids and open transactions.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    ids: BTreeMap<String, Identity>,
    open: BTreeMap<TransactionNumber, Transaction>,
    last_number: u64,
    last_epoch: u64,
}

/// A producer's right to a transactional id: lost when a newer one takes it.
#[derive(Debug, Clone)]
pub(super) struct ProducerId {
    pub(super) transactional_id: String,
    /// Unique in the log, so that an id that was forgotten and used again fences too.
    pub(super) epoch: u64,
    pub(super) timeout: Duration,
}

#[derive(Debug)]
struct Identity {
    epoch: u64,
    open: Option<TransactionNumber>,
    last_used: Duration,
}

#[derive(Debug)]
struct Transaction {
    transactional_id: String,
    deadline: Duration,
    partitions: BTreeSet<TopicPartition>,
    offsets: BTreeMap<String, BTreeMap<TopicPartition, i64>>,
}

/// So many transactional ids are remembered. A forgotten one is fenced: its producer has to start anew.
pub(super) const TRANSACTIONAL_IDS_MAX: usize = 10_000;

/// No transaction may be longer, as on a broker with default settings.
pub(super) const TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

// === impl Transactions ===

impl Transactions {
    /// When the next open transaction is to be aborted.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.open.values().map(|transaction| transaction.deadline).min()
    }

    /// The last number that was given to a transaction.
    pub(super) fn last_number(&self) -> TransactionNumber {
        TransactionNumber(self.last_number)
    }

    /// Numbers up to this one are taken.
    pub(super) fn used(&mut self, number: TransactionNumber) {
        self.last_number = self.last_number.max(number.0);
    }

    /// Notes that a transaction has records in a partition.
    pub(super) fn wrote(&mut self, transaction: TransactionNumber, source: &TopicPartition) {
        if let Some(transaction) = self.open.get_mut(&transaction)
            && !transaction.partitions.contains(source)
        {
            transaction.partitions.insert(source.clone());
        }
    }

    /// A topic is gone, and with it what transactions had there.
    pub(super) fn forget_topic(&mut self, topic: &str) {
        for transaction in self.open.values_mut() {
            transaction.partitions.retain(|source| &*source.topic != topic);
            transaction.offsets.values_mut().for_each(|offsets| offsets.retain(|source, _| &*source.topic != topic));
        }
    }

    fn new_epoch(&mut self) -> u64 {
        self.last_epoch += 1;
        self.last_epoch
    }

    /// The open transaction of a producer.
    fn open_of(&self, producer: &ProducerId) -> Result<Option<TransactionNumber>, LogError> {
        match self.ids.get(&producer.transactional_id) {
            Some(identity) if identity.epoch == producer.epoch => Ok(identity.open),
            _ => Err(LogError::Fenced {
                reason: format!(
                    "another producer took the transactional id `{}`, or its transaction timed out",
                    producer.transactional_id
                ),
            }),
        }
    }

    /// The open transaction of a producer, begun if there is none.
    fn enter(&mut self, producer: &ProducerId, now: Duration) -> Result<TransactionNumber, LogError> {
        if let Some(number) = self.open_of(producer)? {
            return Ok(number);
        }
        self.last_number += 1;
        let number = TransactionNumber(self.last_number);
        self.open.insert(
            number,
            Transaction {
                transactional_id: producer.transactional_id.clone(),
                deadline: now.saturating_add(producer.timeout),
                partitions: BTreeSet::new(),
                offsets: BTreeMap::new(),
            },
        );
        if let Some(identity) = self.ids.get_mut(&producer.transactional_id) {
            identity.open = Some(number);
            identity.last_used = now;
        }
        Ok(number)
    }

    /// Forgets the id that was not used for the longest time, if there are too many.
    fn make_room(&mut self) {
        if self.ids.len() < TRANSACTIONAL_IDS_MAX {
            return;
        }
        let idle = self.ids.iter().filter(|(_, identity)| identity.open.is_none());
        if let Some(oldest) = idle.min_by_key(|(_, identity)| identity.last_used).map(|(id, _)| id.clone()) {
            self.ids.remove(&oldest);
        }
    }
}

// === impl State ===

impl State {
    /// Gives a transactional id to a new producer: the older one is fenced, what it left open is aborted.
    pub(super) fn init_producer(
        &mut self,
        transactional_id: &str,
        timeout: Duration,
        now: Duration,
    ) -> Result<ProducerId, LogError> {
        if let Some(open) = self.transactions.ids.get(transactional_id).and_then(|identity| identity.open) {
            self.end_transaction(open, false)?;
        }
        let epoch = self.transactions.new_epoch();
        self.transactions.make_room();
        let identity = Identity { epoch, open: None, last_used: now };
        self.transactions.ids.insert(transactional_id.to_owned(), identity);
        Ok(ProducerId { transactional_id: transactional_id.to_owned(), epoch, timeout })
    }

    /// The open transaction of a producer, begun if there is none; an error if the producer is fenced.
    pub(super) fn enter_transaction(
        &mut self,
        producer: &ProducerId,
        now: Duration,
    ) -> Result<TransactionNumber, LogError> {
        let number = self.transactions.enter(producer, now)?;
        self.touch();
        Ok(number)
    }

    /// Adds positions of a group to the transaction of a producer.
    pub(super) fn send_offsets(
        &mut self,
        producer: &ProducerId,
        group: &str,
        epoch: &Epoch,
        offsets: &[(TopicPartition, i64)],
        now: Duration,
    ) -> Result<(), LogError> {
        self.transactions.open_of(producer)?;
        let member =
            self.groups.get(group).map_or(Err(format!("there is no group `{group}`")), |state| state.check(epoch));
        member.map_err(|reason| LogError::Abortable { reason })?;
        for (source, _) in offsets {
            self.partition(source)?;
        }
        let number = self.enter_transaction(producer, now)?;
        if let Some(transaction) = self.transactions.open.get_mut(&number) {
            transaction.offsets.entry(group.to_owned()).or_default().extend(offsets.iter().cloned());
        }
        if let Some(state) = self.groups.get_mut(group) {
            let pending = state.pending.entry(number).or_default();
            pending.extend(offsets.iter().map(|(source, _)| source.clone()));
        }
        Ok(())
    }

    /// Ends the transaction of a producer, if anything was done in it.
    pub(super) fn end_transaction_of(&mut self, producer: &ProducerId, committed: bool) -> Result<(), LogError> {
        self.transactions.open_of(producer)?.map_or(Ok(()), |number| self.end_transaction(number, committed))
    }

    /// Writes the marker of a transaction into one partition.
    pub(super) fn end_in_partition(
        &mut self,
        source: &TopicPartition,
        transaction: TransactionNumber,
        committed: bool,
    ) -> Result<(), LogError> {
        let marker = Marker { offset: self.partition(source)?.end, transaction, committed };
        let written = self.disk.as_mut().map_or(Ok(()), |disk| disk.append(source, &Stored::Marker(marker)));
        self.change_partition(source, |partition| partition.end_transaction(transaction, committed));
        written
    }

    /// Aborts transactions that are open for too long, and fences their producers.
    pub(super) fn abort_timed_out(&mut self, now: Duration) {
        let due = |transaction: &&Transaction| transaction.deadline <= now;
        let ids: Vec<String> = self
            .transactions
            .open
            .values()
            .filter(due)
            .map(|transaction| transaction.transactional_id.clone())
            .collect();
        for id in ids {
            tracing::warn!(transactional_id = id, "transaction timed out and is aborted");
            if let Err(error) = self.init_producer(&id, Duration::ZERO, now) {
                tracing::error!(transactional_id = id, %error, "abort of a timed-out transaction not written");
            }
        }
    }

    fn end_transaction(&mut self, number: TransactionNumber, committed: bool) -> Result<(), LogError> {
        if committed {
            self.decide(number)?;
        }
        let Some(transaction) = self.transactions.open.remove(&number) else { return Ok(()) };
        if let Some(identity) = self.transactions.ids.get_mut(&transaction.transactional_id) {
            identity.open = None;
        }
        for group in self.groups.values_mut() {
            group.pending.remove(&number);
        }
        if committed {
            for (group, offsets) in transaction.offsets {
                self.groups.entry(group).or_default().offsets.extend(offsets);
            }
        }
        self.touch();
        // It is decided, so memory follows in every partition. A marker that cannot be written breaks the disk, and
        // the journal brings it back at the next opening.
        let markers = transaction.partitions.iter().map(|source| self.end_in_partition(source, number, committed));
        let unwritten = markers.filter_map(Result::err).count();
        if unwritten > 0 {
            tracing::error!(transaction = number.0, unwritten, "transaction markers not written");
        }
        Ok(())
    }

    /// The step that commits: before it the transaction is open, after it nothing can undo it.
    fn decide(&mut self, number: TransactionNumber) -> Result<(), LogError> {
        self.journal(|state| {
            let offsets = state.transactions.open.get(&number).map(|transaction| &transaction.offsets);
            let by_group = |(group, offsets): (&String, &BTreeMap<_, _>)| (group.clone(), positions(offsets.clone()));
            Entry::Committed { transaction: number.0, offsets: offsets.into_iter().flatten().map(by_group).collect() }
        })
    }
}
