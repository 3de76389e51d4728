//! The producer without transactions, and the outbox that both producers have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    connection::{Connection, unavailable},
    partition::TransactionNumber,
    state::State,
};
use crate::log::{Append, BatchBuilder, LogError, Producer, TopicPartition};

/// Appends records outside of transactions.
#[derive(Debug)]
pub(super) struct EmbeddedProducer {
    connection: Connection,
    outbox: Outbox,
    acknowledged: Acknowledged,
    /// The first failure since the last flush.
    failure: Option<LogError>,
}

/// Records that were accepted and not sent yet, in order per partition.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    batches: Vec<BatchBuilder>,
    /// How many records each of the batches has.
    lens: Vec<i64>,
    records: usize,
    bytes: usize,
}

/// The highest offset that was acknowledged, by topic and partition.
#[derive(Debug, Default)]
pub(super) struct Acknowledged(BTreeMap<Arc<str>, BTreeMap<i32, i64>>);

/// Records are sent when so many bytes of them wait, if nobody sends them earlier.
const SEND_BYTES: usize = 1 << 20;
/// Records are sent when so many of them wait, if nobody sends them earlier.
const SEND_RECORDS: usize = 10_000;
/// So many bytes may wait while the log is away.
const OUTBOX_BYTES_MAX: usize = 32 << 20;
/// So many records may wait while the log is away.
const OUTBOX_RECORDS_MAX: usize = 200_000;
/// How long an append waits for room in the outbox.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

// === impl EmbeddedProducer ===

impl EmbeddedProducer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, outbox: Outbox::default(), acknowledged: Acknowledged::default(), failure: None }
    }

    /// Sends what waits, as soon as the log can be reached. Says whether it could be, within `timeout`.
    fn send(&mut self, timeout: Duration) -> bool {
        let Self { connection, outbox, acknowledged, failure } = self;
        let sent = connection.call_within(timeout, |state, now| {
            let result = outbox.send(state, acknowledged, now, |_| Ok(None));
            Some(result)
        });
        if let Some(Err(error)) = &sent {
            failure.get_or_insert_with(|| error.clone());
        }
        sent.is_some()
    }
}

impl Producer for EmbeddedProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        if self.outbox.wants_sending()
            && !self.send(Duration::ZERO)
            && self.outbox.is_full()
            && !self.send(DELIVERY_TIMEOUT)
        {
            return Err(unavailable(format_args!("appending to `{}`", record.topic)));
        }
        self.outbox.push(&record);
        Ok(())
    }

    fn serve(&mut self) {
        self.send(Duration::ZERO);
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        if !self.send(timeout) {
            return Err(LogError::Timeout { what: "flushing a producer".to_owned(), after: timeout });
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.acknowledged.get(topic, partition)
    }
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn push(&mut self, record: &Append<'_>) {
        let index = self.batch_of(record.topic, record.partition);
        let before = self.batches[index].bytes();
        let (offset, headers) = (self.lens[index], record.headers.iter());
        self.batches[index].push(offset, record.timestamp_ms, record.key, record.value, headers);
        self.lens[index] += 1;
        self.records += 1;
        self.bytes += self.batches[index].bytes() - before;
    }

    /// Whether enough waits to be sent.
    pub(super) fn wants_sending(&self) -> bool {
        self.bytes >= SEND_BYTES || self.records >= SEND_RECORDS
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= OUTBOX_BYTES_MAX || self.records >= OUTBOX_RECORDS_MAX
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Appends everything to the log, in the transaction that `enter` names. The first failure is returned; what
    /// failed is dropped.
    pub(super) fn send(
        &mut self,
        state: &mut State,
        acknowledged: &mut Acknowledged,
        now: Duration,
        mut enter: impl FnMut(&mut State) -> Result<Option<TransactionNumber>, LogError>,
    ) -> Result<(), LogError> {
        let mut result = Ok(());
        for batch in std::mem::take(self).batches.into_iter().map(BatchBuilder::build) {
            let source = batch.source().clone();
            match enter(state).and_then(|transaction| state.append(batch, transaction, now)) {
                Ok(offset) => acknowledged.set(&source, offset),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    fn batch_of(&mut self, topic: &Arc<str>, partition: i32) -> usize {
        let same = |batch: &BatchBuilder| {
            let source = batch.source();
            source.partition == partition && (Arc::ptr_eq(&source.topic, topic) || source.topic == *topic)
        };
        self.batches.iter().position(same).unwrap_or_else(|| {
            self.batches.push(BatchBuilder::new(TopicPartition::new(Arc::clone(topic), partition)));
            self.lens.push(0);
            self.batches.len() - 1
        })
    }
}

// === impl Acknowledged ===

impl Acknowledged {
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    fn set(&mut self, source: &TopicPartition, offset: i64) {
        self.0.entry(Arc::clone(&source.topic)).or_default().insert(source.partition, offset);
    }
}
