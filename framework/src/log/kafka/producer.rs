//! The producer: idempotent appends, acknowledged by all in-sync replicas.

mod partitions;

use std::time::Duration;

use rdkafka::{error::RDKafkaErrorCode as Code, producer::Producer as _};

use self::partitions::Partitions;
use super::{
    context::Context,
    deadline::Deadline,
    error::{code_error, explain, failure_error, is_bad_record, log_error, topic_error},
    lifeline::Lifeline,
    options::Settings,
    raw::{Delivery, RawProducer},
};
use crate::{
    log::{Append, LogError, Producer},
    time::{Clock as _, SystemClock},
};

/// How long one wait for deliveries is: librdkafka wakes up for each, so it only bounds how late a deadline is seen.
const WAIT: Duration = Duration::from_millis(100);

/// [`Producer`] on Kafka.
#[derive(Debug)]
pub(super) struct KafkaProducer {
    sender: Sender,
}

/// What the plain and the transactional producer share.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) raw: RawProducer,
    pub(super) clock: SystemClock,
    /// How long a record may wait for room in the queue, and then for its delivery.
    delivery_timeout: Duration,
    transactional: bool,
    partitions: Partitions,
    /// The first delivery that failed since the last flush.
    failed: Option<LogError>,
    lifeline: Lifeline,
}

// === impl KafkaProducer ===

impl KafkaProducer {
    /// Opens the client.
    pub(super) fn open(settings: &Settings) -> Result<Self, LogError> {
        let config = settings.producer();
        Ok(Self { sender: Sender::open(settings, &config, settings.options.delivery_timeout, false)? })
    }
}

impl Producer for KafkaProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.sender.append(&record)
    }

    fn serve(&mut self) {
        self.sender.serve(Duration::ZERO);
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.sender.flush(Deadline::after(self.sender.clock, timeout))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.sender.acknowledged(topic, partition)
    }
}

// === impl Sender ===

impl Sender {
    pub(super) fn open(
        settings: &Settings,
        config: &rdkafka::ClientConfig,
        delivery_timeout: Duration,
        transactional: bool,
    ) -> Result<Self, LogError> {
        let raw = RawProducer::new(config, Context::new(settings))
            .map_err(|error| log_error("opening a producer", &error, settings.options.request_timeout))?;
        let (clock, partitions) = (settings.clock, Partitions::default());
        Ok(Self {
            raw,
            clock,
            delivery_timeout,
            transactional,
            partitions,
            failed: None,
            lifeline: Lifeline::default(),
        })
    }

    pub(super) fn append(&mut self, record: &Append<'_>) -> Result<(), LogError> {
        let refused =
            |reason: &str| Err(LogError::RecordRefused { topic: record.topic.to_string(), reason: reason.into() });
        if record.partition < 0 {
            return refused("it has no partition: callers choose it");
        }
        // librdkafka takes time 0 for "now": the first millisecond of 1970 is written as the second.
        let record =
            &Append { timestamp_ms: if record.timestamp_ms == 0 { 1 } else { record.timestamp_ms }, ..*record };
        if record.timestamp_ms < 0 {
            return refused("its timestamp is before 1970, which Kafka does not keep");
        }
        let (topic, tag) = self.partitions.index(record.topic, record.partition, |name| {
            self.raw.open_topic(name).map_err(|error| log_error("opening a topic", &error, Duration::ZERO))
        })?;
        let mut deadline = None;
        loop {
            match self.raw.produce(topic, tag, record) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.code == Code::QueueFull => {
                    let deadline = deadline.get_or_insert_with(|| Deadline::after(self.clock, self.delivery_timeout));
                    if deadline.passed() {
                        let what = format!("room in the producer's queue for topic `{}`", record.topic);
                        return Err(self.explain(LogError::Timeout { what, after: deadline.timeout() }));
                    }
                    self.serve(WAIT.min(deadline.remaining()));
                }
                Err(failure) if is_bad_record(failure.code) => return refused(&failure.reason),
                // The transaction has failed for another record: librdkafka takes no more, and does not say why here.
                Err(failure) if failure.code == Code::State && self.transactional && !failure.fatal => {
                    let cause = self.failed.as_ref().map_or(failure.reason, ToString::to_string);
                    let reason = format!("appending to topic `{}`: {cause}", record.topic);
                    return Err(LogError::Abortable { reason });
                }
                Err(failure) => {
                    let what = format!("appending to topic `{}`", record.topic);
                    return Err(match topic_error(&what, record.topic, failure.code, self.delivery_timeout) {
                        error @ LogError::UnknownTopic { .. } => error,
                        _ => failure_error(&what, failure, self.delivery_timeout),
                    });
                }
            }
        }
    }

    /// Waits up to `timeout` for deliveries, and takes those that are there.
    pub(super) fn serve(&mut self, timeout: Duration) {
        let Self { raw, partitions, failed, delivery_timeout, transactional, .. } = self;
        raw.serve(timeout, |delivery| match delivery {
            Delivery { tag, offset, error: None } => partitions.acknowledge(tag, offset),
            Delivery { error: Some(Code::PurgeQueue | Code::PurgeInflight), .. } => {}
            Delivery { tag, error: Some(code), .. } => {
                if failed.is_none() {
                    let topic = partitions.topic(tag);
                    let what = format!("delivering a record to topic `{topic}`");
                    *failed = Some(match topic_error(&what, topic, code, *delivery_timeout) {
                        _ if is_bad_record(code) => {
                            LogError::RecordRefused { topic: topic.into(), reason: code.to_string() }
                        }
                        // Its transaction can only be aborted; that the log was away is what matters.
                        error if error.is_retriable() && *transactional => error,
                        // Nothing is left to wait for: the record is lost to this producer.
                        error if error.is_retriable() => LogError::Fatal { reason: error.to_string() },
                        error => error,
                    });
                }
            }
        });
    }

    /// Waits until nothing is outstanding.
    pub(super) fn drain(&mut self, deadline: Deadline) -> Result<(), LogError> {
        self.serve(Duration::ZERO);
        if self.raw.outstanding() {
            self.raw.send_at_once();
        }
        while self.raw.outstanding() {
            if deadline.passed() {
                let error = LogError::Timeout { what: "flushing the producer".into(), after: deadline.timeout() };
                return Err(self.explain(error));
            }
            self.serve(WAIT.min(deadline.remaining()));
        }
        Ok(())
    }

    /// Waits until all records are acknowledged, or says which was the first that failed.
    pub(super) fn flush(&mut self, deadline: Deadline) -> Result<(), LogError> {
        self.drain(deadline)?;
        match self.failed.take() {
            None => Ok(()),
            Some(error) => Err(self.fatal().unwrap_or(error)),
        }
    }

    pub(super) fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.partitions.acknowledged(topic, partition)
    }

    /// Forgets deliveries that failed: their transaction is over.
    pub(super) fn forget_failures(&mut self) {
        self.failed = None;
    }

    /// The error that ended the client for good.
    fn fatal(&self) -> Option<LogError> {
        let (code, reason) = self.raw.safe().client().fatal_error()?;
        match code_error("producing", code, Duration::ZERO) {
            LogError::Fenced { .. } => Some(LogError::Fenced { reason }),
            _ => Some(LogError::Fatal { reason }),
        }
    }

    /// Adds what is known of the connection.
    pub(super) fn explain(&mut self, error: LogError) -> LogError {
        self.serve(Duration::ZERO);
        let (now, client) = (self.clock.monotonic(), self.raw.safe().client());
        let context = client.context();
        if error.is_retriable() {
            self.lifeline.look(now, client, context.bootstrap(), Duration::ZERO);
        }
        explain(error, context.bootstrap(), context.take_trouble())
    }
}
