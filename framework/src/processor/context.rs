//! What the nodes of a task share.

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

use super::{DropReason, Dropped, Globals, Handlers, Output, ProcessError, Stage};
use crate::{
    log::{Headers, RecordRef},
    state::{TaskId, TaskStores},
};

/// The surroundings of a task's nodes: stores, global tables, output, time, and the position of the source record.
pub struct Context {
    task: TaskId,
    stores: TaskStores,
    globals: Arc<Globals>,
    output: Rc<RefCell<dyn Output>>,
    topic: Arc<str>,
    offset: i64,
    stream_time_ms: i64,
    wall_clock_ms: i64,
    emit_interval_ms: i64,
    dropped: Dropped,
    /// Whether anything was sent since the last commit.
    has_sent: bool,
    tolerates: Tolerance,
}

/// Whose failures leave the failing node out, and not the whole record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tolerance {
    /// Those of nodes.
    pub(crate) processing: bool,
    /// Those of writing what came out.
    pub(crate) production: bool,
}

/// Where a source record stands, and what is tolerated of it.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    topic: Arc<str>,
    offset: i64,
    tolerates: Tolerance,
}

// === impl Tolerance ===

impl Tolerance {
    /// What is tolerated of all records.
    pub(crate) fn of(handlers: &Handlers) -> Self {
        Self {
            processing: handlers.skips_nodes(Stage::Processing),
            production: handlers.skips_nodes(Stage::Production),
        }
    }
}

// === impl Context ===

impl Context {
    /// The stream time of a task that has seen no record.
    pub const NO_STREAM_TIME: i64 = -1;

    /// How often operators look for windows that have closed, by the wall clock: often enough for anyone who waits for results,
    /// and seldom enough that the looking costs nothing per record.
    pub const EMIT_INTERVAL_MS: i64 = 1000;

    /// The context of a task that has seen no record yet.
    #[must_use]
    pub fn new(task: TaskId, stores: TaskStores, globals: Arc<Globals>, output: Rc<RefCell<dyn Output>>) -> Self {
        Self {
            task,
            stores,
            globals,
            output,
            topic: Arc::from(""),
            offset: -1,
            stream_time_ms: Self::NO_STREAM_TIME,
            wall_clock_ms: 0,
            emit_interval_ms: Self::EMIT_INTERVAL_MS,
            dropped: Dropped::default(),
            has_sent: false,
            tolerates: Tolerance::default(),
        }
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The task's stores.
    #[must_use]
    pub fn stores(&self) -> &TaskStores {
        &self.stores
    }

    /// The task's stores, to write or commit them.
    pub fn stores_mut(&mut self) -> &mut TaskStores {
        &mut self.stores
    }

    /// Gives the stores back when the task ends.
    #[must_use]
    pub fn into_stores(self) -> TaskStores {
        self.stores
    }

    /// The global tables.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// Writes a record to a topic (by its full name), in the partition of `partition_key`.
    ///
    /// # Errors
    ///
    /// See [`Output::send`].
    pub fn send(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        partition_key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        self.has_sent = true;
        self.output.borrow_mut().send(topic, key, partition_key, value, timestamp_ms, headers)
    }

    /// Writes a record to a partition of a topic (by its full name).
    ///
    /// # Errors
    ///
    /// See [`Output::send_to`].
    pub fn send_to(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        self.has_sent = true;
        self.output.borrow_mut().send_to(topic, partition, key, value, timestamp_ms, headers)
    }

    /// The topic of the source record; empty before the first.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The offset of the source record; -1 before the first.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The largest timestamp of all source records of this task, in ms since the epoch; [`Self::NO_STREAM_TIME`] before
    /// the first.
    #[must_use]
    pub fn stream_time_ms(&self) -> i64 {
        self.stream_time_ms
    }

    /// Wall-clock time in ms since the epoch, as of the last [`Context::set_wall_clock_ms`].
    #[must_use]
    pub fn wall_clock_ms(&self) -> i64 {
        self.wall_clock_ms
    }

    /// Tells the wall-clock time, in ms since the epoch. The runtime does so once per round, not per record.
    pub fn set_wall_clock_ms(&mut self, now_ms: i64) {
        self.wall_clock_ms = now_ms;
    }

    /// How often operators look for windows that have closed, in ms of the wall clock.
    #[must_use]
    pub fn emit_interval_ms(&self) -> i64 {
        self.emit_interval_ms
    }

    /// Sets how often operators look for windows that have closed, in ms of the wall clock; 0: with every record.
    pub fn set_emit_interval_ms(&mut self, interval_ms: i64) {
        self.emit_interval_ms = interval_ms;
    }

    /// How many records were left out so far.
    #[must_use]
    pub fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// Counts a record that an operator leaves out.
    pub fn drop_record(&mut self, reason: DropReason) {
        self.dropped.add(reason);
    }

    /// Whether anything was sent since [`Context::forget_sent`].
    pub(crate) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// What was sent is part of a commit.
    pub(crate) fn forget_sent(&mut self) {
        self.has_sent = false;
    }

    /// What follows comes from no source record.
    pub(crate) fn begin_punctuation(&mut self) {
        if !self.topic.is_empty() {
            self.topic = Arc::from("");
        }
        self.offset = -1;
    }

    /// Where the source record stands.
    pub(crate) fn position(&self) -> Position {
        Position { topic: Arc::clone(&self.topic), offset: self.offset, tolerates: self.tolerates }
    }

    /// What follows comes from this source record; gives where it came from before.
    pub(crate) fn go_to(&mut self, position: Position) -> Position {
        let Position { topic, offset, tolerates } = position;
        Position {
            topic: std::mem::replace(&mut self.topic, topic),
            offset: std::mem::replace(&mut self.offset, offset),
            tolerates: self.tolerate(tolerates),
        }
    }

    /// Takes the counts of records that were left out back to what they were before a record.
    pub(crate) fn restore_dropped(&mut self, dropped: Dropped) {
        self.dropped = dropped;
    }

    /// Whose failures leave the failing node out from now on; gives what it was before.
    pub(crate) fn tolerate(&mut self, tolerance: Tolerance) -> Tolerance {
        std::mem::replace(&mut self.tolerates, tolerance)
    }

    /// A node failed: the nodes beside it go on if that is tolerated.
    #[cold]
    pub(super) fn node_failed(&mut self, error: ProcessError) -> Result<(), ProcessError> {
        let (stage, tolerated) = match error.stage() {
            Some(stage @ Stage::Processing) => (stage, self.tolerates.processing),
            Some(stage @ Stage::Production) => (stage, self.tolerates.production),
            Some(Stage::Deserialization) | None => return Err(error),
        };
        if !tolerated {
            return Err(error);
        }
        let (task, topic, offset) = (self.task, &self.topic, self.offset);
        let error = super::with_causes(&error);
        tracing::warn!(%task, %topic, offset, %stage, error, "a node failed and is left out for this record");
        self.drop_record(stage.into());
        Ok(())
    }

    /// Takes over the position and time of the next source record.
    pub(crate) fn begin(&mut self, topic: &Arc<str>, record: &RecordRef<'_>) {
        if !Arc::ptr_eq(&self.topic, topic) {
            self.topic = Arc::clone(topic);
        }
        self.offset = record.offset;
        self.stream_time_ms = self.stream_time_ms.max(record.timestamp_ms);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("task", &self.task)
            .field("topic", &self.topic)
            .field("offset", &self.offset)
            .field("stream_time_ms", &self.stream_time_ms)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}
