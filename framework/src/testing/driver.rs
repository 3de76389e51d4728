//! A topology without a log: records in, records out, one at a time.

mod collector;
mod globals;
mod records;
mod task;
mod versions;
mod waiting;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use self::{collector::Collector, globals::GlobalTables, task::DriverTask, waiting::Waiting};
pub use self::{
    records::{TestRecord, TestTopic},
    versions::TestVersion,
};
use crate::{
    config::Timestamps,
    processor::{Handlers, ProcessError, Record},
    serde::{SerdeError, Serdes},
    state::{StateError, StateSettings},
    topology::{Resolved, StoreLocation, Topology, TopologyError},
};

/// Runs a topology record by record: in memory, in one thread, with one partition per topic and so one task per
/// sub-topology.
///
/// It uses the nodes and the state engine that the runtime uses. A record is processed to the end before the next one: depth first
/// through its sub-topology, then what that wrote to topics that the topology reads, and so on; each of these steps is
/// committed by itself.
///
/// ```
/// use millpond::{Serdes, Topology, testing::{TestTopic, TopologyTestDriver}};
///
/// let topology = Topology::builder("shout");
/// topology.stream("said", Serdes::<String, String>::default()).map_values(|_, said| said.to_uppercase()).to("shouted");
/// let mut driver = TopologyTestDriver::new(&topology.build()?)?;
///
/// let said = TestTopic::<String, String>::new("said", Serdes::default());
/// let shouted = TestTopic::<String, String>::new("shouted", Serdes::default());
/// driver.pipe(&said, &"me".to_owned(), &"hello".to_owned(), 0)?;
/// assert_eq!(driver.read(&shouted)?[0].value, "HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TopologyTestDriver {
    resolved: Resolved,
    /// By sub-topology.
    tasks: Vec<DriverTask>,
    handlers: Handlers,
    globals: GlobalTables,
    /// The sub-topology that reads a topic, and which of its sources it is.
    readers: BTreeMap<Arc<str>, (usize, usize)>,
    /// How many records each topic has got.
    offsets: BTreeMap<Arc<str>, i64>,
    collector: Rc<RefCell<Collector>>,
    /// Records that were written to topics that are read, by topic.
    waiting: Waiting,
    /// Records that were written to topics, internal ones excluded.
    outputs: VecDeque<TestRecord>,
}

/// What can go wrong in a driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The topology cannot be run.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A record could not be processed. Nothing of it was committed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A test record cannot be written or read with the serdes given.
    #[error(transparent)]
    Serde(#[from] SerdeError),
    /// The topology does not read this topic.
    #[error("the topology does not read topic `{topic}`")]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
    },
    /// The topology has no such store.
    #[error("the topology has no store `{store}`")]
    UnknownStore {
        /// The store.
        store: String,
    },
}

// === impl TopologyTestDriver ===

impl TopologyTestDriver {
    /// A driver of a topology that has seen no record. The application id is the topology's name.
    ///
    /// # Errors
    ///
    /// When the state in memory cannot be opened.
    pub fn new(topology: &Topology) -> Result<Self, DriverError> {
        Self::open(topology.resolve(topology.name()))
    }

    fn open(resolved: Resolved) -> Result<Self, DriverError> {
        let collector = Rc::new(RefCell::new(Collector::default()));
        let settings = StateSettings::default();
        let globals = GlobalTables::open(&settings, &resolved)?;
        let tasks = resolved.sub_topologies.iter().map(|sub_topology| {
            DriverTask::open(&settings, &resolved, sub_topology, globals.view(), Rc::clone(&collector))
        });
        let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        let mut readers = BTreeMap::new();
        for (task, sub_topology) in resolved.sub_topologies.iter().enumerate() {
            let sources = sub_topology.sources.iter().enumerate();
            readers.extend(sources.map(|(source, topic)| (Arc::clone(topic), (task, source))));
        }
        Ok(Self {
            tasks,
            handlers: Handlers::default(),
            globals,
            readers,
            resolved,
            collector,
            offsets: BTreeMap::new(),
            waiting: Waiting::default(),
            outputs: VecDeque::new(),
        })
    }

    /// Decides by these about records that fail; without them, each is an error. Dead letters are among the outputs.
    #[must_use]
    pub fn with_handlers(mut self, handlers: Handlers) -> Self {
        self.tasks.iter_mut().for_each(|task| task.tolerate(&handlers));
        self.handlers = handlers;
        self
    }

    /// Says which time records have whose source does not say it.
    #[must_use]
    pub fn with_timestamps(mut self, timestamps: Timestamps) -> Self {
        self.tasks.iter_mut().for_each(|task| task.set_timestamps(timestamps));
        self
    }

    /// Coalesces the updates of all tables that are read or aggregated, and kept, as
    /// [`Config::coalesce_updates`](crate::Config::coalesce_updates) does; to be called first. It makes a difference where several
    /// records are committed together: [`TopologyTestDriver::commit_on_request`].
    ///
    /// # Errors
    ///
    /// When the state in memory cannot be opened.
    pub fn with_coalesced_updates(self) -> Result<Self, DriverError> {
        Self::open(self.resolved.coalesce_all(true))
    }

    /// Commits when [`TopologyTestDriver::commit`] is called, and no record by itself: updates of tables that are coalesced wait until
    /// then, and rows are not seen before.
    #[must_use]
    pub fn commit_on_request(mut self) -> Self {
        self.tasks.iter_mut().for_each(DriverTask::commit_on_request);
        self
    }

    /// Commits all tasks, and what they write in turn to topics that are read, until there is nothing more to do.
    ///
    /// # Errors
    ///
    /// When an update that has waited cannot be processed.
    pub fn commit(&mut self) -> Result<(), DriverError> {
        loop {
            for task in 0..self.tasks.len() {
                let committed = self.tasks[task].commit(&self.handlers);
                let written = self.collector.borrow_mut().take();
                committed?;
                written.into_iter().for_each(|record| self.written(record));
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.process_waiting()?;
        }
    }

    /// Keeps what is written to internal topics too, for [`internal_outputs`](Self::internal_outputs).
    #[must_use]
    pub fn with_internal_outputs(self) -> Self {
        self.collector.borrow_mut().keep_internal();
        self
    }

    /// Processes a record to the end. `timestamp_ms` is ms since the epoch.
    ///
    /// # Errors
    ///
    /// When the topic is not read, or when the record cannot be written, read or processed.
    pub fn pipe<K: 'static, V: 'static>(
        &mut self,
        topic: &TestTopic<K, V>,
        key: &K,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<(), DriverError> {
        let record = topic.record(key, value, timestamp_ms)?;
        self.pipe_bytes(&record)
    }

    /// Processes a record of bytes to the end.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe`].
    pub fn pipe_bytes(&mut self, record: &TestRecord) -> Result<(), DriverError> {
        self.step(record)?;
        self.process_waiting()
    }

    fn process_waiting(&mut self) -> Result<(), DriverError> {
        while let Some(record) = self.waiting.pop() {
            if let Err(error) = self.step(&record) {
                self.waiting.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes the records that were written to a topic since they were last taken.
    ///
    /// # Errors
    ///
    /// When one cannot be read with the topic's serdes.
    pub fn read<K: 'static, V: 'static>(&mut self, topic: &TestTopic<K, V>) -> Result<Vec<Record<K, V>>, DriverError> {
        let (taken, left) = self.outputs.drain(..).partition(|record| record.topic == *topic.name());
        self.outputs = left;
        let taken: VecDeque<TestRecord> = taken;
        Ok(taken.iter().map(|record| topic.read(record)).collect::<Result<_, _>>()?)
    }

    /// Takes the records that were written to any topic, in the order in which they were written.
    pub fn outputs(&mut self) -> Vec<TestRecord> {
        self.outputs.drain(..).collect()
    }

    /// Takes the records that were written to repartition topics and changelogs, since
    /// [`with_internal_outputs`](Self::with_internal_outputs). As each record is committed by itself, a changelog has the last
    /// value of each key that a record changed.
    pub fn internal_outputs(&mut self) -> Vec<TestRecord> {
        self.collector.borrow_mut().take_internal()
    }

    /// The rows of a store, global ones included, in the order of the bytes of their keys (windows and sessions: in the order in
    /// which the store keeps them; of several versions the latest): key, value and timestamp in ms.
    ///
    /// # Errors
    ///
    /// When there is no such store, or a row cannot be read with these serdes.
    pub fn rows<K: 'static, V: 'static>(
        &self,
        store: &str,
        serdes: &Serdes<K, V>,
    ) -> Result<Vec<(K, V, i64)>, DriverError> {
        let rows = match self.resolved.store(store) {
            Some(StoreLocation::Tasks { sub_topology, id, .. }) => self.tasks[sub_topology as usize].rows(id)?,
            Some(StoreLocation::Global { id, .. }) => self.globals.rows(id)?,
            None => return Err(DriverError::UnknownStore { store: store.to_owned() }),
        };
        let read = |(key, value, timestamp_ms): (Vec<u8>, Vec<u8>, i64)| {
            let key = serdes.key().deserialize(Some(&key))?;
            Ok((key, serdes.value().deserialize(Some(&value))?, timestamp_ms))
        };
        rows.into_iter().map(read).collect()
    }

    /// How many records operators left out so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.tasks.iter().map(DriverTask::dropped).sum::<u64>() + self.globals.dropped()
    }

    /// Sets how often operators look for windows that have closed, by the wall clock. Here they do with every record unless it is
    /// set; a running task does once a second.
    pub fn set_emit_interval(&mut self, interval: Duration) {
        self.tasks.iter_mut().for_each(|task| task.set_emit_interval(interval));
    }

    /// Lets wall-clock time pass, and calls the punctuations that are due. It stands at 0 at first.
    ///
    /// # Errors
    ///
    /// When a punctuation fails.
    pub fn advance_wall_clock(&mut self, by: Duration) -> Result<(), DriverError> {
        for task in 0..self.tasks.len() {
            let advanced = self.tasks[task].advance_wall_clock(&self.handlers, by);
            let written = self.collector.borrow_mut().take();
            advanced?;
            written.into_iter().for_each(|record| self.written(record));
        }
        self.process_waiting()
    }

    /// One record through its sub-topology, and the commit.
    fn step(&mut self, record: &TestRecord) -> Result<(), DriverError> {
        let topic = &record.topic;
        let reader = self.readers.get(topic).copied();
        if reader.is_none() && !self.globals.read(topic) {
            return Err(DriverError::UnknownTopic { topic: Arc::clone(topic) });
        }
        let offset = self.offsets.entry(Arc::clone(topic)).or_default();
        let this = *offset;
        *offset += 1;
        self.globals.process(record, this)?;
        if let Some((task, source)) = reader {
            let processed = self.tasks[task].process(&self.handlers, source, record, this);
            let written = self.collector.borrow_mut().take();
            processed?;
            written.into_iter().for_each(|record| self.written(record));
        }
        Ok(())
    }

    fn written(&mut self, record: TestRecord) {
        if self.readers.contains_key(&record.topic) || self.globals.read(&record.topic) {
            self.waiting.push(record.clone());
        }
        if self.is_internal(&record.topic) {
            self.collector.borrow_mut().internal(|| record);
        } else {
            self.outputs.push_back(record);
        }
    }

    fn is_internal(&self, topic: &Arc<str>) -> bool {
        self.resolved.sub_topologies.iter().any(|sub_topology| sub_topology.repartition_topics.contains(topic))
    }
}

impl fmt::Debug for TopologyTestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyTestDriver").field("topology", &self.resolved).finish_non_exhaustive()
    }
}
