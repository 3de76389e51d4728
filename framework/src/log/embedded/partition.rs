//! One partition in memory: chunks of records and transaction markers in the order of their offsets.
//!
//! A chunk is what one append brought. It never changes afterwards, so a reader takes it out of the lock by reference;
//! and it belongs to one transaction at most, so that visibility is a property of chunks, not of records.
//!
//! ```text
//!  start               stable end                  end
//!    |  visible, aborted   |  open, or behind an open  |
//!    [chunk][chunk][marker][chunk of an open one][chunk]
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use crate::log::{Batch, BatchBuilder, Isolation, TopicPartition};

/// A transaction, by its number in the log. Numbers start at 1 and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TransactionNumber(pub(super) u64);

/// The records and markers of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) stored: VecDeque<Stored>,
    /// The first offset that exists.
    pub(super) start: i64,
    /// The offset of the next record or marker.
    pub(super) end: i64,
    /// Transactions that are open here, with the offset of their first record.
    pub(super) open: BTreeMap<TransactionNumber, i64>,
    /// Memory of everything stored, bookkeeping included.
    pub(super) bytes: usize,
    /// `bytes` after the last compaction.
    pub(super) bytes_compacted: usize,
    /// Tombstones below this offset were left standing by a compaction at this time.
    pub(super) tombstones: Option<(i64, Duration)>,
}

/// What lies at an offset or at several.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Records(Chunk),
    Marker(Marker),
}

/// Records that were appended together.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Offset of the first record. Those inside `records` count from it.
    pub(super) base: i64,
    pub(super) records: Arc<Batch>,
    pub(super) transaction: Option<TransactionNumber>,
    pub(super) outcome: Outcome,
}

/// What became of the records of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Without a transaction, or of a committed one.
    Visible,
    /// Of a transaction that has not ended.
    Open,
    /// Of an aborted transaction.
    Aborted,
}

/// The end of a transaction in this partition; occupies one offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker {
    pub(super) offset: i64,
    pub(super) transaction: TransactionNumber,
    pub(super) committed: bool,
}

/// What a reader found from its position on.
#[derive(Debug)]
pub(super) struct Found {
    /// Records by reference, to be copied outside of the lock.
    pub(super) slices: Vec<Slice>,
    /// Where reading goes on.
    pub(super) next: i64,
    /// Whether nothing visible is left from `next` on.
    pub(super) at_end: bool,
}

/// A run of records inside a chunk.
#[derive(Debug)]
pub(super) struct Slice {
    base: i64,
    records: Arc<Batch>,
    from: usize,
    to: usize,
    bytes: usize,
}

/// Memory that one record takes beside its key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 40;
/// Memory that one chunk or marker takes beside its records.
const STORED_OVERHEAD_BYTES: usize = 160;

// === impl Partition ===

impl Partition {
    pub(super) fn new() -> Self {
        Self {
            stored: VecDeque::new(),
            start: 0,
            end: 0,
            open: BTreeMap::new(),
            bytes: 0,
            bytes_compacted: 0,
            tombstones: None,
        }
    }

    /// Appends records whose offsets count from 0; returns the offset of the last one.
    pub(super) fn append(&mut self, records: Arc<Batch>, transaction: Option<TransactionNumber>) -> i64 {
        let outcome = if transaction.is_some() { Outcome::Open } else { Outcome::Visible };
        if let Some(transaction) = transaction {
            self.open.entry(transaction).or_insert(self.end);
        }
        self.store(Stored::Records(Chunk { base: self.end, records, transaction, outcome }));
        self.end - 1
    }

    /// Ends a transaction here: its records become visible or never will.
    pub(super) fn end_transaction(&mut self, transaction: TransactionNumber, committed: bool) {
        self.settle(transaction, committed);
        self.store(Stored::Marker(Marker { offset: self.end, transaction, committed }));
    }

    /// Takes up something read back from disk, at the offsets it has there.
    pub(super) fn replay(&mut self, stored: Stored) {
        match &stored {
            Stored::Records(Chunk { base, transaction: Some(transaction), .. }) => {
                self.open.entry(*transaction).or_insert(*base);
            }
            Stored::Records(_) => {}
            Stored::Marker(marker) => self.settle(marker.transaction, marker.committed),
        }
        self.store(stored);
    }

    /// The highest number of a transaction that left traces here.
    pub(super) fn last_transaction(&self) -> TransactionNumber {
        let stored = self.stored.iter().filter_map(|stored| match stored {
            Stored::Records(chunk) => chunk.transaction,
            Stored::Marker(marker) => Some(marker.transaction),
        });
        stored.chain(self.open.keys().copied()).max().unwrap_or(TransactionNumber(0))
    }

    /// The last stable offset: everything below it is decided.
    pub(super) fn stable_end(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end).max(self.start)
    }

    /// The end that a reader of this isolation may see.
    pub(super) fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.stable_end(),
        }
    }

    /// The offset of the first record at this time or later, as far as this isolation may see.
    pub(super) fn offset_for_time(&self, timestamp_ms: i64, isolation: Isolation) -> Option<i64> {
        let records = self.stored.iter().flat_map(|stored| match stored {
            Stored::Records(chunk) => Some(chunk.records.iter().map(|record| (chunk.base + record.offset, record))),
            Stored::Marker(_) => None,
        });
        let (start, end) = (self.start, self.visible_end(isolation));
        let mut visible = records.flatten().filter(|(offset, _)| (start..end).contains(offset));
        visible.find(|(_, record)| record.timestamp_ms >= timestamp_ms).map(|(offset, _)| offset)
    }

    /// Whether a reader may stand at this offset.
    pub(super) fn contains(&self, position: i64) -> bool {
        (self.start..=self.end).contains(&position)
    }

    /// Up to about `max_records` visible records from `position` on, and up to about `max_bytes` of them.
    pub(super) fn find(&self, position: i64, isolation: Isolation, max_records: usize, max_bytes: usize) -> Found {
        let visible_end = self.visible_end(isolation);
        let mut found = Found { slices: Vec::new(), next: position, at_end: position >= visible_end };
        let (mut records, mut bytes) = (0, 0);
        for stored in self.stored.range(self.first_at(position)..) {
            if stored.base() >= visible_end {
                break;
            }
            let Stored::Records(chunk) = stored else { continue };
            if isolation == Isolation::ReadCommitted && chunk.outcome != Outcome::Visible {
                continue;
            }
            let from = chunk.index_of(found.next);
            let to = chunk.end_within(from, max_records - records, max_bytes.saturating_sub(bytes).max(1));
            let slice_bytes = chunk.bytes_between(from, to);
            records += to - from;
            bytes += slice_bytes;
            found.next = chunk.offset_after(to);
            found.slices.push(Slice {
                base: chunk.base,
                records: Arc::clone(&chunk.records),
                from,
                to,
                bytes: slice_bytes,
            });
            if to < chunk.records.len() || records >= max_records || bytes >= max_bytes {
                found.at_end = found.next >= visible_end;
                return found;
            }
        }
        found.next = found.next.max(visible_end);
        found.at_end = true;
        found
    }

    /// Deletes everything below `offset`.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        while self.stored.front().is_some_and(|stored| stored.last() < self.start) {
            if let Some(stored) = self.stored.pop_front() {
                self.bytes -= stored.bytes();
            }
        }
    }

    /// Puts other contents in the place of everything stored, offsets untouched.
    pub(super) fn replace(&mut self, stored: VecDeque<Stored>) {
        self.bytes = stored.iter().map(Stored::bytes).sum();
        self.stored = stored;
    }

    fn settle(&mut self, transaction: TransactionNumber, committed: bool) {
        let Some(first) = self.open.remove(&transaction) else { return };
        let outcome = if committed { Outcome::Visible } else { Outcome::Aborted };
        let from = self.first_at(first);
        for stored in self.stored.range_mut(from..) {
            if let Stored::Records(chunk) = stored
                && chunk.transaction == Some(transaction)
            {
                chunk.outcome = outcome;
            }
        }
    }

    fn store(&mut self, stored: Stored) {
        self.end = self.end.max(stored.last() + 1);
        self.bytes += stored.bytes();
        self.stored.push_back(stored);
    }

    /// The index of the first stored thing that reaches `offset`.
    fn first_at(&self, offset: i64) -> usize {
        self.stored.partition_point(|stored| stored.last() < offset)
    }
}

// === impl Stored ===

impl Stored {
    /// Its first offset.
    pub(super) fn base(&self) -> i64 {
        match self {
            Self::Records(chunk) => chunk.base,
            Self::Marker(marker) => marker.offset,
        }
    }

    /// Its last offset.
    pub(super) fn last(&self) -> i64 {
        match self {
            Self::Records(chunk) => chunk.offset_after(chunk.records.len()) - 1,
            Self::Marker(marker) => marker.offset,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Records(chunk) => STORED_OVERHEAD_BYTES + bytes_of(&chunk.records),
            Self::Marker(_) => STORED_OVERHEAD_BYTES,
        }
    }
}

// === impl Chunk ===

impl Chunk {
    /// The index of the first record at or behind `offset`.
    fn index_of(&self, offset: i64) -> usize {
        let relative = offset - self.base;
        let (mut low, mut high) = (0, self.records.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.relative(middle) < relative { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The offset behind the record before `index`.
    fn offset_after(&self, index: usize) -> i64 {
        index.checked_sub(1).map_or(self.base, |last| self.base + self.relative(last) + 1)
    }

    /// How far from `from` the bounds allow to go: one record at least.
    fn end_within(&self, from: usize, max_records: usize, max_bytes: usize) -> usize {
        let most = self.records.len().min(from.saturating_add(max_records));
        if self.records.bytes() <= max_bytes {
            return most;
        }
        let mut bytes = 0;
        (from..most)
            .find(|index| {
                bytes += self.bytes_between(*index, index + 1);
                bytes >= max_bytes
            })
            .map_or(most, |last| last + 1)
    }

    fn bytes_between(&self, from: usize, to: usize) -> usize {
        if from == 0 && to == self.records.len() {
            return self.records.bytes();
        }
        let record_bytes = |record: crate::log::RecordRef<'_>| {
            record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + mem::size_of::<i64>()
        };
        (from..to).filter_map(|index| self.records.get(index)).map(record_bytes).sum()
    }

    fn relative(&self, index: usize) -> i64 {
        self.records.get(index).expect("the index is below the number of records").offset
    }
}

// === impl Slice ===

impl Slice {
    /// How many records.
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    /// About how many bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies all slices into one batch with the offsets of the log.
    pub(super) fn batch(source: TopicPartition, slices: &[Self]) -> Batch {
        let mut builder = BatchBuilder::new(source);
        for slice in slices {
            for record in (slice.from..slice.to).filter_map(|index| slice.records.get(index)) {
                let offset = slice.base + record.offset;
                builder.push(offset, record.timestamp_ms, record.key, record.value, record.headers.iter());
            }
        }
        builder.build()
    }
}

/// Memory that records take.
pub(super) fn bytes_of(records: &Batch) -> usize {
    records.bytes() + records.len() * RECORD_OVERHEAD_BYTES
}
