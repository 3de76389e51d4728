//! The transactional producer.

use std::{mem, time::Duration};

use super::{
    connection::{Connection, unavailable},
    membership::Snapshot,
    producer::{Acknowledged, DELIVERY_TIMEOUT, Outbox},
    transactions::{ProducerId, TRANSACTION_TIMEOUT_MAX},
};
use crate::log::{Append, GroupMetadata, LogError, Producer, TopicPartition, TransactionalProducer};

/// Appends records and offsets in transactions.
#[derive(Debug)]
pub(super) struct EmbeddedTransactionalProducer {
    connection: Connection,
    transactional_id: String,
    timeout: Duration,
    outbox: Outbox,
    acknowledged: Acknowledged,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Before `init`.
    New,
    /// Between transactions.
    Ready(ProducerId),
    /// In a transaction.
    Open(ProducerId),
    /// In a transaction that can only be aborted.
    MustAbort(ProducerId, LogError),
    /// A newer producer has the id.
    Fenced(LogError),
}

// === impl EmbeddedTransactionalProducer ===

impl EmbeddedTransactionalProducer {
    pub(super) fn new(connection: Connection, transactional_id: &str, timeout: Duration) -> Self {
        Self {
            connection,
            transactional_id: transactional_id.to_owned(),
            timeout,
            outbox: Outbox::default(),
            acknowledged: Acknowledged::default(),
            phase: Phase::New,
        }
    }

    /// The producer of the open transaction.
    fn open(&self, what: &str) -> Result<&ProducerId, LogError> {
        match &self.phase {
            Phase::Open(producer) => Ok(producer),
            Phase::MustAbort(_, cause) => Err(LogError::Abortable { reason: cause.to_string() }),
            Phase::Fenced(error) => Err(error.clone()),
            Phase::New | Phase::Ready(_) => Err(self.refused(what, "no transaction was begun")),
        }
    }

    /// Sends what waits, as soon as the log can be reached. `None` when that was not within `timeout`.
    fn send(&mut self, timeout: Duration) -> Option<Result<(), LogError>> {
        let Self { connection, outbox, acknowledged, phase, .. } = self;
        let Phase::Open(producer) = phase else { return Some(Ok(())) };
        let sent = connection.call_within(timeout, |state, now| {
            Some(outbox.send(state, acknowledged, now, |state| state.enter_transaction(producer, now).map(Some)))
        })?;
        Some(sent.map_err(|error| self.failed(error)))
    }

    /// Notes what a failure means for the open transaction.
    fn failed(&mut self, error: LogError) -> LogError {
        self.phase = match (mem::replace(&mut self.phase, Phase::New), &error) {
            (_, LogError::Fenced { .. }) => Phase::Fenced(error.clone()),
            (Phase::Open(producer), _) => Phase::MustAbort(producer, error.clone()),
            (phase, _) => phase,
        };
        error
    }

    /// What the outcome of a commit or abort means for the producer.
    fn ended(&mut self, result: Result<(), LogError>, producer: ProducerId) -> Result<(), LogError> {
        match result {
            Ok(()) => {
                self.phase = Phase::Ready(producer);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn timed_out(&self, what: &str, after: Duration) -> LogError {
        LogError::Timeout { what: format!("{what} of producer `{}`", self.transactional_id), after }
    }

    fn refused(&self, what: &str, reason: &str) -> LogError {
        LogError::Refused { what: format!("{what} of producer `{}`", self.transactional_id), reason: reason.to_owned() }
    }
}

impl Producer for EmbeddedTransactionalProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.open("append")?;
        if self.outbox.wants_sending() {
            let mut sent = self.send(Duration::ZERO);
            if sent.is_none() && self.outbox.is_full() {
                sent = self.send(DELIVERY_TIMEOUT);
                sent.as_ref().ok_or_else(|| unavailable(format_args!("appending to `{}`", record.topic)))?;
            }
            sent.unwrap_or(Ok(()))?;
        }
        self.outbox.push(&record);
        Ok(())
    }

    fn serve(&mut self) {
        // A failure makes the transaction one that must be aborted; the next call says so.
        if let Some(Err(error)) = self.send(Duration::ZERO) {
            tracing::debug!(transactional_id = self.transactional_id, %error, "append failed");
        }
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        match &self.phase {
            Phase::MustAbort(_, cause) | Phase::Fenced(cause) => return Err(cause.clone()),
            Phase::New | Phase::Ready(_) | Phase::Open(_) => {}
        }
        self.send(timeout).unwrap_or_else(|| Err(self.timed_out("flush", timeout)))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.acknowledged.get(topic, partition)
    }
}

impl TransactionalProducer for EmbeddedTransactionalProducer {
    fn init(&mut self, timeout: Duration) -> Result<(), LogError> {
        match &self.phase {
            Phase::New => {}
            Phase::Fenced(error) => return Err(error.clone()),
            Phase::Ready(_) | Phase::Open(_) | Phase::MustAbort(..) => {
                return Err(self.refused("init", "it is done already"));
            }
        }
        if self.timeout > TRANSACTION_TIMEOUT_MAX {
            let reason = format!("a transaction may take {} ms at most", TRANSACTION_TIMEOUT_MAX.as_millis());
            return Err(self.refused("init", &reason));
        }
        let initiated = self
            .connection
            .call_within(timeout, |state, now| Some(state.init_producer(&self.transactional_id, self.timeout, now)));
        self.phase = Phase::Ready(initiated.ok_or_else(|| self.timed_out("init", timeout))??);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), LogError> {
        match mem::replace(&mut self.phase, Phase::New) {
            Phase::Ready(producer) => {
                self.phase = Phase::Open(producer);
                Ok(())
            }
            other => {
                self.phase = other;
                Err(match &self.phase {
                    Phase::Fenced(error) => error.clone(),
                    Phase::New => self.refused("begin", "it was not initialised"),
                    _ => self.refused("begin", "a transaction is open"),
                })
            }
        }
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, i64)], group: &GroupMetadata) -> Result<(), LogError> {
        let producer = self.open("send_offsets")?;
        let Some(snapshot) = group.inner.downcast_ref::<Snapshot>() else {
            return Err(self.refused("send_offsets", "the group metadata is of another log"));
        };
        let sent = self.connection.call(format_args!("sending offsets of `{}`", snapshot.group_id), |state, now| {
            state.send_offsets(producer, &snapshot.group_id, &group.epoch, offsets, now)
        });
        sent.map_err(|error| if error.is_retriable() { error } else { self.failed(error) })
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), LogError> {
        let producer = self.open("commit")?.clone();
        let Self { connection, outbox, acknowledged, .. } = self;
        let committed = connection.call_within(timeout, |state, now| {
            let sent = outbox.send(state, acknowledged, now, |state| state.enter_transaction(&producer, now).map(Some));
            Some(sent.and_then(|()| state.end_transaction_of(&producer, true)))
        });
        let committed = committed.ok_or_else(|| self.timed_out("commit", timeout))?;
        self.ended(committed, producer).map_err(|error| match error {
            LogError::Fenced { .. } => error,
            cause => LogError::Abortable { reason: cause.to_string() },
        })
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), LogError> {
        let producer = match &self.phase {
            Phase::Open(producer) | Phase::MustAbort(producer, _) => producer.clone(),
            Phase::Fenced(error) => return Err(error.clone()),
            Phase::New | Phase::Ready(_) => return Err(self.refused("abort", "no transaction was begun")),
        };
        let aborted = self.connection.call_within(timeout, |state, _| Some(state.end_transaction_of(&producer, false)));
        let aborted = aborted.ok_or_else(|| self.timed_out("abort", timeout))?;
        self.outbox.clear();
        self.ended(aborted, producer)
    }
}
