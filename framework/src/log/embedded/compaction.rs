//! Compaction: the last value of each key stays, at its offset.
//!
//! Only what lies below the last stable offset is touched, as in Kafka. There, markers and records of aborted
//! transactions have done their work and go too. A tombstone survives the first pass that meets it, so that a reader
//! who saw the value also sees its end; a later pass removes it. (The first pass after a log was opened is a first pass
//! again.)

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use super::partition::{Chunk, Outcome, Partition, Stored};
use crate::log::{BatchBuilder, RecordRef, TopicPartition};

/// A compacted partition smaller than this is left alone by automatic compaction.
pub(super) const AUTOMATIC_COMPACTION_BYTES: usize = 4 << 20;

/// Compacted records are stored in chunks of about this size.
const CHUNK_BYTES: usize = 1 << 20;

/// Collects surviving records into chunks.
#[derive(Debug)]
struct Survivors<'p> {
    source: &'p TopicPartition,
    stored: VecDeque<Stored>,
    /// The offset of the first record in `builder`.
    base: Option<i64>,
    builder: BatchBuilder,
}

// === impl Partition ===

impl Partition {
    /// Whether the partition has doubled since its last compaction, and is big enough to care.
    pub(super) fn wants_compaction(&self) -> bool {
        self.bytes >= AUTOMATIC_COMPACTION_BYTES.max(self.bytes_compacted.saturating_mul(2))
    }

    /// One pass. Tombstones go that an earlier pass left standing at least `tombstone_retention` ago.
    pub(super) fn compact(&mut self, source: &TopicPartition, now: Duration, tombstone_retention: Duration) {
        let stable_end = self.stable_end();
        let expired_below = match self.tombstones {
            Some((below, since)) if now >= since.saturating_add(tombstone_retention) => {
                self.tombstones = Some((stable_end, now));
                below
            }
            Some(_) => i64::MIN,
            None => {
                self.tombstones = Some((stable_end, now));
                i64::MIN
            }
        };
        let survivors = self.survivors(source, stable_end, expired_below);
        self.replace(survivors);
        self.bytes_compacted = self.bytes;
    }

    fn survivors(&self, source: &TopicPartition, stable_end: i64, expired_below: i64) -> VecDeque<Stored> {
        let latest = self.latest(stable_end);
        let mut survivors = Survivors::new(source);
        for stored in &self.stored {
            if stored.base() >= stable_end {
                survivors.keep(stored.clone());
                continue;
            }
            // The stable end is the first offset of a chunk, or the end: no chunk lies across it.
            let Some(chunk) = decided(stored) else { continue };
            for record in chunk.records.iter() {
                let offset = chunk.base + record.offset;
                let last_of_key = record.key.is_some_and(|key| latest.get(key) == Some(&offset));
                let expired = record.value.is_none() && offset < expired_below;
                if last_of_key && !expired && offset >= self.start {
                    survivors.push(offset, &record);
                }
            }
        }
        survivors.finish()
    }

    /// The offset of the last decided record of each key.
    fn latest(&self, stable_end: i64) -> HashMap<&[u8], i64> {
        let mut latest = HashMap::new();
        for chunk in self.stored.iter().take_while(|stored| stored.base() < stable_end).filter_map(decided) {
            for record in chunk.records.iter() {
                if let Some(key) = record.key {
                    latest.insert(key, chunk.base + record.offset);
                }
            }
        }
        latest
    }
}

/// Visible records; markers and aborted records have no part in compaction.
fn decided(stored: &Stored) -> Option<&Chunk> {
    match stored {
        Stored::Records(chunk) if chunk.outcome == Outcome::Visible => Some(chunk),
        _ => None,
    }
}

// === impl Survivors ===

impl<'p> Survivors<'p> {
    fn new(source: &'p TopicPartition) -> Self {
        Self { source, stored: VecDeque::new(), base: None, builder: BatchBuilder::new(source.clone()) }
    }

    fn push(&mut self, offset: i64, record: &RecordRef<'_>) {
        if self.builder.bytes() >= CHUNK_BYTES {
            self.close();
        }
        let relative = offset - *self.base.get_or_insert(offset);
        self.builder.push(relative, record.timestamp_ms, record.key, record.value, record.headers.iter());
    }

    fn keep(&mut self, stored: Stored) {
        self.close();
        self.stored.push_back(stored);
    }

    fn close(&mut self) {
        let Some(base) = self.base.take() else { return };
        let builder = mem::replace(&mut self.builder, BatchBuilder::new(self.source.clone()));
        let records = Arc::new(builder.build());
        self.stored.push_back(Stored::Records(Chunk { base, records, transaction: None, outcome: Outcome::Visible }));
    }

    fn finish(mut self) -> VecDeque<Stored> {
        self.close();
        self.stored
    }
}
