//! The backend of a task: committed rows, per store on disk or in memory.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicI64, Ordering},
};

use super::{
    CommitPoint, Owner, StateError, StateSettings, StoreId, StoreSpec,
    disk::OnDisk,
    memory::{Memory, MemorySnapshot, MemoryWrite},
    range::{Direction, KeyRange},
    rocks::{Rocks, RocksRows, RocksSnapshot, RocksWriter},
    run::Run,
    timed::{Advance, BUCKET_BYTES, NO_STREAM_TIME, Progress},
};

/// Committed rows of all stores of a task, and the point they are at. Written by the owner's thread, read by any.
#[derive(Debug)]
pub(super) struct Backend {
    /// `None` when no store is on disk.
    rocks: Option<Rocks>,
    /// The stores that are not on disk, and the point of all.
    memory: Memory,
    /// Where the stores in memory are written down, in a simulation.
    on_disk: Option<OnDisk>,
    /// Per store its stream time, as of the last commit.
    stream_times: Box<[AtomicI64]>,
}

/// Rows that become committed together.
#[derive(Debug)]
pub(super) struct BackendRows {
    to_rocks: Option<RocksRows>,
    to_memory: Vec<MemoryWrite>,
    advances: Vec<Advance>,
}

/// Reads of one store that are of one commit.
#[derive(Debug)]
pub(super) enum AtOnce<'a> {
    Disk(RocksSnapshot<'a>, StoreId),
    Memory(MemorySnapshot<'a>, StoreId),
}

/// Adds rows to those that become committed together.
#[derive(Debug)]
pub(super) struct BackendWriter<'a> {
    to_rocks: Option<RocksWriter<'a>>,
    to_memory: &'a mut Vec<MemoryWrite>,
    advances: &'a mut Vec<Advance>,
}

// === impl Backend ===

impl Backend {
    /// Opens what is on disk for `owner`; stores in memory begin empty.
    pub(super) fn open(settings: &StateSettings, owner: Owner, specs: &[StoreSpec]) -> Result<Self, StateError> {
        let in_memory = |point| Memory::new(specs.len(), point);
        let (rocks, on_disk, memory) = match &settings.dir {
            Some(dir) if specs.iter().any(|spec| spec.persistent) => match dir.memory_disk() {
                None => {
                    let directory = dir.dir_of(owner).join("rocksdb");
                    let (rocks, point) = Rocks::open(directory, owner, specs, &settings.memory)?;
                    (Some(rocks), None, in_memory(point))
                }
                Some((disk, watch)) => {
                    let (on_disk, memory) = OnDisk::open(disk, watch, owner, specs);
                    (None, Some(on_disk), memory)
                }
            },
            _ => (None, None, in_memory(CommitPoint::default())),
        };
        let stream_times = specs.iter().map(|_| AtomicI64::new(NO_STREAM_TIME)).collect();
        let opened = Self { stream_times, rocks, on_disk, memory };
        for (stream_time, progress) in opened.stream_times.iter().zip(opened.progress()?) {
            stream_time.store(progress.stream_time_ms, Ordering::Release);
        }
        Ok(opened)
    }

    /// Reads a committed row.
    pub(super) fn get<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StateError> {
        match self.on_disk(store) {
            Some(rocks) => rocks.get(store, key, f),
            None => Ok(self.memory.get(store, key, f)),
        }
    }

    /// Reads a committed row and the point of the same commit.
    pub(super) fn get_with_point<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<(R, CommitPoint), StateError> {
        match self.on_disk(store) {
            Some(rocks) => rocks.get_with_point(store, key, f),
            None => Ok(self.memory.get_with_point(store, key, f)),
        }
    }

    /// Walks committed rows in order until `f` breaks or fails.
    pub(super) fn scan(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        match self.on_disk(store) {
            Some(rocks) => rocks.scan(store, range, direction, f),
            None => self.memory.scan_with_point(store, range, direction, f).map(drop),
        }
    }

    /// Walks the committed rows of a range that are on disk, in order; they are not expected to be read again soon.
    pub(super) fn scan_once(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        self.on_disk(store).map_or(Ok(()), |rocks| rocks.scan_once(store, range, f))
    }

    /// About how many bytes the rows of a store take on disk.
    pub(super) fn bytes_on_disk(&self, store: StoreId) -> Result<usize, StateError> {
        self.on_disk(store).map_or(Ok(0), |rocks| rocks.bytes_on_disk(store))
    }

    /// About how many rows a store has; exactly, when it is in memory.
    pub(super) fn approximate_rows(&self, store: StoreId) -> Result<u64, StateError> {
        self.on_disk(store).map_or_else(|| Ok(self.memory.rows(store)), |rocks| rocks.approximate_rows(store))
    }

    /// About how much memory the rows of stores in memory take, in bytes.
    pub(super) fn in_memory_bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Like [`Backend::scan`]; says which point the rows are of.
    pub(super) fn scan_with_point(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<CommitPoint, StateError> {
        match self.on_disk(store) {
            Some(rocks) => rocks.scan_with_point(store, range, direction, f),
            None => self.memory.scan_with_point(store, range, direction, f),
        }
    }

    /// Does reads of a store that are of one commit; gives its point too. On disk or in memory, no commit waits long for them.
    pub(super) fn at_once<R>(
        &self,
        store: StoreId,
        f: impl FnOnce(&AtOnce<'_>) -> Result<R, StateError>,
    ) -> Result<(R, CommitPoint), StateError> {
        let at_once = match self.on_disk(store) {
            Some(rocks) => AtOnce::Disk(rocks.snapshot(), store),
            None => AtOnce::Memory(self.memory.snapshot(), store),
        };
        let result = f(&at_once)?;
        let point = match &at_once {
            AtOnce::Disk(snapshot, _) => snapshot.point()?,
            AtOnce::Memory(snapshot, _) => snapshot.point().clone(),
        };
        Ok((result, point))
    }

    /// The point of the last commit.
    pub(super) fn point(&self) -> CommitPoint {
        self.memory.point()
    }

    /// The stream time of a store as of the last commit, in ms.
    pub(super) fn stream_time(&self, store: StoreId) -> i64 {
        self.stream_times[store.index()].load(Ordering::Acquire)
    }

    /// How far each store had come as of the last commit.
    pub(super) fn progress(&self) -> Result<Box<[Progress]>, StateError> {
        let stores = (0..self.stream_times.len()).map(StoreId::new);
        let of = |store| match (self.on_disk(store), &self.on_disk) {
            (Some(rocks), _) => rocks.progress(store),
            (None, Some(on_disk)) => Ok(on_disk.progress(store)),
            (None, None) => Ok(Progress::NONE),
        };
        stores.map(of).collect()
    }

    /// No rows yet, with room for about so many bytes.
    pub(super) fn rows(&self, bytes: usize) -> BackendRows {
        let to_rocks = self.rocks.as_ref().map(|_| RocksRows::new(bytes));
        BackendRows { to_rocks, to_memory: Vec::new(), advances: Vec::new() }
    }

    /// Adds to rows.
    pub(super) fn writer<'a>(&'a self, rows: &'a mut BackendRows) -> BackendWriter<'a> {
        let to_rocks = self.rocks.as_ref().zip(rows.to_rocks.as_mut()).map(|(rocks, rows)| rocks.writer(rows));
        BackendWriter { to_rocks, to_memory: &mut rows.to_memory, advances: &mut rows.advances }
    }

    /// Makes rows committed, at `point`, all at once.
    pub(super) fn commit(&self, rows: BackendRows, point: &CommitPoint) -> Result<(), StateError> {
        // The disk first: only it can fail.
        if let Some((rocks, rows)) = self.rocks.as_ref().zip(rows.to_rocks) {
            rocks.commit(rows, point)?;
        }
        let flushes = self.on_disk.as_ref().map_or(Ok(false), |on_disk| on_disk.commits(&rows.advances))?;
        self.memory.apply(rows.to_memory, point);
        if flushes {
            self.flush()?;
        }
        for Advance { store, to, keep_from } in rows.advances {
            self.stream_times[store.index()].store(to.stream_time_ms, Ordering::Release);
            if let Some((rocks, key)) = self.on_disk(store).zip(keep_from) {
                rocks.drop_files_below(store, &key)?;
            }
        }
        Ok(())
    }

    /// Removes what a crash left of a table.
    pub(super) fn remove_unfinished_table(&self) -> Result<(), StateError> {
        self.rocks.as_ref().map_or(Ok(()), Rocks::remove_unfinished_table)
    }

    /// Writes a table of rows for [`Backend::add_table`]. There must be no unfinished one.
    pub(super) fn write_table(&self, run: &Run) -> Result<(), StateError> {
        self.rocks.as_ref().map_or(Ok(()), |rocks| rocks.write_table(run))
    }

    /// Makes the table that was written last part of a store that is on disk. Its rows are seen then, and stay whatever crashes; the point is
    /// behind them.
    pub(super) fn add_table(&self, store: StoreId) -> Result<(), StateError> {
        self.on_disk(store).map_or(Ok(()), |rocks| rocks.add_table(store))
    }

    /// Whether this store is on disk.
    pub(super) fn is_on_disk(&self, store: StoreId) -> bool {
        self.on_disk(store).is_some()
    }

    /// Writes to disk what is committed; waits for it.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        self.rocks.as_ref().map_or(Ok(()), Rocks::flush)?;
        self.on_disk.as_ref().map_or(Ok(()), |on_disk| on_disk.flush(&self.memory))
    }

    /// Whether what was written gets to the disk.
    pub(super) fn check(&self) -> Result<(), StateError> {
        self.rocks.as_ref().map_or(Ok(()), Rocks::check)
    }

    /// The database, if a store is in one.
    pub(super) fn rocks(&self) -> Option<&Rocks> {
        self.rocks.as_ref()
    }

    /// The database, if this store is in it.
    fn on_disk(&self, store: StoreId) -> Option<&Rocks> {
        self.rocks.as_ref().filter(|rocks| rocks.has(store))
    }
}

// === impl AtOnce ===

impl AtOnce<'_> {
    /// Reads a row.
    pub(super) fn get<R>(&self, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StateError> {
        match self {
            Self::Disk(snapshot, store) => snapshot.get(*store, key, f),
            Self::Memory(snapshot, store) => Ok(snapshot.get(*store, key, f)),
        }
    }

    /// Walks rows in order until `f` breaks or fails.
    pub(super) fn scan(
        &self,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        match self {
            Self::Disk(snapshot, store) => snapshot.scan(*store, range, direction, f),
            Self::Memory(snapshot, store) => snapshot.scan(*store, range, direction, f),
        }
    }
}

// === impl BackendRows ===

impl BackendRows {
    /// The stores of which rows expire with these, and the first key that stays.
    pub(super) fn expired(&self) -> Vec<(StoreId, [u8; BUCKET_BYTES])> {
        self.advances.iter().filter_map(|advance| Some((advance.store, advance.keep_from?))).collect()
    }

    /// Memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let in_memory = |write: &MemoryWrite| match write {
            MemoryWrite::Row { key, row, .. } => key.len() + row.as_ref().map_or(0, |row| row.len()),
            MemoryWrite::RemoveBelow { key, .. } => key.len(),
        };
        self.to_rocks.as_ref().map_or(0, RocksRows::bytes) + self.to_memory.iter().map(in_memory).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.advances.is_empty() && self.to_memory.is_empty() && self.to_rocks.as_ref().is_none_or(RocksRows::is_empty)
    }
}

// === impl BackendWriter ===

impl BackendWriter<'_> {
    /// Sets a row; `None` deletes it. The last write of a key counts.
    pub(super) fn write(&mut self, store: StoreId, key: &[u8], row: Option<&[u8]>) {
        match &mut self.to_rocks {
            Some(writer) if writer.has(store) => writer.write(store, key, row),
            _ => self.to_memory.push(MemoryWrite::Row { store, key: key.into(), row: row.map(Box::from) }),
        }
    }

    /// Moves the time of a store on. Comes before the rows that are written with it.
    pub(super) fn advance(&mut self, advance: Advance) {
        let Advance { store, to, keep_from } = advance;
        self.advances.push(advance);
        match &mut self.to_rocks {
            Some(writer) if writer.has(store) => writer.advance(store, to, keep_from.as_ref()),
            _ => self.to_memory.extend(keep_from.map(|key| MemoryWrite::RemoveBelow { store, key: key.into() })),
        }
    }
}
