//! The transactional producer.
//!
//! librdkafka waits in `flush` and `abort_transaction` for deliveries that only the thread in that very call could serve, so
//! deliveries are served here before each of them.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    error::{KafkaError, KafkaResult},
    producer::{BaseProducer, Producer as _},
};

use super::{
    context::Context,
    deadline::Deadline,
    error::{code_error, failure_error, log_error},
    group::KafkaGroupMetadata,
    options::Settings,
    producer::Sender,
    raw,
};
use crate::log::{Append, GroupMetadata, LogError, Producer, TopicPartition, TransactionalProducer};

/// How long the first call of an abort may wait for deliveries that nobody serves meanwhile.
const INSTANT: Duration = Duration::from_millis(1);
/// How long one attempt of a call that may be tried again takes at most; librdkafka goes on with it in the background.
const ATTEMPT: Duration = Duration::from_secs(1);

/// [`TransactionalProducer`] on Kafka.
#[derive(Debug)]
pub(super) struct KafkaTransactionalProducer {
    sender: Sender,
    transactional_id: String,
    /// Bounds calls that have no deadline of their own.
    timeout: Duration,
}

// === impl KafkaTransactionalProducer ===

impl KafkaTransactionalProducer {
    /// Opens the client.
    pub(super) fn open(
        settings: &Settings,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Self, LogError> {
        let config = settings.transactional(transactional_id, transaction_timeout);
        let timeout = settings.options.request_timeout.min(transaction_timeout);
        let sender = Sender::open(settings, &config, transaction_timeout, true)?;
        Ok(Self { sender, transactional_id: transactional_id.into(), timeout })
    }

    /// Repeats a call until it ends or the deadline passes, serving deliveries and events meanwhile.
    fn until(
        &mut self,
        what: &str,
        deadline: Deadline,
        call: impl Fn(&BaseProducer<Context>, Duration) -> KafkaResult<()>,
    ) -> Result<(), LogError> {
        loop {
            let attempt = ATTEMPT.min(deadline.remaining());
            let result = call(self.sender.raw.safe(), attempt);
            self.sender.serve(Duration::ZERO);
            match result {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !deadline.passed() => {
                    tracing::debug!(transactional_id = self.transactional_id, what, %error, "trying again");
                }
                Err(error) => {
                    let what = format!("{what} of `{}`", self.transactional_id);
                    return Err(self.sender.explain(log_error(&what, &error, deadline.timeout())));
                }
            }
        }
    }

    fn deadline(&self, timeout: Duration) -> Deadline {
        Deadline::after(self.sender.clock, timeout)
    }
}

impl Producer for KafkaTransactionalProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.sender.append(&record)
    }

    fn serve(&mut self) {
        self.sender.serve(Duration::ZERO);
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.sender.flush(self.deadline(timeout))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.sender.acknowledged(topic, partition)
    }
}

impl TransactionalProducer for KafkaTransactionalProducer {
    fn init(&mut self, timeout: Duration) -> Result<(), LogError> {
        let deadline = self.deadline(timeout);
        // librdkafka looks for the coordinator at once if it is connected, else half a second later. So it is connected first.
        if let Err(error) = raw::reach(self.sender.raw.safe().client(), deadline.remaining()) {
            let what = format!("init of `{}`", self.transactional_id);
            return Err(self.sender.explain(code_error(&what, error, timeout)));
        }
        self.until("init", deadline, |producer, timeout| producer.init_transactions(timeout))
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.sender.serve(Duration::ZERO);
        self.sender.forget_failures();
        self.until("begin", self.deadline(self.timeout), |producer, _| producer.begin_transaction())
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, i64)], group: &GroupMetadata) -> Result<(), LogError> {
        let what = format!("sending offsets to the transaction of `{}`", self.transactional_id);
        let Some(KafkaGroupMetadata { group_id }) = group.inner.downcast_ref() else {
            return Err(LogError::Refused { what, reason: "the group's metadata is of another log".into() });
        };
        let list = offsets_list(offsets).map_err(|error| log_error(&what, &error, self.timeout))?;
        let deadline = self.deadline(self.timeout);
        loop {
            let attempt = ATTEMPT.min(deadline.remaining());
            match self.sender.raw.send_offsets(&list, group_id, &group.epoch, attempt) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.retriable && !deadline.passed() => self.sender.serve(Duration::ZERO),
                Err(failure) => return Err(self.sender.explain(failure_error(&what, failure, self.timeout))),
            }
        }
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), LogError> {
        let deadline = self.deadline(timeout);
        self.sender.flush(deadline)?;
        self.until("commit", deadline, |producer, timeout| producer.commit_transaction(timeout))
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), LogError> {
        let deadline = self.deadline(timeout);
        self.sender.serve(Duration::ZERO);
        if self.sender.raw.outstanding() {
            // Begins the abort: what is queued is given up, what is in flight must come back (or sequence numbers would be
            // missing). Both become deliveries, which are then served here.
            match self.sender.raw.safe().abort_transaction(INSTANT) {
                Ok(()) => {
                    self.sender.forget_failures();
                    return Ok(());
                }
                Err(error) => tracing::trace!(%error, "the abort waits for deliveries"),
            }
            self.sender.drain(deadline)?;
        }
        self.until("abort", deadline, |producer, timeout| producer.abort_transaction(timeout))?;
        self.sender.forget_failures();
        Ok(())
    }
}

/// Offsets as librdkafka takes them.
pub(super) fn offsets_list(offsets: &[(TopicPartition, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        list.add_partition(&partition.topic, partition.partition).set_offset(Offset::Offset(*offset))?;
    }
    Ok(list)
}
