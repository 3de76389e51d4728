//! A task of a driver.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, rc::Rc, sync::Arc, time::Duration};

use super::{Collector, DriverError, TestRecord};
use crate::{
    config::Timestamps,
    log::{RecordRef, TopicPartition},
    processor::{Context, Globals, Handlers, Known, Output, PunctuationKind, Tolerance},
    state::{CommitPoint, StateError, StateSettings, StoreId, StoreKind, TaskId, TaskStores, TaskView},
    topology::{Processed, Processors, Resolved, SubTopology},
};

/// Keys, values and timestamps.
pub(super) type Rows = Vec<(Vec<u8>, Vec<u8>, i64)>;

/// The task of partition 0 of a sub-topology.
#[derive(Debug)]
pub(super) struct DriverTask {
    processors: Processors,
    ctx: Context,
    output: Rc<RefCell<Collector>>,
    /// The largest time of a record of each source.
    times: BTreeMap<usize, i64>,
    /// Records that the changelogs would have.
    changelogs: BTreeMap<StoreId, i64>,
}

// === impl DriverTask ===

impl DriverTask {
    pub(super) fn open(
        settings: &StateSettings,
        resolved: &Resolved,
        sub_topology: &SubTopology,
        globals: Arc<Globals>,
        output: Rc<RefCell<Collector>>,
    ) -> Result<Self, DriverError> {
        let id = TaskId::new(sub_topology.id, 0);
        let stores = TaskStores::open(settings, id, Arc::clone(&sub_topology.stores))?;
        let mut processors = resolved.instantiate(sub_topology.id)?;
        let mut ctx = Context::new(id, stores, globals, Rc::clone(&output) as Rc<RefCell<dyn Output>>);
        ctx.set_emit_interval_ms(0);
        processors.init(&mut ctx)?;
        Ok(Self { processors, ctx, output, times: BTreeMap::new(), changelogs: BTreeMap::new() })
    }

    /// Leaves failing nodes out where `handlers` always say so.
    pub(super) fn tolerate(&mut self, handlers: &Handlers) {
        self.ctx.tolerate(Tolerance::of(handlers));
    }

    /// Processes a record and commits what it has changed; after an error, nothing has changed.
    pub(super) fn process(
        &mut self,
        handlers: &Handlers,
        source: usize,
        record: &TestRecord,
        offset: i64,
    ) -> Result<(), DriverError> {
        let dropped = *self.ctx.dropped();
        let mut known = None;
        let partition_time = self.times.entry(source).or_insert(-1);
        let time_ms = self.processors.time_of(&self.ctx, source, *partition_time, &record.at(offset), &record.headers);
        *partition_time = time_ms.max(*partition_time);
        loop {
            let Self { processors, ctx, .. } = self;
            let (at, headers) = (record.at(offset), record.headers.clone());
            match processors.process_or_judge(ctx, handlers, known.as_ref(), source, at, time_ms, headers) {
                Ok(Processed::Done | Processed::Settled) => {
                    let partition = TopicPartition::new(Arc::clone(&record.topic), 0);
                    return Ok(self.commit(BTreeMap::from([(partition, offset + 1)]))?);
                }
                Ok(Processed::Again(verdict)) => {
                    self.take_back();
                    self.ctx.restore_dropped(dropped);
                    known = Some(Known::Judged(verdict));
                }
                Err(error) => {
                    self.take_back();
                    return Err(error.into());
                }
            }
        }
    }

    fn take_back(&mut self) {
        self.ctx.stores_mut().discard();
        self.output.borrow_mut().take();
    }

    pub(super) fn set_timestamps(&mut self, timestamps: Timestamps) {
        self.processors.set_timestamps(timestamps);
    }

    pub(super) fn rows(&self, store: StoreId) -> Result<Rows, StateError> {
        rows(self.ctx.stores(), store)
    }

    pub(super) fn view(&self) -> Arc<TaskView> {
        self.ctx.stores().view()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.ctx.dropped().total()
    }

    /// Lets wall-clock time pass, calls the punctuations that are due, and commits what they have changed; after an error,
    /// nothing has changed.
    pub(super) fn advance_wall_clock(&mut self, by: Duration) -> Result<(), DriverError> {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ctx.set_wall_clock_ms(self.ctx.wall_clock_ms().saturating_add(by_ms));
        match self.processors.punctuate(&mut self.ctx, PunctuationKind::WallClock) {
            Ok(true) => Ok(self.commit(BTreeMap::new())?),
            Ok(false) => Ok(()),
            Err(error) => {
                self.ctx.stores_mut().discard();
                Err(error.into())
            }
        }
    }

    pub(super) fn set_emit_interval(&mut self, interval: Duration) {
        self.ctx.set_emit_interval_ms(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
    }

    fn commit(&mut self, positions: BTreeMap<TopicPartition, i64>) -> Result<(), StateError> {
        let (stores, changelogs) = (self.ctx.stores_mut(), &mut self.changelogs);
        let Ok(()) = stores.freeze(|dirty| {
            *changelogs.entry(dirty.store).or_default() += 1;
            Ok::<_, Infallible>(())
        });
        stores.commit(&CommitPoint { changelog_offsets: self.changelogs.clone(), positions, current_ms: None })
    }
}

// === impl TestRecord ===

impl TestRecord {
    /// The record at an offset.
    pub(super) fn at(&self, offset: i64) -> RecordRef<'_> {
        RecordRef {
            offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.as_ref(),
        }
    }
}

/// All rows of a store.
pub(super) fn rows(stores: &TaskStores, store: StoreId) -> Result<Rows, StateError> {
    // Every record is committed before the next call.
    let rows = match stores.specs()[store.index()].kind {
        StoreKind::Versioned(_) => stores.view().latest_versions(store)?,
        kind if kind.retention().is_some() => stores.view().scan_times(store, 0..=i64::MAX, usize::MAX)?,
        _ => stores.view().scan(store, .., usize::MAX, usize::MAX)?.rows,
    };
    Ok(rows.into_iter().map(|row| (row.key, row.value, row.timestamp_ms)).collect())
}
