//! The backend of a task: committed rows, per store on disk or in memory.

use std::ops::ControlFlow;

use super::{
    CommitPoint, Owner, StateError, StateSettings, StoreId, StoreSpec,
    memory::{Memory, MemoryWrite},
    range::{Direction, KeyRange},
    rocks::{Rocks, RocksBatch},
};

/// Committed rows of all stores of a task, and the point they are at. Written by the owner's thread, read by any.
#[derive(Debug)]
pub(super) struct Backend {
    /// `None` when no store is on disk.
    rocks: Option<Rocks>,
    /// The stores that are not on disk, and the point of all.
    memory: Memory,
}

/// Rows that become committed together.
#[derive(Debug)]
pub(super) struct BackendBatch<'a> {
    memory: &'a Memory,
    to_rocks: Option<RocksBatch<'a>>,
    to_memory: Vec<MemoryWrite>,
}

// === impl Backend ===

impl Backend {
    /// Opens what is on disk for `owner`; stores in memory begin empty.
    pub(super) fn open(settings: &StateSettings, owner: Owner, specs: &[StoreSpec]) -> Result<Self, StateError> {
        let (rocks, point) = match &settings.dir {
            Some(dir) if specs.iter().any(|spec| spec.persistent) => {
                let directory = dir.dir_of(owner).join("rocksdb");
                let (rocks, point) = Rocks::open(directory, owner, specs, &settings.memory)?;
                (Some(rocks), point)
            }
            _ => (None, CommitPoint::default()),
        };
        Ok(Self { rocks, memory: Memory::new(specs.len(), point) })
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

    /// The point of the last commit.
    pub(super) fn point(&self) -> CommitPoint {
        self.memory.point()
    }

    /// A batch with room for about so many bytes.
    pub(super) fn batch(&self, bytes: usize) -> BackendBatch<'_> {
        BackendBatch {
            memory: &self.memory,
            to_rocks: self.rocks.as_ref().map(|rocks| rocks.batch(bytes)),
            to_memory: Vec::new(),
        }
    }

    /// Writes to disk what is committed; waits for it.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        self.rocks.as_ref().map_or(Ok(()), Rocks::flush)
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

// === impl BackendBatch ===

impl BackendBatch<'_> {
    /// Sets a row; `None` deletes it. The last write of a key counts.
    pub(super) fn write(&mut self, store: StoreId, key: &[u8], row: Option<&[u8]>) {
        match &mut self.to_rocks {
            Some(batch) if batch.has(store) => batch.write(store, key, row),
            _ => self.to_memory.push(MemoryWrite { store, key: key.into(), row: row.map(Box::from) }),
        }
    }

    /// Makes the rows committed, at `point`, all at once.
    pub(super) fn commit(self, point: &CommitPoint) -> Result<(), StateError> {
        // The disk first: only it can fail.
        if let Some(batch) = self.to_rocks {
            batch.commit(point)?;
        }
        self.memory.apply(self.to_memory, point);
        Ok(())
    }
}
