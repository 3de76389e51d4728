//! The backend in memory: stores that are not persistent, tests, simulation.

use std::{
    collections::BTreeMap,
    mem,
    ops::ControlFlow,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    CommitPoint, StateError, StoreId,
    range::{Direction, KeyRange},
};

type Bytes = Box<[u8]>;

/// The rows of a store by their keys.
pub(super) type Sorted = BTreeMap<Bytes, Bytes>;

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
    stores: Box<[Rows]>,
    point: CommitPoint,
}

/// The rows of one store.
#[derive(Debug, Default)]
struct Rows {
    sorted: Sorted,
    /// About what they take.
    bytes: usize,
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

/// What a row takes beside its bytes: a place in a tree whose nodes are two thirds full, and what the allocator adds to two blocks.
const ROW_BYTES: usize = 2 * size_of::<Bytes>() * 3 / 2 + 2 * 8;

// === impl Memory ===

impl Memory {
    pub(super) fn new(stores: usize, point: CommitPoint) -> Self {
        let stores = (0..stores).map(|_| Rows::default()).collect();
        Self { committed: RwLock::new(Committed { stores, point }) }
    }

    pub(super) fn get<R>(&self, store: StoreId, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        f(self.read().stores[store.index()].sorted.get(key).map(|row| &**row))
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
        self.read().stores[store.index()].sorted.len() as u64
    }

    /// About how much memory the rows of all stores take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.read().stores.iter().map(|rows| rows.bytes).sum()
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
                MemoryWrite::Row { store, key, row } => committed.stores[store.index()].set(key, row),
                MemoryWrite::RemoveBelow { store, key } => committed.stores[store.index()].remove_below(&key),
            }
        }
        committed.point.clone_from(point);
    }

    /// Begins with these rows, by store.
    pub(super) fn load(&self, rows: Vec<Sorted>) {
        let mut committed = self.committed.write().unwrap_or_else(PoisonError::into_inner);
        for (store, sorted) in committed.stores.iter_mut().zip(rows) {
            let bytes = sorted.iter().map(|(key, row)| row_bytes(key.len(), row)).sum();
            *store = Rows { sorted, bytes };
        }
    }

    /// The rows of the wanted stores, and none of the others; with their point.
    pub(super) fn copy(&self, wanted: &[bool]) -> (Vec<Sorted>, CommitPoint) {
        let committed = self.read();
        let copy = |(store, wanted): (&Rows, &bool)| if *wanted { store.sorted.clone() } else { Sorted::new() };
        (committed.stores.iter().zip(wanted).map(copy).collect(), committed.point.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Committed> {
        self.committed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Rows ===

impl Rows {
    /// Sets a row; `None` deletes it.
    fn set(&mut self, key: Bytes, row: Option<Bytes>) {
        let key_bytes = key.len();
        let new = row.as_ref().map_or(0, |row| row_bytes(key_bytes, row));
        let before = match row {
            Some(row) => self.sorted.insert(key, row),
            None => self.sorted.remove(&key),
        };
        self.bytes += new;
        self.bytes -= before.map_or(0, |row| row_bytes(key_bytes, &row));
    }

    /// Removes all rows whose keys are smaller.
    fn remove_below(&mut self, key: &[u8]) {
        let kept = self.sorted.split_off(key);
        let removed = mem::replace(&mut self.sorted, kept);
        self.bytes -= removed.iter().map(|(key, row)| row_bytes(key.len(), row)).sum::<usize>();
    }
}

fn row_bytes(key_bytes: usize, row: &[u8]) -> usize {
    key_bytes + row.len() + ROW_BYTES
}

// === impl MemorySnapshot ===

impl MemorySnapshot<'_> {
    pub(super) fn point(&self) -> &CommitPoint {
        &self.0.point
    }

    pub(super) fn get<R>(&self, store: StoreId, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        f(self.0.stores[store.index()].sorted.get(key).map(|row| &**row))
    }

    /// Walks rows in order until `f` breaks or fails.
    pub(super) fn scan(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        mut f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut rows = self.0.stores[store.index()].sorted.range::<[u8], _>(range.bounds());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_while_they_are_there() {
        let (memory, store) = (Memory::new(2, CommitPoint::default()), StoreId::new(1));
        let apply = |writes| memory.apply(writes, &CommitPoint::default());
        let row =
            |key: &[u8], row: Option<&[u8]>| MemoryWrite::Row { store, key: key.into(), row: row.map(Bytes::from) };
        apply(vec![row(b"a", Some(&[1; 100])), row(b"b", Some(&[1; 50])), row(b"c", None)]);
        assert_eq!(memory.bytes(), 101 + 51 + 2 * ROW_BYTES);
        apply(vec![row(b"a", Some(&[2; 10]))]);
        assert_eq!(memory.bytes(), 11 + 51 + 2 * ROW_BYTES);
        apply(vec![MemoryWrite::RemoveBelow { store, key: (*b"b").into() }]);
        assert_eq!(memory.bytes(), 51 + ROW_BYTES);
        apply(vec![row(b"b", None), row(b"b", None)]);
        assert_eq!(memory.bytes(), 0);
    }
}
