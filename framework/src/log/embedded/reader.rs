//! The reader.

use std::{mem, time::Duration};

use super::{
    connection::{AWAY, Connection},
    partition::Slice,
    state::State,
};
use crate::log::{Fetched, Isolation, LogError, ReadFrom, Reader, ReaderEvent, TopicPartition};

/// Reads assigned partitions in turn.
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    connection: Connection,
    isolation: Isolation,
    /// The partition that comes first in the next poll is at the front.
    assigned: Vec<Assigned>,
    /// Met while other partitions brought something: the next poll says it.
    failure: Option<LogError>,
}

#[derive(Debug)]
struct Assigned {
    source: TopicPartition,
    place: Place,
    paused: bool,
    /// The end that was last said to be reached.
    told_end: Option<i64>,
    known_end: Option<i64>,
}

/// Where a reader stands in a partition.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Not yet looked up.
    Unresolved(ReadFrom),
    /// The next offset to read.
    At(i64),
    /// Nowhere, until the partition is assigned anew.
    Lost,
}

/// What one look at the log brought; records are copied after the lock is released.
#[derive(Debug, Default)]
struct Gathered {
    runs: Vec<(TopicPartition, Vec<Slice>)>,
    events: Vec<ReaderEvent>,
    error: Option<LogError>,
}

/// One poll returns about so many bytes of records at most.
const POLL_BYTES_MAX: usize = 16 << 20;

// === impl EmbeddedReader ===

impl EmbeddedReader {
    pub(super) fn new(connection: Connection, isolation: Isolation) -> Self {
        Self { connection, isolation, assigned: Vec::new(), failure: None }
    }

    fn find(&self, partition: &TopicPartition) -> Option<&Assigned> {
        self.assigned.iter().find(|assigned| assigned.source == *partition)
    }

    fn find_mut(&mut self, partition: &TopicPartition) -> Result<&mut Assigned, LogError> {
        self.assigned.iter_mut().find(|assigned| assigned.source == *partition).ok_or_else(|| LogError::Refused {
            what: format!("reading {partition}"),
            reason: "it is not assigned to this reader".to_owned(),
        })
    }
}

impl Reader for EmbeddedReader {
    fn assign(&mut self, partition: &TopicPartition, from: ReadFrom) -> Result<(), LogError> {
        let isolation = self.isolation;
        // What the end is "at this time" is asked now; while the log is away, as soon as it is back.
        let place = self.connection.with(|state, _| {
            if state.reachable(self.connection.link) {
                Place::Unresolved(from).resolve(state, partition, isolation)
            } else {
                Ok(Place::Unresolved(from))
            }
        })?;
        self.assigned.retain(|assigned| assigned.source != *partition);
        self.assigned.push(Assigned {
            source: partition.clone(),
            place,
            paused: false,
            told_end: None,
            known_end: None,
        });
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.assigned.retain(|assigned| assigned.source != *partition);
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.find_mut(partition)?.paused = true;
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.find_mut(partition)?.paused = false;
        Ok(())
    }

    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Fetched, LogError> {
        let Self { connection, isolation, assigned, failure } = self;
        if let Some(error) = failure.take() {
            return Err(error);
        }
        let mut reachable = true;
        let gathered = connection.wait(timeout, |state, _| {
            reachable = state.reachable(connection.link);
            let gathered = if reachable { gather(state, assigned, *isolation, max_records) } else { return None };
            (!gathered.is_empty()).then_some(gathered)
        });
        if !reachable {
            let events = vec![ReaderEvent::Unavailable { reason: AWAY.to_owned() }];
            return Ok(Fetched { batches: Vec::new(), events });
        }
        if !assigned.is_empty() {
            assigned.rotate_left(1);
        }
        let Gathered { runs, events, error } = gathered.unwrap_or_default();
        match error {
            Some(error) if runs.is_empty() && events.is_empty() => return Err(error),
            error => *failure = error,
        }
        let batches = runs.into_iter().map(|(source, slices)| Slice::batch(source, &slices)).collect();
        Ok(Fetched { batches, events })
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<i64> {
        self.find(partition)?.known_end
    }

    /// It fetches nothing ahead.
    fn fetched_bytes(&self) -> usize {
        0
    }

    fn beginning_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.connection.call(format_args!("asking for the beginning of {partition}"), |state, _| {
            Ok(state.partition(partition)?.start)
        })
    }

    fn end_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.connection.call(format_args!("asking for the end of {partition}"), |state, _| {
            Ok(state.partition(partition)?.visible_end(self.isolation))
        })
    }

    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        self.connection.call(format_args!("asking for a time in {partition}"), |state, _| {
            Ok(state.partition(partition)?.offset_for_time(timestamp_ms, self.isolation))
        })
    }
}

/// Takes what there is for all assigned partitions, within the bounds of one poll.
fn gather(state: &State, assigned: &mut [Assigned], isolation: Isolation, max_records: usize) -> Gathered {
    let mut gathered = Gathered::default();
    let (mut records_left, mut bytes_left) = (max_records.max(1), POLL_BYTES_MAX);
    for assigned in assigned.iter_mut().filter(|assigned| !assigned.paused) {
        if records_left == 0 || bytes_left == 0 {
            break;
        }
        match assigned.read(state, isolation, records_left, bytes_left, &mut gathered.events) {
            Ok(slices) => {
                records_left = records_left.saturating_sub(slices.iter().map(Slice::len).sum());
                bytes_left = bytes_left.saturating_sub(slices.iter().map(Slice::bytes).sum());
                if !slices.is_empty() {
                    gathered.runs.push((assigned.source.clone(), slices));
                }
            }
            Err(error) => {
                assigned.place = Place::Lost;
                gathered.error.get_or_insert(error);
            }
        }
    }
    gathered
}

// === impl Gathered ===

impl Gathered {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.events.is_empty() && self.error.is_none()
    }
}

// === impl Assigned ===

impl Assigned {
    fn read(
        &mut self,
        state: &State,
        isolation: Isolation,
        max_records: usize,
        max_bytes: usize,
        events: &mut Vec<ReaderEvent>,
    ) -> Result<Vec<Slice>, LogError> {
        self.place = self.place.resolve(state, &self.source, isolation)?;
        let Place::At(position) = self.place else { return Ok(Vec::new()) };
        let partition = state.partition(&self.source)?;
        self.known_end = Some(partition.end);
        if !partition.contains(position) {
            self.place = Place::Lost;
            events.push(ReaderEvent::OutOfRange { partition: self.source.clone(), offset: position });
            return Ok(Vec::new());
        }
        let mut found = partition.find(position, isolation, max_records, max_bytes);
        self.place = Place::At(found.next);
        if found.at_end && self.told_end != Some(found.next) {
            self.told_end = Some(found.next);
            events.push(ReaderEvent::EndReached { partition: self.source.clone(), next_offset: found.next });
        }
        Ok(mem::take(&mut found.slices))
    }
}

// === impl Place ===

impl Place {
    fn resolve(self, state: &State, source: &TopicPartition, isolation: Isolation) -> Result<Self, LogError> {
        let Self::Unresolved(from) = self else { return Ok(self) };
        let partition = state.partition(source)?;
        Ok(Self::At(match from {
            ReadFrom::Beginning => partition.start,
            ReadFrom::End => partition.visible_end(isolation),
            ReadFrom::Offset(offset) => offset,
        }))
    }
}
