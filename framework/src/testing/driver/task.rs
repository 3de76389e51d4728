//! A task of a driver.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, rc::Rc, sync::Arc, time::Duration};

use super::{Collector, DriverError, TestRecord};
use crate::{
    config::Timestamps,
    log::{RecordRef, TopicPartition},
    processor::{Context, Globals, Handlers, Known, Output, PunctuationKind, Tolerance, Verdict},
    state::{CommitPoint, Dirty, StateError, StateSettings, StoreId, StoreKind, TaskId, TaskStores, TaskView},
    topology::{JudgedUpdate, Processed, Processors, Resolved, SubTopology},
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
    /// Whether records are committed when that is asked for, and not each by itself.
    commits_on_request: bool,
    /// Records that were processed and are not committed.
    uncommitted: Vec<Piped>,
    /// Records that the changelogs would have.
    changelogs: BTreeMap<StoreId, i64>,
}

/// A record that is processed again when what was changed is taken back.
#[derive(Debug)]
struct Piped {
    source: usize,
    record: TestRecord,
    offset: i64,
    time_ms: i64,
    /// What was decided about it.
    known: Option<Known>,
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
        Ok(Self {
            processors,
            ctx,
            output,
            times: BTreeMap::new(),
            commits_on_request: false,
            uncommitted: Vec::new(),
            changelogs: BTreeMap::new(),
        })
    }

    /// Leaves failing nodes out where `handlers` always say so.
    pub(super) fn tolerate(&mut self, handlers: &Handlers) {
        self.ctx.tolerate(Tolerance::of(handlers));
    }

    /// Lets records be committed when that is asked for.
    pub(super) fn commit_on_request(&mut self) {
        self.commits_on_request = true;
    }

    /// Processes a record and commits what it has changed, unless that is to be asked for; after an error, it has changed nothing.
    pub(super) fn process(
        &mut self,
        handlers: &Handlers,
        source: usize,
        record: &TestRecord,
        offset: i64,
    ) -> Result<(), DriverError> {
        let partition_time = self.times.entry(source).or_insert(-1);
        let time_ms = self.processors.time_of(&self.ctx, source, *partition_time, &record.at(offset), &record.headers);
        *partition_time = time_ms.max(*partition_time);
        self.uncommitted.push(Piped { source, record: record.clone(), offset, time_ms, known: None });
        let last = self.uncommitted.len() - 1;
        let dropped = *self.ctx.dropped();
        loop {
            let judged = match self.process_one(handlers, last) {
                Ok(None) if self.commits_on_request => return Ok(()),
                Ok(None) => self.try_commit(handlers),
                Ok(Some(verdict)) => Ok(Some((last, verdict))),
                Err(error) => Err(error),
            };
            let error = match judged {
                Ok(None) => return Ok(()),
                Ok(Some((_, verdict))) => {
                    self.uncommitted[last].known = Some(Known::Judged(verdict));
                    None
                }
                Err(error) => Some(error),
            };
            self.take_back();
            self.ctx.restore_dropped(dropped);
            self.repeat(handlers, last, None)?;
            if let Some(error) = error {
                self.uncommitted.pop();
                return Err(error);
            }
        }
    }

    /// Commits what was changed since the last commit. After an error nothing is committed.
    pub(super) fn commit(&mut self, handlers: &Handlers) -> Result<(), DriverError> {
        loop {
            let judged = match self.try_commit(handlers) {
                Ok(None) => return Ok(()),
                Ok(Some(judged)) => Ok(judged),
                Err(error) => Err(error),
            };
            self.take_back();
            let judged = judged.map(|(index, verdict)| {
                // The other nodes have written what they write already.
                let writes = (!verdict.skips_nodes()).then_some(index);
                self.uncommitted[index].known = Some(Known::Judged(verdict));
                writes
            });
            self.repeat(handlers, self.uncommitted.len(), judged.as_ref().ok().copied().flatten())?;
            judged?;
        }
    }

    /// Processes one of the records that are not committed. Gives what was decided about it when it has to be processed again.
    fn process_one(&mut self, handlers: &Handlers, index: usize) -> Result<Option<Box<Verdict>>, DriverError> {
        let Self { processors, ctx, uncommitted, .. } = self;
        let Piped { source, record, offset, time_ms, known } = &uncommitted[index];
        let (at, headers) = (record.at(*offset), record.headers.clone());
        match processors.process_or_judge(ctx, handlers, known.as_ref(), *source, at, *time_ms, headers)? {
            Processed::Done | Processed::Settled => Ok(None),
            Processed::Again(verdict) => Ok(Some(verdict)),
        }
    }

    /// Processes the first of the records that are not committed again, after they were taken back. What they write was written before,
    /// but for one of them.
    fn repeat(&mut self, handlers: &Handlers, records: usize, writes: Option<usize>) -> Result<(), DriverError> {
        let mut written = Vec::new();
        for index in 0..records {
            let dropped = *self.ctx.dropped();
            self.process_one(handlers, index)?;
            let of_it = self.output.borrow_mut().take();
            if writes == Some(index) {
                written = of_it;
            } else {
                self.ctx.restore_dropped(dropped);
            }
        }
        self.output.borrow_mut().put(written);
        Ok(())
    }

    fn take_back(&mut self) {
        self.ctx.stores_mut().discard();
        self.processors.discard();
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
    pub(super) fn advance_wall_clock(&mut self, handlers: &Handlers, by: Duration) -> Result<(), DriverError> {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ctx.set_wall_clock_ms(self.ctx.wall_clock_ms().saturating_add(by_ms));
        match self.processors.punctuate(&mut self.ctx, PunctuationKind::WallClock) {
            Ok(true) if !self.commits_on_request => self.commit(handlers),
            Ok(_) => Ok(()),
            Err(error) => {
                self.take_back();
                self.repeat(handlers, self.uncommitted.len(), None)?;
                Err(error.into())
            }
        }
    }

    pub(super) fn set_emit_interval(&mut self, interval: Duration) {
        self.ctx.set_emit_interval_ms(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
    }

    /// Passes on the updates that wait, and commits. Gives the record that was judged when one of them failed, and what was decided:
    /// then what was changed is to be taken back.
    fn try_commit(&mut self, handlers: &Handlers) -> Result<Option<(usize, Box<Verdict>)>, DriverError> {
        if let Some(JudgedUpdate { topic, offset, verdict }) = self.processors.flush(&mut self.ctx, handlers)? {
            let is_judged = |piped: &Piped| piped.record.topic == topic && piped.offset == offset;
            let index = self.uncommitted.iter().position(is_judged).expect("updates come from records not committed");
            return Ok(Some((index, verdict)));
        }
        let (stores, changelogs) = (self.ctx.stores_mut(), &mut self.changelogs);
        let (specs, mut output) = (Arc::clone(stores.specs()), self.output.borrow_mut());
        let Ok(()) = stores.freeze(|Dirty { store, key, value, timestamp_ms, headers }| {
            *changelogs.entry(store).or_default() += 1;
            if let Some(topic) = &specs[store.index()].changelog {
                output.internal(|| TestRecord {
                    topic: Arc::clone(topic),
                    key: Some(key.to_vec()),
                    value: value.map(<[u8]>::to_vec),
                    timestamp_ms,
                    headers: headers.clone(),
                });
            }
            Ok::<_, Infallible>(())
        });
        let position = |piped: Piped| (TopicPartition::new(piped.record.topic, 0), piped.offset + 1);
        let positions = self.uncommitted.drain(..).map(position).collect();
        let changelog_offsets = self.changelogs.clone();
        stores.commit(&CommitPoint { changelog_offsets, positions, ..CommitPoint::default() })?;
        Ok(None)
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
