//! Readers and producers that go wrong.

use std::time::Duration;

use super::{
    Faults, Moment, Step,
    log::{append_to, is_changelog, is_metadata},
};
use crate::log::{
    Append, Fetched, GroupMetadata, LogError, Producer, ReadFrom, Reader, TopicPartition, TransactionalProducer,
};

#[derive(Debug)]
pub(super) struct FaultyReader {
    reader: Box<dyn Reader>,
    faults: Faults,
}

#[derive(Debug)]
pub(super) struct FaultyProducer {
    producer: Box<dyn Producer>,
    faults: Faults,
    /// Whether it writes the metadata topic: what it flushes is no part of a commit.
    publishes: bool,
}

#[derive(Debug)]
pub(super) struct FaultyTransactionalProducer {
    producer: Box<dyn TransactionalProducer>,
    faults: Faults,
}

// === impl FaultyReader ===

impl FaultyReader {
    pub(super) fn new(reader: Box<dyn Reader>, faults: Faults) -> Self {
        Self { reader, faults }
    }
}

impl Reader for FaultyReader {
    fn assign(&mut self, partition: &TopicPartition, from: ReadFrom) -> Result<(), LogError> {
        self.faults.alive(|| self.reader.assign(partition, from))
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.faults.alive(|| self.reader.unassign(partition))
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.faults.alive(|| self.reader.pause(partition))
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.faults.alive(|| self.reader.resume(partition))
    }

    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Fetched, LogError> {
        let fetched = self.faults.alive(|| self.reader.poll(max_records, timeout))?;
        let read = |is: fn(&str) -> bool| fetched.batches.iter().any(|batch| is(&batch.source().topic));
        if read(is_changelog) {
            self.faults.pass(Step::ReadChangelog, Moment::After)?;
        } else if read(|topic| !is_metadata(topic)) {
            self.faults.pass(Step::Read, Moment::After)?;
        }
        Ok(fetched)
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<i64> {
        self.reader.known_end(partition)
    }

    fn fetched_bytes(&self) -> usize {
        self.reader.fetched_bytes()
    }

    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        self.faults.alive(|| self.reader.offset_for_time(partition, timestamp_ms))
    }

    fn beginning_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.faults.alive(|| self.reader.beginning_offset(partition))
    }

    fn end_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.faults.alive(|| self.reader.end_offset(partition))
    }
}

// === impl FaultyProducer ===

impl FaultyProducer {
    pub(super) fn new(producer: Box<dyn Producer>, faults: Faults) -> Self {
        Self { producer, faults, publishes: false }
    }
}

impl Producer for FaultyProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        let step = append_to(record.topic);
        self.publishes = step == Step::Publish;
        self.faults.at(step, || self.producer.append(record))
    }

    fn serve(&mut self) {
        // What is dead is not served; its next call says so.
        let _ = self.faults.alive(|| {
            self.producer.serve();
            Ok(())
        });
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        let flush = || self.producer.flush(timeout);
        if self.publishes { self.faults.alive(flush) } else { self.faults.at(Step::Flush, flush) }
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.producer.acknowledged(topic, partition)
    }
}

// === impl FaultyTransactionalProducer ===

impl FaultyTransactionalProducer {
    pub(super) fn new(producer: Box<dyn TransactionalProducer>, faults: Faults) -> Self {
        Self { producer, faults }
    }
}

impl Producer for FaultyTransactionalProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.faults.at(append_to(record.topic), || self.producer.append(record))
    }

    fn serve(&mut self) {
        let _ = self.faults.alive(|| {
            self.producer.serve();
            Ok(())
        });
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.faults.at(Step::Flush, || self.producer.flush(timeout))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.producer.acknowledged(topic, partition)
    }
}

impl TransactionalProducer for FaultyTransactionalProducer {
    fn init(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.faults.at(Step::Init, || self.producer.init(timeout))
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.faults.at(Step::Begin, || self.producer.begin())
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, i64)], group: &GroupMetadata) -> Result<(), LogError> {
        self.faults.at(Step::SendOffsets, || self.producer.send_offsets(offsets, group))
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.faults.at(Step::Commit, || self.producer.commit(timeout))
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.faults.at(Step::Abort, || self.producer.abort(timeout))
    }
}
