//! One assigned partition: where it stands, and what was taken from librdkafka for it but not given out.
//!
//! Pausing is done here and not by librdkafka, for two reasons. Its pause throws away what is fetched, which a reader
//! that is paused and resumed all the time would fetch over and over. And after the end of a partition was met in a batch,
//! it believes that the application stands one offset *behind* the end (`rd_kafka_q_serve_rkmessages` counts the message
//! that says so as a record), so that a resumed partition would skip a record.

use std::mem;

use rdkafka::Offset;

use crate::log::{Batch, BatchBuilder, Fetched, ReaderEvent, TopicPartition};

/// A partition that is assigned to a reader.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) source: TopicPartition,
    pub(super) standing: Standing,
    /// Whether anything arrived since it was assigned.
    pub(super) fetched: bool,
    /// The same, since librdkafka was last told to read it.
    pub(super) heard: bool,
    /// Where it was assigned to, until the first message says where that is.
    start: Offset,
    /// The offset behind the last message taken.
    next: Option<i64>,
    /// The batch under construction.
    builder: Option<BatchBuilder>,
    /// What arrived while it was paused.
    held: Vec<Batch>,
    held_bytes: usize,
    /// The end, if it was met behind all that is held.
    held_end: Option<i64>,
}

/// Whether a partition gives out what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Reading,
    /// It holds what arrives.
    Paused,
    /// Paused for so much that fetching was stopped: librdkafka does not know it until it is resumed.
    Parked,
}

// === impl Partition ===

impl Partition {
    pub(super) fn new(source: TopicPartition, start: Offset) -> Self {
        Self {
            source,
            standing: Standing::Reading,
            fetched: false,
            heard: false,
            start,
            next: match start {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            },
            builder: None,
            held: Vec::new(),
            held_bytes: 0,
            held_end: None,
        }
    }

    /// Whether something of it arrived, if anything is to.
    pub(super) fn is_heard(&self) -> bool {
        self.heard || self.standing == Standing::Parked
    }

    /// Where reading goes on.
    pub(super) fn position(&self) -> Offset {
        self.next.map_or(self.start, Offset::Offset)
    }

    /// Whether a message with this offset is of an assignment before this one.
    pub(super) fn is_stale(&self, offset: i64) -> bool {
        self.next.is_some_and(|next| offset < next)
    }

    /// The batch under construction, for the record at `offset`; `true` when it was begun now.
    pub(super) fn builder(&mut self, offset: i64) -> (&mut BatchBuilder, bool) {
        self.next = Some(offset + 1);
        (self.fetched, self.heard) = (true, true);
        // An end that was met before this record is none any more. One that is met behind it, in the same round, is.
        self.held_end = None;
        let begun = self.builder.is_none();
        let source = &self.source;
        (self.builder.get_or_insert_with(|| BatchBuilder::new(source.clone())), begun)
    }

    /// Finishes the batch under construction: gives it out, or holds it.
    pub(super) fn finish(&mut self, fetched: &mut Fetched) {
        let Some(builder) = self.builder.take() else { return };
        let batch = builder.build();
        if self.standing == Standing::Reading {
            fetched.batches.push(batch);
        } else {
            self.held_bytes += batch.bytes();
            self.held.push(batch);
        }
    }

    /// The end was met at `offset`: says so, or holds it back.
    pub(super) fn end(&mut self, offset: i64, events: &mut Vec<ReaderEvent>) {
        self.next = Some(offset);
        (self.fetched, self.heard) = (true, true);
        if self.standing == Standing::Reading {
            events.push(ReaderEvent::EndReached { partition: self.source.clone(), next_offset: offset });
        } else {
            self.held_end = Some(offset);
        }
    }

    /// Whether it is paused and holds so much that fetching must stop.
    pub(super) fn is_overfull(&self, limit_bytes: usize) -> bool {
        self.standing == Standing::Paused && self.held_bytes > limit_bytes
    }

    /// Gives out what was held while it was paused.
    pub(super) fn give_out(&mut self, fetched: &mut Fetched) {
        if self.standing != Standing::Reading {
            return;
        }
        fetched.batches.append(&mut self.held);
        self.held_bytes = 0;
        if let Some(offset) = mem::take(&mut self.held_end) {
            self.end(offset, &mut fetched.events);
        }
    }

    /// Holds what arrives from now on.
    pub(super) fn pause(&mut self) {
        if self.standing == Standing::Reading {
            self.standing = Standing::Paused;
        }
    }

    /// Gives out what arrives again; returns where fetching must be started anew, if it was stopped.
    pub(super) fn resume(&mut self) -> Option<Offset> {
        let parked = mem::replace(&mut self.standing, Standing::Reading) == Standing::Parked;
        parked.then(|| self.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_behind_records_of_the_same_round_outlives_a_pause() {
        let source = TopicPartition::new("t", 0);
        let mut partition = Partition::new(source.clone(), Offset::Beginning);
        let mut fetched = Fetched::default();
        partition.pause();
        partition.builder(0).0.push(0, 1, None, None, []);
        partition.end(1, &mut fetched.events);
        partition.finish(&mut fetched);
        assert!(fetched.batches.is_empty() && fetched.events.is_empty(), "{fetched:?}");
        partition.resume();
        partition.give_out(&mut fetched);
        assert_eq!(fetched.batches.iter().map(Batch::len).sum::<usize>(), 1);
        assert_eq!(fetched.events, [ReaderEvent::EndReached { partition: source, next_offset: 1 }]);
    }

    #[test]
    fn an_end_before_records_is_none() {
        let mut partition = Partition::new(TopicPartition::new("t", 0), Offset::Beginning);
        let mut fetched = Fetched::default();
        partition.pause();
        partition.end(0, &mut fetched.events);
        partition.builder(0).0.push(0, 1, None, None, []);
        partition.finish(&mut fetched);
        partition.resume();
        partition.give_out(&mut fetched);
        assert_eq!((fetched.batches.len(), fetched.events.len()), (1, 0));
    }
}
