//! The thread that keeps the global tables: every instance reads them whole.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    memory::MemoryShown,
    threads::{Thread, Threads, Turns},
};
use crate::{
    log::{Isolation, Log, LogError, ReadFrom, Reader, ReaderEvent, TopicPartition},
    metrics::Metrics,
    processor::ProcessError,
    state::{CommitPoint, StateError, StoreId, TaskStores},
    topology::{GlobalProcessor, Resolved},
};

const FETCH_RECORDS: usize = 4096;
const WAIT: Duration = Duration::from_millis(100);

/// The running thread.
#[derive(Debug)]
pub(crate) struct GlobalsThread {
    thread: Option<Box<dyn Thread>>,
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

/// What the thread runs.
struct Following {
    reader: GlobalReader,
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

/// Reads global topics into their stores.
struct GlobalReader {
    reader: Box<dyn Reader>,
    stores: TaskStores,
    point: CommitPoint,
    /// How the records of a topic become rows.
    tables: BTreeMap<Arc<str>, GlobalProcessor>,
    /// What is left until the tables are whole: partition and the end it had at the start.
    behind: BTreeMap<TopicPartition, i64>,
    /// The log does not have the position of a table any more.
    is_out_of_range: bool,
    memory: MemoryShown,
}

// === impl GlobalsThread ===

impl GlobalsThread {
    /// Reads every global table to its end, then keeps following in a thread of its own.
    pub(crate) fn start(
        log: &dyn Log,
        isolation: Isolation,
        topology: &Arc<Resolved>,
        partitions: &BTreeMap<Arc<str>, i32>,
        stores: TaskStores,
        metrics: &Metrics,
        (threads, given_up): (&dyn Threads, &AtomicBool),
    ) -> Result<Self, ProcessError> {
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        if topology.globals.is_empty() {
            return Ok(Self { thread: None, stop, failed });
        }
        let memory = MemoryShown::new(metrics);
        let mut reader = GlobalReader::open(log, isolation, topology, partitions, stores, memory)?;
        while !reader.behind.is_empty() && !given_up.load(Ordering::Relaxed) {
            reader.step(WAIT)?;
        }
        let following = Following { reader, stop: Arc::clone(&stop), failed: Arc::clone(&failed) };
        let thread = threads.run("millpond-globals".into(), Box::new(move || Some(Box::new(following) as _))).map_err(
            |error| LogError::Fatal { reason: format!("cannot start the thread for global tables: {error}") },
        )?;
        Ok(Self { thread: Some(thread), stop, failed })
    }

    /// Whether it ended by an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Opens the stores of the global tables. What was read from topics that were deleted and made anew is begun anew.
    pub(crate) fn open_stores(
        log: &dyn Log,
        topology: &Resolved,
        open: impl Fn() -> Result<TaskStores, StateError>,
    ) -> Result<TaskStores, ProcessError> {
        let mut stores = open()?;
        if topology.globals.is_empty() {
            return Ok(stores);
        }
        let names: Vec<&str> = topology.globals.iter().map(|global| &*global.topic).collect();
        let found = log.admin()?.topics(&names)?;
        let id = |topic: &str| found.iter().find(|found| found.name == topic)?.id;
        let stores_with_ids =
            || (0..).map(StoreId::new).zip(&names).filter_map(|(store, topic)| Some((store, id(topic)?)));
        let known = &stores.committed().changelog_ids;
        let other = stores_with_ids().find(|(store, found)| known.get(store).is_some_and(|stored| stored != found));
        if let Some((store, found)) = other {
            let topic = names[store.index()];
            tracing::warn!(topic, %found, "this global topic was deleted and made anew: the global tables are read from the beginning");
            stores.condemn()?;
            drop(stores);
            stores = open()?;
        }
        // An id lies beside an offset; these stores have none, as positions say where they are.
        let changelog_ids: BTreeMap<_, _> = stores_with_ids().collect();
        let changelog_offsets = changelog_ids.keys().map(|store| (*store, 0)).collect();
        stores.commit(&CommitPoint { changelog_offsets, changelog_ids, ..CommitPoint::default() })?;
        Ok(stores)
    }

    /// Closes the tables.
    pub(crate) fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !thread.join()
        {
            tracing::error!("the thread of the global tables panicked");
        }
    }
}

// === impl Following ===

impl Turns for Following {
    fn turn(&mut self, patience: Duration) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        if let Err(error) = self.reader.step(WAIT.min(patience)) {
            tracing::error!(%error, "the global tables cannot be followed any more");
            self.failed.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn end(self: Box<Self>) {
        if let Err(error) = self.reader.stores.close() {
            tracing::error!(%error, "the global tables were not closed cleanly");
        }
    }
}

// === impl GlobalReader ===

impl GlobalReader {
    fn open(
        log: &dyn Log,
        isolation: Isolation,
        topology: &Resolved,
        partitions: &BTreeMap<Arc<str>, i32>,
        stores: TaskStores,
        memory: MemoryShown,
    ) -> Result<Self, ProcessError> {
        let mut reader = log.reader(isolation)?;
        let point = stores.committed().clone();
        let (mut tables, mut behind) = (BTreeMap::new(), BTreeMap::new());
        for (index, global) in topology.globals.iter().enumerate() {
            let Some(rows) = topology.global_processor(index) else { continue };
            tables.insert(Arc::clone(&global.topic), rows);
            for partition in 0..partitions.get(&global.topic).copied().unwrap_or(0) {
                let partition = TopicPartition::new(Arc::clone(&global.topic), partition);
                let end = reader.end_offset(&partition)?;
                // What is in memory is read from the beginning, wherever the others are.
                let stored = point.positions.get(&partition).filter(|_| global.store.persistent);
                let (position, from) = match stored {
                    Some(offset) => (*offset, ReadFrom::Offset(*offset)),
                    None => (reader.beginning_offset(&partition)?, ReadFrom::Beginning),
                };
                reader.assign(&partition, from)?;
                if position < end {
                    behind.insert(partition, end);
                }
            }
        }
        Ok(Self { reader, stores, point, tables, behind, is_out_of_range: false, memory })
    }

    /// Reads and writes one fetch. Tables that cannot go on as they are stored are rebuilt by the next start.
    fn step(&mut self, timeout: Duration) -> Result<(), ProcessError> {
        let result = self.follow(timeout).and_then(|()| Ok(self.stores.check()?));
        self.memory.show([
            ("rows", self.stores.held_bytes()),
            ("in_memory", self.stores.in_memory_bytes()),
            ("fetched", self.reader.fetched_bytes()),
        ]);
        let is_lost = match &result {
            Err(ProcessError::State(error)) => error.is_damage(),
            Err(ProcessError::Log(LogError::Refused { .. })) => self.is_out_of_range,
            _ => false,
        };
        if is_lost && let Err(error) = self.stores.condemn() {
            tracing::error!(%error, "the state of the global tables has to be removed by hand");
        }
        result
    }

    fn follow(&mut self, timeout: Duration) -> Result<(), ProcessError> {
        let fetched = self.reader.poll(FETCH_RECORDS, timeout)?;
        let mut changed = false;
        for batch in &fetched.batches {
            let Some(rows) = self.tables.get_mut(&batch.source().topic) else { continue };
            for record in batch.iter() {
                rows.process(&mut self.stores, batch.source(), &record)?;
            }
            if let Some(last) = batch.len().checked_sub(1).and_then(|last| batch.get(last)) {
                self.advance(batch.source(), last.offset + 1);
            }
            changed = true;
        }
        for event in fetched.events {
            match event {
                ReaderEvent::EndReached { partition, next_offset } => self.advance(&partition, next_offset),
                ReaderEvent::OutOfRange { partition, offset } => {
                    self.is_out_of_range = true;
                    return Err(ProcessError::Log(LogError::Refused {
                        what: format!("reading global table {partition} from offset {offset}"),
                        reason: "the topic was truncated or made anew: the next start reads it from its beginning"
                            .into(),
                    }));
                }
                ReaderEvent::Unavailable { reason } => {
                    tracing::warn!(reason, "the log cannot be reached for the global tables");
                }
            }
        }
        if changed {
            // Their topics are their changelogs.
            let Ok(()) = self.stores.freeze(|_| Ok::<_, Infallible>(()));
            self.stores.commit(&self.point)?;
        }
        Ok(())
    }

    fn advance(&mut self, partition: &TopicPartition, next: i64) {
        self.point.positions.insert(partition.clone(), next);
        if self.behind.get(partition).is_some_and(|end| next >= *end) {
            self.behind.remove(partition);
        }
    }
}
