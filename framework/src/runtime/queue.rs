//! The records of one input partition that wait to be processed, and the choice of the next one.

use std::{collections::VecDeque, time::Duration};

use crate::log::{Batch, Headers, RecordRef, TopicPartition};

/// One input partition of a task.
#[derive(Debug)]
pub(crate) struct Queue {
    partition: TopicPartition,
    batches: VecDeque<Batch>,
    /// Index of the next record in the first batch.
    cursor: usize,
    len: usize,
    /// Memory of the batches.
    bytes: usize,
    /// The offset of the next record to process.
    position: i64,
    /// The offset behind the last record that was fetched.
    fetched: i64,
    /// Where the log ended when the reader last reached its end, if nothing was fetched since.
    end: Option<i64>,
    /// The time of the first record, where that is not its timestamp.
    head_time_ms: Option<i64>,
    /// The largest time of a record that was taken out; -1 before the first.
    time_ms: i64,
    /// Whether fetching is paused for back-pressure.
    pub(crate) paused: bool,
}

/// What a task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Process the first record of the queue with this index.
    Process(usize),
    /// So could the queue with this index, but others are at their end: a record with a smaller timestamp may be appended to one.
    Alone(usize),
    /// A queue is empty and its end was not reached: a record with a smaller timestamp may be on its way.
    Wait,
    /// Nothing is left to do.
    Idle,
}

/// How long a task waits for records of its empty queues while others have some (`max.task.idle.ms`, KIP-353 and KIP-695).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// `None`: not even for records that are known to be on the log.
    limit: Option<Duration>,
    /// Since when some queues have records and the others are at their end.
    since: Option<Duration>,
}

/// The record with the smallest timestamp among the heads; of equal ones the first queue's.
///
/// A task never runs ahead of a partition that is known to hold more records, or of which nothing is known yet (`max.task.idle.ms=0`,
/// KIP-695): so joins of what is already on the log do not depend on the order of fetches.
pub(crate) fn choose(queues: &[Queue]) -> Choice {
    let mut first: Option<(i64, usize)> = None;
    let (mut waiting, mut at_end) = (false, false);
    for (index, queue) in queues.iter().enumerate() {
        match queue.head_timestamp() {
            Some(timestamp) if first.is_none_or(|(smallest, _)| timestamp < smallest) => {
                first = Some((timestamp, index));
            }
            Some(_) => {}
            None if queue.at_end() => at_end = true,
            None => waiting = true,
        }
    }
    match first {
        Some(_) if waiting => Choice::Wait,
        Some((_, index)) if at_end => Choice::Alone(index),
        Some((_, index)) => Choice::Process(index),
        None => Choice::Idle,
    }
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, since: None }
    }

    /// The queue to process from, if it is not better to wait.
    pub(crate) fn choose(&mut self, queues: &[Queue], now: impl Fn() -> Duration) -> Option<usize> {
        match choose(queues) {
            Choice::Process(index) => {
                self.since = None;
                Some(index)
            }
            Choice::Alone(index) => match self.limit {
                // The time is over until all queues have records again, as in Kafka Streams.
                Some(limit) if !limit.is_zero() => {
                    let now = now();
                    let since = *self.since.get_or_insert(now);
                    (now.saturating_sub(since) >= limit).then_some(index)
                }
                _ => Some(index),
            },
            Choice::Wait if self.limit.is_none() => {
                let heads = queues.iter().enumerate();
                let heads = heads.filter_map(|(index, queue)| Some((queue.head_timestamp()?, index)));
                heads.min().map(|(_, index)| index)
            }
            Choice::Wait | Choice::Idle => None,
        }
    }
}

// === impl Queue ===

impl Queue {
    /// An empty queue that goes on at `position`.
    pub(crate) fn new(partition: TopicPartition, position: i64) -> Self {
        Self {
            partition,
            batches: VecDeque::new(),
            cursor: 0,
            len: 0,
            bytes: 0,
            position,
            fetched: position,
            end: None,
            head_time_ms: None,
            time_ms: -1,
            paused: false,
        }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Memory of what waits, in bytes: a batch is freed when its last record was taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset of the next record to process: what a commit writes down.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Whether everything up to the end of the log was fetched.
    fn at_end(&self) -> bool {
        self.end.is_some()
    }

    /// Whether everything on the log was processed.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.len == 0 && self.at_end()
    }

    /// Appends fetched records.
    pub(crate) fn push(&mut self, batch: Batch) {
        if let Some(last) = batch.len().checked_sub(1).and_then(|index| batch.get(index)) {
            self.fetched = last.offset + 1;
            self.end = None;
            self.len += batch.len();
            self.bytes += batch.bytes();
            self.batches.push_back(batch);
        }
    }

    /// The reader reached the end. Behind the last record there may be transaction markers, which an idle position must not
    /// stop in front of: its lag would never be 0.
    pub(crate) fn reached_end(&mut self, next_offset: i64) {
        // It was met before records that came in the same round.
        if next_offset < self.fetched {
            return;
        }
        self.end = Some(next_offset);
        if self.len == 0 {
            self.position = self.position.max(next_offset);
        }
    }

    /// Gives the first record a time by a function of the partition time, the record and its headers, if it has none yet.
    pub(crate) fn time_head(&mut self, time_of: impl FnOnce(i64, &RecordRef<'_>, &Headers) -> i64) {
        if self.head_time_ms.is_none()
            && let Some(batch) = self.batches.front()
            && let Some(record) = batch.get(self.cursor)
        {
            self.head_time_ms = Some(time_of(self.time_ms, &record, &batch.headers(self.cursor)));
        }
    }

    fn head_timestamp(&self) -> Option<i64> {
        let head = self.batches.front().and_then(|batch| batch.get(self.cursor))?;
        Some(self.head_time_ms.unwrap_or(head.timestamp_ms))
    }

    /// The offset of the first record.
    pub(crate) fn head_offset(&self) -> Option<i64> {
        self.batches.front().and_then(|batch| batch.get(self.cursor)).map(|record| record.offset)
    }

    /// Takes the first record out, for the time of `process`, which gets the record, its time and its headers.
    pub(crate) fn take<R>(&mut self, process: impl FnOnce(RecordRef<'_>, i64, Headers) -> R) -> Option<R> {
        let batch = self.batches.front()?;
        let record = batch.get(self.cursor)?;
        let next = record.offset + 1;
        let time_ms = self.head_time_ms.take().unwrap_or(record.timestamp_ms);
        self.time_ms = self.time_ms.max(time_ms);
        let result = process(record, time_ms, batch.headers(self.cursor));
        self.cursor += 1;
        self.len -= 1;
        self.position = next;
        if self.cursor == batch.len() {
            self.bytes -= batch.bytes();
            self.batches.pop_front();
            self.cursor = 0;
        }
        if let (0, Some(end)) = (self.len, self.end) {
            self.position = self.position.max(end);
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::BatchBuilder;

    fn queue(timestamps: &[i64]) -> Queue {
        let partition = TopicPartition::new("t", 0);
        let mut batch = BatchBuilder::new(partition.clone());
        for (offset, timestamp) in (0..).zip(timestamps) {
            batch.push(offset, *timestamp, None, None, []);
        }
        let mut queue = Queue::new(partition, 0);
        queue.push(batch.build());
        queue
    }

    #[test]
    fn the_smallest_timestamp_goes_first_and_ties_go_to_the_first_queue() {
        let mut queues = [queue(&[5, 1]), queue(&[3, 5])];
        let mut order = Vec::new();
        while let Choice::Process(index) | Choice::Alone(index) = choose(&queues) {
            order.push((index, queues[index].take(|_, time_ms, _| time_ms).expect("it was chosen")));
            queues.iter_mut().for_each(|queue| queue.reached_end(2));
        }
        assert_eq!(order, [(1, 3), (0, 5), (0, 1), (1, 5)]);
    }

    #[test]
    fn an_empty_queue_holds_the_task_back_until_its_end_is_known() {
        let mut queues = [queue(&[5]), queue(&[])];
        assert_eq!(choose(&queues), Choice::Wait);
        queues[1].reached_end(0);
        assert_eq!(choose(&queues), Choice::Alone(0));
        queues[0].take(|_, _, _| ());
        assert_eq!(choose(&queues), Choice::Idle);
    }

    #[test]
    fn patience_waits_for_records_of_the_others_for_a_while() {
        let at = |seconds| move || Duration::from_secs(seconds);
        let mut queues = [queue(&[5, 6, 7]), queue(&[1])];
        let mut patience = Patience::new(Some(Duration::from_secs(10)));
        assert_eq!(patience.choose(&queues, at(0)), Some(1));
        queues[1].take(|_, _, _| ());
        assert_eq!(patience.choose(&queues, at(1)), None, "more may be on the log");
        queues[1].reached_end(1);
        assert_eq!(patience.choose(&queues, at(2)), None);
        assert_eq!(patience.choose(&queues, at(11)), None);
        assert_eq!(patience.choose(&queues, at(12)), Some(0));
        queues[0].take(|_, _, _| ());
        assert_eq!(patience.choose(&queues, at(12)), Some(0), "until the others have records again");

        let mut queues = [queue(&[5]), queue(&[])];
        assert_eq!(Patience::new(Some(Duration::ZERO)).choose(&queues, at(0)), None, "more may be on the log");
        assert_eq!(Patience::new(None).choose(&queues, at(0)), Some(0));
        queues[1].reached_end(0);
        assert_eq!(Patience::new(Some(Duration::ZERO)).choose(&queues, at(0)), Some(0));
    }

    #[test]
    fn an_end_before_the_last_record_is_none() {
        let mut queue = queue(&[1, 2]);
        queue.reached_end(1);
        assert!(!queue.at_end());
        queue.reached_end(2);
        assert!(queue.at_end());
    }

    #[test]
    fn an_idle_position_goes_behind_transaction_markers() {
        let mut queue = queue(&[1, 2]);
        queue.reached_end(5);
        queue.take(|_, _, _| ());
        assert_eq!(queue.position(), 1);
        queue.take(|_, _, _| ());
        assert_eq!(queue.position(), 5);
    }
}
