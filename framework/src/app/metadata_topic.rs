//! Reading and writing the shared metadata topic.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster::{MetadataDecoder, MetadataRecord},
    log::{Append, Headers, Isolation, Log, LogError, Producer, ReadFrom, Reader, ReaderEvent, TopicPartition},
    time::Clock,
};

/// Records of one fetch.
const FETCH_RECORDS: usize = 1024;
/// How long an append may take. The coordinator publishes again what it does not see on the topic.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long reading the topic may take at the start.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The metadata topic of an application: one compacted partition that every instance reads whole.
#[derive(Debug)]
pub(super) struct MetadataTopic {
    topic: Arc<str>,
    log: Arc<dyn Log>,
    reader: Box<dyn Reader>,
    producer: Box<dyn Producer>,
    decoder: MetadataDecoder,
    /// The offset of the next record to read.
    next: i64,
    clock: Arc<dyn Clock>,
}

// === impl MetadataTopic ===

impl MetadataTopic {
    /// Reads the topic to its end; the records come in the order of the topic.
    pub(super) fn load(
        log: Arc<dyn Log>,
        topic: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<MetadataRecord>), LogError> {
        let mut reader = log.reader(Isolation::ReadUncommitted)?;
        let partition = TopicPartition::new(Arc::clone(&topic), 0);
        let end = reader.end_offset(&partition)?;
        let mut next = reader.beginning_offset(&partition)?;
        reader.assign(&partition, ReadFrom::Beginning)?;
        let producer = log.producer()?;
        let mut this = Self { topic, log, reader, producer, decoder: MetadataDecoder::default(), next, clock };
        let (deadline, mut records) = (this.clock.monotonic() + LOAD_TIMEOUT, Vec::new());
        while next < end {
            if this.clock.monotonic() > deadline {
                return Err(LogError::Timeout { what: format!("reading {}", this.topic), after: LOAD_TIMEOUT });
            }
            let fetched = this.reader.poll(FETCH_RECORDS, Duration::from_millis(100))?;
            for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
                next = record.offset + 1;
                records.extend(this.decoder.decode(record.key, record.value));
            }
            for event in fetched.events {
                if let ReaderEvent::EndReached { next_offset, .. } = event {
                    next = next.max(next_offset);
                }
            }
        }
        this.next = next;
        Ok((this, records))
    }

    /// The offset of the next record to read: everything before was returned.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Waits up to `timeout` for records.
    pub(super) fn poll(&mut self, timeout: Duration) -> Result<Vec<MetadataRecord>, LogError> {
        let fetched = self.reader.poll(FETCH_RECORDS, timeout)?;
        for event in fetched.events {
            match event {
                ReaderEvent::OutOfRange { partition, offset } => {
                    tracing::warn!(%partition, offset, "the metadata topic was truncated; reading it anew");
                    self.reader.assign(&partition, ReadFrom::Beginning)?;
                }
                ReaderEvent::EndReached { next_offset, .. } => self.next = self.next.max(next_offset),
                ReaderEvent::Unavailable { .. } => {}
            }
        }
        let mut records = Vec::new();
        for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
            self.next = record.offset + 1;
            records.extend(self.decoder.decode(record.key, record.value));
        }
        Ok(records)
    }

    /// Appends a record. A failure is logged, not returned: the coordinator repeats what it does not see on the topic.
    pub(super) fn publish(&mut self, record: &MetadataRecord) {
        let (key, value) = (record.key(), record.value());
        let append = Append {
            topic: &self.topic,
            partition: 0,
            key: Some(key.as_bytes()),
            value: value.as_deref(),
            timestamp_ms: self.clock.now_ms(),
            headers: &Headers::default(),
        };
        let result = self.producer.append(append).and_then(|()| self.producer.flush(APPEND_TIMEOUT));
        if let Err(error) = result {
            tracing::warn!(key, %error, "a metadata record was not published");
            // Its client may be stuck, and what it holds is out of date when it gets through.
            match self.log.producer() {
                Ok(producer) => self.producer = producer,
                Err(error) => tracing::warn!(%error, "no new producer for metadata"),
            }
        }
    }
}
