//! The backend in memory: stores that are not persistent, tests, simulation.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    CommitPoint, StateError, StoreId,
    range::{Direction, KeyRange},
};

type Bytes = Box<[u8]>;

/// Committed rows in sorted maps.
///
/// One lock over rows and point makes every read one of a single commit. The owner's thread takes it for writing once per
/// commit; everybody else only reads, in bounded pages.
#[derive(Debug)]
pub(super) struct Memory {
    committed: RwLock<Committed>,
}

#[derive(Debug)]
struct Committed {
    stores: Box<[BTreeMap<Bytes, Bytes>]>,
    point: CommitPoint,
}

/// The rows of one commit. Commits wait for it to be dropped.
#[derive(Debug)]
pub(super) struct MemorySnapshot<'a>(RwLockReadGuard<'a, Committed>);

/// A write that waits for its commit.
#[derive(Debug)]
pub(super) enum MemoryWrite {
    /// Sets a row; `None` deletes it.
    Row { store: StoreId, key: Bytes, row: Option<Bytes> },
    /// Removes all rows whose keys are smaller.
    RemoveBelow { store: StoreId, key: Bytes },
}

// === impl Memory ===

impl Memory {
    pub(super) fn new(stores: usize, point: CommitPoint) -> Self {
        let stores = (0..stores).map(|_| BTreeMap::new()).collect();
        Self { committed: RwLock::new(Committed { stores, point }) }
    }

    pub(super) fn get<R>(&self, store: StoreId, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        f(self.read().stores[store.index()].get(key).map(|row| &**row))
    }

    pub(super) fn get_with_point<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> (R, CommitPoint) {
        let snapshot = self.snapshot();
        (snapshot.get(store, key, f), snapshot.point().clone())
    }

    /// How many rows a store has.
    pub(super) fn rows(&self, store: StoreId) -> u64 {
        self.read().stores[store.index()].len() as u64
    }

    pub(super) fn point(&self) -> CommitPoint {
        self.read().point.clone()
    }

    /// Walks rows in order until `f` breaks or fails; says which point they are of.
    pub(super) fn scan_with_point(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<CommitPoint, StateError> {
        let snapshot = self.snapshot();
        snapshot.scan(store, range, direction, f)?;
        Ok(snapshot.point().clone())
    }

    pub(super) fn snapshot(&self) -> MemorySnapshot<'_> {
        MemorySnapshot(self.read())
    }

    /// Applies all writes and the point at once.
    pub(super) fn apply(&self, writes: Vec<MemoryWrite>, point: &CommitPoint) {
        let mut committed = self.committed.write().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            match write {
                MemoryWrite::Row { store, key, row: Some(row) } => {
                    committed.stores[store.index()].insert(key, row);
                }
                MemoryWrite::Row { store, key, row: None } => {
                    committed.stores[store.index()].remove(&key);
                }
                MemoryWrite::RemoveBelow { store, key } => {
                    let rows = &mut committed.stores[store.index()];
                    *rows = rows.split_off(&key);
                }
            }
        }
        committed.point.clone_from(point);
    }

    fn read(&self) -> RwLockReadGuard<'_, Committed> {
        self.committed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl MemorySnapshot ===

impl MemorySnapshot<'_> {
    pub(super) fn point(&self) -> &CommitPoint {
        &self.0.point
    }

    pub(super) fn get<R>(&self, store: StoreId, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        f(self.0.stores[store.index()].get(key).map(|row| &**row))
    }

    /// Walks rows in order until `f` breaks or fails.
    pub(super) fn scan(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        mut f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut rows = self.0.stores[store.index()].range::<[u8], _>(range.bounds());
        while let Some((key, row)) = match direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.next_back(),
        } {
            if f(key, row)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
