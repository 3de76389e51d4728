//! A task: one partition of a sub-topology, with its queues, its nodes and its stores.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use super::{
    failures::{Halt, Judging},
    production::Production,
    queue::{Patience, Queue},
};
use crate::{
    log::{Append, Batch, TopicPartition},
    metrics::Metrics,
    processor::{Context, DropReason, Dropped, Handlers, ProcessError, PunctuationKind},
    state::{CommitPoint, Dirty, StoreId, TaskId},
    time::Clock,
    topology::{JudgedUpdate, Processed, Processors, SubTopology},
};

/// A task that processes records.
#[derive(Debug)]
pub(crate) struct Task {
    id: TaskId,
    sub_topology: Arc<SubTopology>,
    processors: Processors,
    /// Whether the time of records is asked of the processors.
    asks_time: bool,
    context: Context,
    /// The partitions this task reads, and the index of their topic among the sub-topology's sources.
    queues: Vec<Queue>,
    sources: Vec<usize>,
    /// Positions as last committed, by queue; `None` if never.
    committed: Vec<Option<i64>>,
    /// Positions of the commit in flight, by queue.
    frozen: Vec<i64>,
    /// Records left out that are in the metric already, and those that will be with the commit in flight.
    dropped: Dropped,
    dropping: Dropped,
    patience: Patience,
    /// Records processed since the last commit, and how many of them are in the commit in flight.
    uncommitted: u64,
    in_flight: u64,
    /// Queue and offset of the last record processed.
    last: (usize, i64),
}

/// A partition that a task reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// Index of its topic among the sub-topology's sources.
    pub(crate) source: usize,
    /// The partition.
    pub(crate) partition: TopicPartition,
    /// The offset of the first record to process.
    pub(crate) position: i64,
    /// Whether the group has this position.
    pub(crate) is_committed: bool,
}

/// What [`Task::run`] did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ran {
    /// Records processed.
    pub(crate) records: u64,
    /// Whether records are left that can be processed at once.
    pub(crate) more: bool,
    /// Whether a commit is wanted now: a record that failed was dealt with, or there is no room for more.
    pub(crate) wants_commit: bool,
}

// === impl Task ===

impl Task {
    /// A task whose stores are whole, at its committed positions.
    pub(crate) fn new(
        id: TaskId,
        sub_topology: Arc<SubTopology>,
        processors: Processors,
        context: Context,
        inputs: Vec<Input>,
        max_task_idle: Option<Duration>,
    ) -> Self {
        let committed = inputs.iter().map(|input| input.is_committed.then_some(input.position)).collect();
        let sources = inputs.iter().map(|input| input.source).collect();
        let queues = inputs.into_iter().map(|input| Queue::new(input.partition, input.position)).collect();
        Self {
            id,
            sub_topology,
            asks_time: !processors.keeps_time(),
            processors,
            context,
            queues,
            sources,
            committed,
            frozen: Vec::new(),
            dropped: Dropped::default(),
            dropping: Dropped::default(),
            patience: Patience::new(max_task_idle),
            uncommitted: 0,
            in_flight: 0,
            last: (0, -1),
        }
    }

    pub(crate) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    pub(crate) fn queue_mut(&mut self, index: usize) -> &mut Queue {
        &mut self.queues[index]
    }

    pub(crate) fn push(&mut self, queue: usize, batch: Batch) {
        self.queues[queue].push(batch);
    }

    /// Processes records, smallest timestamp first, until none is at hand or the turn is over.
    pub(crate) fn run(&mut self, clock: &dyn Clock, judging: Judging<'_>) -> Result<Ran, Halt> {
        self.context.set_wall_clock_ms(clock.now_ms());
        self.processors.punctuate(&mut self.context, PunctuationKind::WallClock)?;
        let until = clock.monotonic() + TURN;
        let mut ran = Ran::default();
        while ran.records < judging.room {
            if self.asks_time {
                self.time_heads();
            }
            let Some(index) = self.patience.choose(&self.queues, || clock.monotonic()) else { return Ok(ran) };
            match self.process(index, judging)? {
                Processed::Done => {}
                Processed::Settled => ran.wants_commit = true,
                Processed::Again(verdict) => {
                    let partition = self.queues[index].partition().clone();
                    return Err(Halt::Judged { partition, offset: self.last.1, verdict });
                }
            }
            ran.records += 1;
            if ran.records % RECORDS_PER_LOOK == 0 && clock.monotonic() >= until {
                ran.more = true;
                return Ok(ran);
            }
        }
        ran.wants_commit = true;
        Ok(ran)
    }

    /// Gives the first record of each queue its time.
    fn time_heads(&mut self) {
        let Self { queues, sources, processors, context, .. } = self;
        for (queue, source) in queues.iter_mut().zip(sources) {
            queue.time_head(|time_ms, record, headers| processors.time_of(context, *source, time_ms, record, headers));
        }
    }

    /// Processes the first record of a queue.
    #[inline]
    fn process(&mut self, index: usize, judging: Judging<'_>) -> Result<Processed, ProcessError> {
        let Self { processors, context, sources, queues, last, .. } = self;
        let Judging { handlers, known, .. } = judging;
        let (queue, source) = (&mut queues[index], sources[index]);
        // What is known is looked up before the queue lends out the record.
        let known = known.and_then(|known| known.find(queue.partition(), queue.head_offset()?));
        let processed = queue
            .take(|record, time_ms, headers| {
                *last = (index, record.offset);
                processors.process_or_judge(context, handlers, known, source, record, time_ms, headers)
            })
            .expect("the chosen queue has a record")?;
        self.uncommitted += 1;
        Ok(processed)
    }

    /// How many records were processed since the last commit.
    pub(crate) fn uncommitted_records(&self) -> u64 {
        self.uncommitted
    }

    /// The last record processed: partition and offset.
    pub(crate) fn last_record(&self) -> (&TopicPartition, i64) {
        (self.queues[self.last.0].partition(), self.last.1)
    }

    /// The position of a partition as last committed.
    pub(crate) fn committed_position(&self, partition: &TopicPartition) -> Option<i64> {
        self.queues.iter().zip(&self.committed).find(|(queue, _)| queue.partition() == partition)?.1.as_ref().copied()
    }

    /// Brings more committed rows to hand; gives whether some are left to be brought.
    pub(crate) fn warm_up(&mut self) -> Result<bool, ProcessError> {
        Ok(self.context.stores_mut().warm_up(WARMED_ROWS)?)
    }

    /// Whether everything on the log was processed.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.queues.iter().all(Queue::is_caught_up)
    }

    /// Whether a commit has anything to write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.queues.iter().zip(&self.committed).any(|(queue, committed)| Some(queue.position()) != *committed)
            || self.context.stores().uncommitted_bytes() > 0
            || self.context.has_sent()
    }

    pub(crate) fn uncommitted_bytes(&self) -> usize {
        self.context.stores().uncommitted_bytes() + self.processors.waiting_bytes()
    }

    /// Memory of the rows at hand, and of updates that wait for the commit, in bytes.
    pub(crate) fn rows_bytes(&self) -> usize {
        self.context.stores().held_bytes() + self.processors.waiting_bytes()
    }

    /// Memory of stores that are not on disk, in bytes.
    pub(crate) fn in_memory_bytes(&self) -> usize {
        self.context.stores().in_memory_bytes()
    }

    /// Memory of the records that wait, in bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queues.iter().map(Queue::bytes).sum()
    }

    pub(crate) fn stream_time_ms(&self) -> i64 {
        self.context.stream_time_ms()
    }

    /// Whether the committed rows are whole, as far as queries have seen.
    pub(crate) fn check(&self) -> Result<(), ProcessError> {
        Ok(self.context.stores().check()?)
    }

    /// Before a commit: passes on the updates that have waited for it.
    pub(crate) fn flush(&mut self, handlers: &Handlers) -> Result<(), Halt> {
        match self.processors.flush(&mut self.context, handlers)? {
            None => Ok(()),
            Some(JudgedUpdate { topic, offset, verdict }) => {
                let partition = TopicPartition::new(topic, self.id.partition);
                Err(Halt::Judged { partition, offset, verdict })
            }
        }
    }

    /// First half of a commit: what changed in the stores goes to the changelogs, the last value per key. What the task does from
    /// now on belongs to the next one.
    pub(crate) fn freeze(&mut self, production: &Rc<RefCell<Production>>) -> Result<(), ProcessError> {
        self.context.forget_sent();
        self.in_flight = self.uncommitted;
        self.dropping = *self.context.dropped();
        self.frozen.clear();
        self.frozen.extend(self.queues.iter().map(Queue::position));
        let (specs, partition) = (&self.sub_topology.stores, self.id.partition);
        let mut production = production.borrow_mut();
        self.context.stores_mut().freeze(|Dirty { store, key, value, timestamp_ms, headers }| {
            let Some(topic) = &specs[store.index()].changelog else { return Ok(()) };
            Ok(production.append(Append { topic, partition, key: Some(key), value, timestamp_ms, headers })?)
        })
    }

    /// The positions that the commit in flight writes down.
    pub(crate) fn frozen_positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        self.queues.iter().zip(&self.frozen).map(|(queue, position)| (queue.partition().clone(), *position))
    }

    /// Second half of a commit, when the log has it: the local state follows.
    pub(crate) fn committed(&mut self, production: &Production, now_ms: i64) -> Result<(), ProcessError> {
        let mut point: CommitPoint = self.context.stores().committed().clone();
        point.current_ms = Some(now_ms);
        for (index, spec) in self.sub_topology.stores.iter().enumerate() {
            let written = spec.changelog.as_ref().and_then(|topic| production.next_offset(topic, self.id.partition));
            if let Some(next) = written {
                let stored = point.changelog_offsets.entry(StoreId::new(index)).or_insert(next);
                *stored = next.max(*stored);
            }
        }
        point.positions.extend(self.frozen_positions());
        self.context.stores_mut().commit(&point)?;
        for (committed, position) in self.committed.iter_mut().zip(&self.frozen) {
            *committed = Some(*position);
        }
        self.uncommitted -= std::mem::take(&mut self.in_flight);
        Ok(())
    }

    /// Gives the stores back, without what is not committed.
    pub(crate) fn into_stores(mut self) -> crate::state::TaskStores {
        self.context.stores_mut().discard();
        self.context.into_stores()
    }

    /// Adds the records that the last commit left out to the metric; those of commits that fail are met again.
    pub(crate) fn count_dropped(&mut self, metrics: &Metrics) {
        for reason in DropReason::ALL {
            let new = self.dropping.count(reason) - self.dropped.count(reason);
            if new > 0 {
                let labels = [self.id.to_string(), reason.label().to_owned()];
                metrics.task_dropped_records.with_label_values(&labels).inc_by(new);
            }
        }
        self.dropped = self.dropping;
    }
}

/// How long a task runs before the others have their turn.
const TURN: Duration = Duration::from_millis(10);
/// How often a running task looks at the clock: after so many records.
const RECORDS_PER_LOOK: u64 = 16;

/// How many rows a task brings to hand before the others have their turn: about as long as it runs.
const WARMED_ROWS: usize = 8192;

/// The longest time a worker waits for records before it looks after everything else.
pub(crate) const IDLE_WAIT: Duration = Duration::from_millis(20);
