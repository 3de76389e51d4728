//! The stores of one task.

mod gathering;
mod time_ordered;
mod timed;
mod timed_keys;
mod versioned;
mod warming;

use std::{
    convert::Infallible,
    ops::{ControlFlow, RangeBounds},
    sync::{Arc, Weak},
};

use self::{gathering::Gathering, warming::Warming};
use super::{
    CommitPoint, Direction, Owner, Row, StateError, StateSettings, StoreId, StoreKind, StoreSpec, TaskId, TaskView,
    backend::{Backend, BackendRows, BackendWriter},
    buffer,
    dir::Occupied,
    formats, lru_map,
    overlay::{Entry, Overlay},
    range::KeyRange,
    rocks::{Follows, MemoryBudget},
    time_ordered::logged as logged_in_order,
    timed::{Layout, StreamTimes},
    versioned::Journal,
};
use crate::log::{Batch, Headers};

/// The stores of one task, or of the global tables of an instance. Belongs to one thread; others read through
/// [`TaskStores::view`].
///
/// A commit interval goes: writes; [`freeze`](Self::freeze), which hands out the changelog records; [`commit`](Self::commit) once
/// the log has them, while the next interval's writes go on. Dropping the value keeps what is committed and forgets the rest.
#[derive(Debug)]
pub struct TaskStores {
    owner: Owner,
    specs: Arc<[StoreSpec]>,
    overlay: Overlay,
    /// The writes of the interval that waits for its commit, as the backend takes them.
    frozen: Option<BackendRows>,
    memory: MemoryBudget,
    committed: CommitPoint,
    times: StreamTimes,
    discards: u64,
    /// Updates of versioned stores since the last freeze.
    journal: Journal,
    warming: Warming,
    gathering: Gathering,
    follows: Option<Follows>,
    /// One row as the backend keeps it, and a key or the bounds of a range; reused.
    row: Vec<u8>,
    keys: (Vec<u8>, Vec<u8>),
    view: Arc<TaskView>,
    // Dropped in this order: the database is closed before its directory is free.
    backend: Arc<Backend>,
    occupied: Option<Occupied>,
}

/// The last uncommitted write of a key, for the changelog; of versioned stores each one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirty<'a> {
    /// The store.
    pub store: StoreId,
    /// The serialized key.
    pub key: &'a [u8],
    /// The serialized value; `None` deletes the key.
    pub value: Option<&'a [u8]>,
    /// The timestamp of the changelog record, in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers of the changelog record.
    pub headers: &'a Headers,
}

// === impl TaskStores ===

impl TaskStores {
    /// Opens the stores of a task: on disk where `settings` has a directory and the store is persistent, else in memory.
    /// [`TaskStores::committed`] then says from where each store is to be restored.
    ///
    /// # Errors
    /// [`StateError::AlreadyOpen`] when this process has them open; [`StateError::Open`] when the database does not open.
    pub fn open(settings: &StateSettings, task: TaskId, specs: Arc<[StoreSpec]>) -> Result<Self, StateError> {
        Self::open_as(settings, Owner::Task(task), specs)
    }

    /// Opens the stores of the global tables. Each is fed by [`TaskStores::restore`] from all partitions of its topic, and
    /// no two by the same topic: the offsets are kept per partition as [`CommitPoint::positions`].
    ///
    /// # Errors
    /// As [`TaskStores::open`].
    pub fn open_global(settings: &StateSettings, specs: Arc<[StoreSpec]>) -> Result<Self, StateError> {
        Self::open_as(settings, Owner::Global, specs)
    }

    fn open_as(settings: &StateSettings, owner: Owner, specs: Arc<[StoreSpec]>) -> Result<Self, StateError> {
        let occupied = settings.dir.as_ref().map(|dir| dir.occupy(owner)).transpose()?;
        if let Some(dir) = &settings.dir
            && dir.is_condemned(owner)?
        {
            drop(occupied);
            let aside = dir.set_aside(owner)?;
            tracing::error!(%owner, aside = %aside.display(), "the state was damaged: moved aside, to be rebuilt");
            return Self::open_as(settings, owner, specs);
        }
        let backend = match Backend::open(settings, owner, &specs) {
            Err(error) if error.is_damage() => {
                let Some(dir) = &settings.dir else { return Err(error) };
                drop(occupied);
                let aside = dir.set_aside(owner)?;
                tracing::error!(%owner, %error, aside = %aside.display(), "the state is damaged: moved aside, to be rebuilt");
                return Self::open_as(settings, owner, specs);
            }
            backend => Arc::new(backend?),
        };
        let view = Arc::new(TaskView::new(owner, Arc::clone(&specs), Arc::clone(&backend)));
        if backend.rocks().is_some() {
            let view: Weak<TaskView> = Arc::downgrade(&view);
            settings.memory.register(view);
        }
        let mut stores = Self {
            owner,
            overlay: Overlay::new(specs.iter().map(|spec| Layout::of(spec.kind))),
            times: StreamTimes::new(backend.progress()?),
            discards: 0,
            frozen: None,
            memory: settings.memory.clone(),
            committed: backend.point(),
            journal: Journal::default(),
            warming: Warming::default(),
            gathering: Gathering::default(),
            follows: None,
            row: Vec::new(),
            keys: <(Vec<u8>, Vec<u8>)>::default(),
            view,
            specs,
            backend,
            occupied,
        };
        stores.all_since_committed();
        Ok(stores)
    }

    /// Whose stores these are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The stores, in the order of their [`StoreId`].
    #[must_use]
    pub fn specs(&self) -> &Arc<[StoreSpec]> {
        &self.specs
    }

    // --- the task's own reads and writes ---

    /// Reads a row as the task sees it, uncommitted writes included.
    ///
    /// # Errors
    /// [`StateError::Database`] and [`StateError::Format`]; the task cannot go on.
    pub fn read<R>(
        &mut self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        if let Some(entry) = self.overlay.get(store, key) {
            return Ok(f(entry.row()));
        }
        self.read_committed(store, key, f)
    }

    /// Reads a row that is not at hand, and keeps it there.
    fn read_committed<R>(
        &mut self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        let Self { owner, specs, overlay, memory, backend, .. } = self;
        let rows = RowReader::new(*owner, specs, store);
        backend.get(store, key, |bytes| {
            let row = bytes.map(|bytes| rows.read(bytes)).transpose()?;
            if let Some(row) = row
                && backend.is_on_disk(store)
            {
                overlay.keep(store, key, row, memory.rows_share());
            }
            Ok(f(row))
        })?
    }

    /// Sets the value of a key; `None` deletes it. Seen by this task at once and by others after the commit.
    pub fn write(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        self.overlay.write(store, key, value, timestamp_ms);
    }

    /// Walks the rows of a range as the task sees them, in the order of their keys, until `f` breaks.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn scan<'k>(
        &mut self,
        store: StoreId,
        range: impl RangeBounds<&'k [u8]>,
        direction: Direction,
        mut f: impl FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let Some(range) = KeyRange::new(&range) else { return Ok(()) };
        self.scan_range(store, &range, direction, &mut f).map(drop)
    }

    fn scan_range(
        &mut self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: &mut impl FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StateError> {
        let rows = RowReader::new(self.owner, &self.specs, store);
        let mut uncommitted = self.overlay.uncommitted(store, range, direction).peekable();
        let mut flow = ControlFlow::Continue(());
        self.backend.scan(store, range, direction, |key, bytes| {
            // Uncommitted keys that come before this one, then this one: as it is uncommitted, if it is.
            while let Some((before, entry)) = uncommitted.next_if(|(next, _)| direction.precedes(next, key)) {
                flow = entry.row().map_or(ControlFlow::Continue(()), |row| f(before, row));
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            let row = match uncommitted.next_if(|(next, _)| *next == key) {
                Some((_, entry)) => entry.row(),
                None => Some(rows.read(bytes)?),
            };
            flow = row.map_or(ControlFlow::Continue(()), |row| f(key, row));
            Ok(flow)
        })?;
        while flow.is_continue()
            && let Some((key, entry)) = uncommitted.next()
        {
            flow = entry.row().map_or(ControlFlow::Continue(()), |row| f(key, row));
        }
        Ok(flow)
    }

    /// About how many rows a store has, uncommitted writes left out: exact for stores in memory and for bounded maps.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn approximate_rows(&mut self, store: StoreId) -> Result<u64, StateError> {
        match self.specs[store.index()].kind {
            StoreKind::LruMap(_) => self.lru_entries(store),
            StoreKind::Buffer => Ok(self.buffer_size(store)?.records),
            _ => self.backend.approximate_rows(store),
        }
    }

    /// Walks the rows of a range that are at hand, when all of them are.
    fn scan_at_hand(
        &mut self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: &mut impl FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut rows = self.overlay.uncommitted(store, range, direction);
        rows.try_for_each(|(key, entry)| entry.row().map_or(ControlFlow::Continue(()), |row| f(key, row)))
    }

    // --- the commit ---

    /// Memory of uncommitted writes, frozen ones included, in bytes.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> usize {
        self.overlay.uncommitted_bytes() + self.journal.bytes() + self.frozen.as_ref().map_or(0, BackendRows::bytes)
    }

    /// Memory of the rows that are not in the backend alone, in bytes: those at hand, the uncommitted ones, and what is gathered of
    /// changelogs.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, BackendRows::bytes);
        self.overlay.bytes() + self.journal.held_bytes() + frozen + self.gathering.bytes()
    }

    /// Memory of the committed rows of stores that are not on disk, in bytes. No budget bounds it: they have nowhere to go.
    #[must_use]
    pub fn in_memory_bytes(&self) -> usize {
        self.backend.in_memory_bytes()
    }

    /// Ends the interval: its writes wait for [`TaskStores::commit`], later ones belong to the next. Hands the last write of each key
    /// to `log`, by store and key, for the changelogs of stores that have one; then all writes of versioned stores, in their order.
    ///
    /// # Errors
    /// The first one of `log`; what is not committed must be discarded then.
    ///
    /// # Panics
    /// When the interval before waits still: at most one commit is in flight.
    pub fn freeze<E>(&mut self, mut log: impl FnMut(Dirty<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rows = self.backend.rows(self.overlay.uncommitted_bytes());
        let mut writer = self.backend.writer(&mut rows);
        let removed = advance(&self.specs, &mut self.times, &mut writer);
        let (specs, row) = (&self.specs, &mut self.row);
        let result = self.overlay.freeze(|store, key, entry: Entry<'_>| {
            let kind = specs[store.index()].kind;
            let is_row = entry.row().is_some() || !matches!(kind, StoreKind::DuplicateWindow(_));
            if is_row && key >= &removed[store.index()][..] {
                put(&mut writer, row, kind, store, key, entry.row());
            }
            let key = match kind {
                StoreKind::KeyValue | StoreKind::TimestampedKeyValue | StoreKind::List => Some(key),
                StoreKind::Window(_)
                | StoreKind::TimestampedWindow(_)
                | StoreKind::DuplicateWindow(_)
                | StoreKind::Session(_) => Some(Layout::logged(key)),
                StoreKind::Buffer => buffer::logged(key),
                StoreKind::LruMap(_) => lru_map::logged(key),
                StoreKind::TimeOrderedBuffer => logged_in_order(key),
                StoreKind::Versioned(_) => None,
            };
            let Some(key) = key else { return Ok(()) };
            let (value, timestamp_ms) = (entry.value(), entry.timestamp_ms());
            let headers = if kind == StoreKind::Buffer { buffer::logged_headers(value) } else { Headers::none() };
            log(Dirty { store, key, value, timestamp_ms, headers })
        });
        let result = result.and_then(|()| self.journal.writes().try_for_each(log));
        self.journal.clear();
        self.frozen = Some(rows);
        result
    }

    /// Makes the frozen writes committed, at `point`: in one write with it, so that they are found together or not at all.
    /// Offsets that `point` does not mention stay as they are.
    ///
    /// # Errors
    /// [`StateError::Database`]; nothing is committed then, and what is not must be discarded.
    pub fn commit(&mut self, point: &CommitPoint) -> Result<(), StateError> {
        self.apply_gathered()?;
        let mut next = self.committed.clone();
        next.advance(point);
        let rows = self.frozen.take().unwrap_or_else(|| self.backend.rows(0));
        let expired = rows.expired();
        if !rows.is_empty() || next != self.committed {
            self.backend.commit(rows, &next)?;
            self.committed = next;
            self.times.commit();
        }
        if self.overlay.is_frozen() {
            self.overlay.committed(self.memory.rows_share());
        }
        expired.into_iter().for_each(|(store, key)| self.overlay.forget_below(store, &key));
        Ok(())
    }

    /// How often uncommitted writes were forgotten: whoever remembers something of them has to look anew then.
    #[must_use]
    pub fn discards(&self) -> u64 {
        self.discards
    }

    /// Forgets all uncommitted writes, frozen ones too.
    pub fn discard(&mut self) {
        self.discards += 1;
        self.frozen = None;
        self.overlay.discard();
        self.times.discard();
        self.journal.clear();
        self.all_since_committed();
    }

    /// Says whether from now on the changelogs are only followed, or records are processed, as of those that were just opened. Who follows
    /// needs no memory for rows at hand: it is left to others, and what is not committed is forgotten.
    pub fn set_follows(&mut self, follows: bool) {
        self.discard();
        self.overlay = Overlay::new(self.specs.iter().map(|spec| Layout::of(spec.kind)));
        self.warming = Warming::default();
        self.all_since_committed();
        self.follows = (follows && self.backend.rocks().is_some()).then(|| self.memory.follows());
    }

    /// Memory of what is gathered of changelogs and not applied yet, in bytes.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.gathering.bytes()
    }

    /// Whether any store has a committed row.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn has_rows(&self) -> Result<bool, StateError> {
        let Some(all) = KeyRange::new(&(..)) else { return Ok(false) };
        let mut found = false;
        for store in (0..self.specs.len()).map(StoreId::new) {
            self.backend.scan(store, &all, Direction::Forward, |_, _| {
                found = true;
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(found)
    }

    /// The point the backend is at: as found when opened, then as committed or restored.
    #[must_use]
    pub fn committed(&self) -> &CommitPoint {
        &self.committed
    }

    // --- restore ---

    /// Applies records of a changelog straight to the backend, together with the offset behind them. Records without a value
    /// delete. `next_offset` becomes the store's changelog offset; for global tables, the position of the batch's partition.
    ///
    /// # Errors
    /// [`StateError::Database`]; nothing of the batch is applied then.
    pub fn restore(&mut self, store: StoreId, records: &Batch, next_offset: i64) -> Result<(), StateError> {
        self.apply_run(store)?;
        let kind = self.specs[store.index()].kind;
        match kind {
            StoreKind::Buffer => return self.restore_as_writes(store, records, next_offset, Self::restore_buffer),
            StoreKind::LruMap(_) => return self.restore_as_writes(store, records, next_offset, Self::restore_lru_map),
            StoreKind::TimeOrderedBuffer => {
                return self.restore_as_writes(store, records, next_offset, Self::restore_time_ordered);
            }
            StoreKind::Versioned(_) => {
                return self.restore_as_writes(store, records, next_offset, Self::restore_versions);
            }
            _ => {}
        }
        let layout = Layout::of(kind);
        if let Some(layout) = layout {
            let keys = records.iter().filter_map(|record| Some((record.key?, record.value.is_some())));
            keys.for_each(|(key, is_row)| self.times.observe_logged(store, layout, key, is_row));
        }
        let mut rows = self.backend.rows(records.bytes());
        let mut writer = self.backend.writer(&mut rows);
        let removed = advance(&self.specs, &mut self.times, &mut writer);
        let (mut without_key, stored) = (0, &mut self.keys.0);
        for record in records.iter() {
            let key = match (record.key, layout) {
                (Some(key), Some(layout)) => layout.put_logged(stored, key).map(|()| stored.as_slice()),
                (key, _) => key,
            };
            let Some(key) = key else {
                without_key += 1;
                continue;
            };
            if key < &removed[store.index()][..] {
                continue;
            }
            let row = record.value.map(|value| Row { value, timestamp_ms: record.timestamp_ms });
            put(&mut writer, &mut self.row, kind, store, key, row);
            self.overlay.forget_committed(store, key);
        }
        self.warn_without_key(records, without_key);
        let mut next = self.committed.clone();
        match self.owner {
            Owner::Task(_) => next.changelog_offsets.insert(store, next_offset),
            Owner::Global => next.positions.insert(records.source().clone(), next_offset),
        };
        self.backend.commit(rows, &next)?;
        self.committed = next;
        self.times.commit();
        self.all_since_committed();
        Ok(())
    }

    fn warn_without_key(&self, records: &Batch, without_key: usize) {
        if without_key > 0 {
            let (owner, partition) = (self.owner, records.source());
            tracing::warn!(%owner, %partition, records = without_key, "records without a key of this store have no row: skipped");
        }
    }

    /// Restores a store whose rows are made of each other.
    fn restore_as_writes(
        &mut self,
        store: StoreId,
        records: &Batch,
        next_offset: i64,
        write: impl FnOnce(&mut Self, StoreId, &Batch) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        write(self, store, records)?;
        let Ok(()) = self.freeze(|_| Ok::<_, Infallible>(()));
        let changelog_offsets = [(store, next_offset)].into();
        let restored = self.commit(&CommitPoint { changelog_offsets, ..CommitPoint::default() });
        if restored.is_err() {
            self.discard();
        }
        restored
    }

    // --- readers and the end ---

    /// Committed state, for queries and other threads. It may outlive these stores.
    #[must_use]
    pub fn view(&self) -> Arc<TaskView> {
        Arc::clone(&self.view)
    }

    /// Writes to disk what is committed; waits for it. Only shortens a later restore after a crash.
    ///
    /// # Errors
    /// [`StateError::Database`]; what is committed stays so.
    pub fn flush(&self) -> Result<(), StateError> {
        self.backend.flush()
    }

    /// Whether all reads of views have found the rows whole, and what is written in the background gets to the disk.
    ///
    /// # Errors
    /// [`StateError::Database`]; [`StateError::Format`] with the first damage that one has met: the stores must be rebuilt.
    pub fn check(&self) -> Result<(), StateError> {
        self.backend.check()?;
        let Some(reason) = self.view.damage() else { return Ok(()) };
        let what = "a row that a query asked for".into();
        Err(StateError::Format { owner: self.owner, what, reason: reason.into() })
    }

    /// Notes that these stores are damaged: whoever opens them next begins anew.
    ///
    /// # Errors
    /// [`StateError::Io`] when that cannot be noted.
    pub fn condemn(&self) -> Result<(), StateError> {
        self.occupied.as_ref().map_or(Ok(()), Occupied::condemn)
    }

    /// Flushes and closes: waits for running reads of views and refuses later ones. Afterwards, whatever this returns, the
    /// same stores can be opened again.
    ///
    /// # Errors
    /// [`StateError::Database`] when the flush fails: the state on disk is an earlier commit then.
    pub fn close(mut self) -> Result<(), StateError> {
        self.apply_gathered()?;
        // Views go on reading meanwhile; they are closed by the drop.
        self.flush()
    }

    #[cfg(test)]
    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }
}

impl Drop for TaskStores {
    fn drop(&mut self) {
        self.view.close();
        // From here on `backend` is the last reference: dropping it closes the database.
        debug_assert_eq!(Arc::strong_count(&self.backend), 1, "views keep no reference beyond a read");
    }
}

/// Moves the times of stores on. Gives for each the smallest key that is not removed by that.
fn advance(specs: &[StoreSpec], times: &mut StreamTimes, writer: &mut BackendWriter<'_>) -> Box<[Vec<u8>]> {
    let removed = specs.iter().enumerate().map(|(store, spec)| {
        let store = StoreId::new(store);
        let Some(layout) = Layout::expiring(spec.kind) else { return Vec::new() };
        if let Some(advance) = times.freeze(store, layout) {
            writer.advance(advance);
        }
        times.kept_from(store, layout).to_vec()
    });
    removed.collect()
}

/// Adds a row in the form its kind has on disk.
fn put(
    writer: &mut BackendWriter<'_>,
    buffer: &mut Vec<u8>,
    kind: StoreKind,
    store: StoreId,
    key: &[u8],
    row: Option<Row<'_>>,
) {
    writer.write(store, key, put_bytes(buffer, kind, row));
}

/// A row in the form its kind has on disk. `buffer` is only reused memory.
fn put_bytes<'a>(buffer: &'a mut Vec<u8>, kind: StoreKind, row: Option<Row<'_>>) -> Option<&'a [u8]> {
    row.map(|row| {
        buffer.clear();
        formats::put_row(kind, buffer, row);
        buffer.as_slice()
    })
}

/// Reads rows of one store.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowReader<'a> {
    owner: Owner,
    spec: &'a StoreSpec,
}

// === impl RowReader ===

impl<'a> RowReader<'a> {
    pub(super) fn new(owner: Owner, specs: &'a [StoreSpec], store: StoreId) -> Self {
        Self { owner, spec: &specs[store.index()] }
    }

    pub(super) fn read<'r>(&self, bytes: &'r [u8]) -> Result<Row<'r>, StateError> {
        formats::row(self.spec.kind, bytes).map_err(|reason| StateError::Format {
            owner: self.owner,
            what: format!("a row of store `{}`", self.spec.name),
            reason,
        })
    }
}
