//! The rows a task has at hand: what it wrote and has not committed, and committed rows it read or wrote lately.
//!
//! Each row is the newest one of its key, found by hash: the cost of an update does not grow with the overlay. Uncommitted rows
//! stay until they are committed; the others are given up when the memory is needed, those first that were not asked for.

mod rows;
mod slab;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use self::{
    rows::{Hashed, InOrder, Rows},
    slab::Slab,
};
use super::{
    Row, StoreId,
    range::{Direction, KeyRange},
    timed::Layout,
};

/// The rows at hand of all stores of a task.
#[derive(Debug)]
pub(super) struct Overlay {
    stores: Box<[Rows]>,
    /// The rows of all stores.
    slab: Slab,
    hasher: RandomState,
    clock: Intervals,
    /// Bytes that uncommitted rows have taken since the last freeze, and between it and the one before.
    live_bytes: usize,
    frozen_bytes: usize,
}

/// Commit intervals, numbered from 1 on.
#[derive(Debug, Clone, Copy)]
struct Intervals {
    /// The one that writes belong to.
    live: u64,
    /// The last one that is committed.
    committed: u64,
}

/// A row at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    value: Option<&'a [u8]>,
    timestamp_ms: i64,
}

// === impl Overlay ===

impl Overlay {
    /// An empty overlay over these stores.
    pub(super) fn new(stores: impl IntoIterator<Item = Option<Layout>>) -> Self {
        Self {
            stores: stores.into_iter().map(Rows::new).collect(),
            slab: Slab::default(),
            hasher: RandomState::default(),
            clock: Intervals { live: 1, committed: 0 },
            live_bytes: 0,
            frozen_bytes: 0,
        }
    }

    /// Memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + self.stores.iter().map(Rows::bytes).sum::<usize>()
    }

    /// Memory of rows that are not committed, in bytes.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.live_bytes + self.frozen_bytes
    }

    /// Whether an interval waits for its commit.
    pub(super) fn is_frozen(&self) -> bool {
        self.clock.committed + 1 < self.clock.live
    }

    /// The newest row of a key, if it is at hand.
    pub(super) fn get(&mut self, store: StoreId, key: &[u8]) -> Option<Entry<'_>> {
        let key = self.hashed(key);
        self.stores[store.index()].get(&mut self.slab, key)
    }

    /// Says that the backend has no row of this time or later, or that it is at hand.
    pub(super) fn has_all_since(&mut self, store: StoreId, time: i64) {
        self.stores[store.index()].has_all_since(time);
    }

    /// Whether every row of this time is at hand: a key that is not has no row.
    pub(super) fn has_all_of(&self, store: StoreId, time: i64) -> bool {
        self.stores[store.index()].has_all_of(time)
    }

    fn hashed<'k>(&self, key: &'k [u8]) -> Hashed<'k> {
        Hashed { hash: self.hasher.hash_one(key), key }
    }

    /// Sets the row of a key; without a value it is deleted.
    pub(super) fn write(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        let hashed = self.hashed(key);
        let hasher = |key: &[u8]| self.hasher.hash_one(key);
        let rows = &mut self.stores[store.index()];
        self.live_bytes += rows.write(&mut self.slab, hashed, Entry { value, timestamp_ms }, self.clock, &hasher);
    }

    /// Keeps a committed row that was read, if there is room for it.
    pub(super) fn keep(&mut self, store: StoreId, key: &[u8], row: Row<'_>, limit_bytes: usize) {
        let hashed = self.hashed(key);
        let hasher = |key: &[u8]| self.hasher.hash_one(key);
        let entry = Entry { value: Some(row.value), timestamp_ms: row.timestamp_ms };
        let others = self.bytes() - self.slab.bytes() - self.stores[store.index()].bytes();
        let rows = &mut self.stores[store.index()];
        rows.keep(&mut self.slab, hashed, entry, self.clock, (others, limit_bytes), &hasher);
    }

    /// Adds a committed row that is not at hand, if there is room for it without giving up another; gives whether there was.
    pub(super) fn add(&mut self, store: StoreId, key: &[u8], row: Row<'_>, limit_bytes: usize) -> bool {
        let hashed = self.hashed(key);
        let hasher = |key: &[u8]| self.hasher.hash_one(key);
        let entry = Entry { value: Some(row.value), timestamp_ms: row.timestamp_ms };
        let in_use = self.bytes();
        let rows = &mut self.stores[store.index()];
        let has_room = in_use + rows.needed(key, entry) <= limit_bytes;
        if has_room {
            rows.add(&mut self.slab, hashed, entry, &hasher);
        }
        has_room
    }

    /// Forgets a row that is committed: its backend's becomes another one.
    pub(super) fn forget_committed(&mut self, store: StoreId, key: &[u8]) {
        let rows = &mut self.stores[store.index()];
        if !rows.is_empty() {
            let hash = self.hasher.hash_one(key);
            rows.forget(&mut self.slab, Hashed { hash, key }, self.clock);
        }
    }

    /// Forgets the committed rows whose keys are smaller: their backend has removed them.
    pub(super) fn forget_below(&mut self, store: StoreId, key: &[u8]) {
        self.stores[store.index()].forget_below(&mut self.slab, key, self.clock);
    }

    /// Ends the interval: later writes belong to the next. Hands out the writes of this one, by store and in the order of keys.
    ///
    /// # Panics
    /// When the interval before waits for its commit still.
    pub(super) fn freeze<E>(
        &mut self,
        mut each: impl FnMut(StoreId, &[u8], Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(!self.is_frozen(), "at most one commit is in flight");
        self.clock.live += 1;
        self.frozen_bytes = std::mem::take(&mut self.live_bytes);
        let mut stores = self.stores.iter_mut().enumerate();
        let slab = &self.slab;
        stores.try_for_each(|(store, rows)| rows.freeze(slab, |key, entry| each(StoreId::new(store), key, entry)))
    }

    /// The frozen interval is committed: its rows may be given up from now on.
    pub(super) fn committed(&mut self, limit_bytes: usize) {
        self.clock.committed = self.clock.live - 1;
        self.frozen_bytes = 0;
        let mut others = self.bytes() - self.slab.bytes();
        let hasher = |key: &[u8]| self.hasher.hash_one(key);
        for rows in &mut self.stores {
            others -= rows.bytes();
            rows.committed(&self.slab, self.clock);
            rows.shrink(&mut self.slab, self.clock, (others, limit_bytes), &hasher);
            others += rows.bytes();
        }
        if self.slab.is_scattered() {
            let scattered = std::mem::take(&mut self.slab);
            let stores = self.stores.iter_mut();
            stores.for_each(|rows| rows.move_to(&scattered, &mut self.slab, self.clock));
        }
    }

    /// Forgets what is not committed.
    pub(super) fn discard(&mut self) {
        let (slab, clock) = (&mut self.slab, self.clock);
        self.stores.iter_mut().for_each(|rows| rows.discard(slab, clock));
        self.clock.committed = self.clock.live;
        self.clock.live += 1;
        (self.live_bytes, self.frozen_bytes) = (0, 0);
    }

    /// Whether a scan of rows of this time and later needs no others than the uncommitted ones.
    pub(super) fn scans_all_of(&self, store: StoreId, time: i64) -> bool {
        self.stores[store.index()].scans_all_of(time)
    }

    /// The uncommitted rows of a range, in order, and maybe some of the committed ones.
    pub(super) fn uncommitted<'a>(
        &'a mut self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
    ) -> InOrder<'a> {
        self.stores[store.index()].uncommitted(&self.slab, range, direction, self.clock)
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    /// The row; `None` when the key was deleted.
    pub(super) fn row(self) -> Option<Row<'a>> {
        self.value.map(|value| Row { value, timestamp_ms: self.timestamp_ms })
    }

    /// The value; `None` when the key was deleted.
    pub(super) fn value(self) -> Option<&'a [u8]> {
        self.value
    }

    /// The timestamp of the write, also of a deletion.
    pub(super) fn timestamp_ms(self) -> i64 {
        self.timestamp_ms
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const STORE: StoreId = StoreId::new(0);

    fn commit(overlay: &mut Overlay, limit_bytes: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let each = |_, key: &[u8], _: Entry<'_>| {
            keys.push(key.to_vec());
            Ok::<_, Infallible>(())
        };
        let Ok(()) = overlay.freeze(each);
        overlay.committed(limit_bytes);
        keys
    }

    #[test]
    fn committed_rows_give_way_and_uncommitted_ones_do_not() {
        let mut overlay = Overlay::new([None]);
        let key = |n: u32| n.to_be_bytes();
        (0..1000).for_each(|n| overlay.write(STORE, &key(n), Some(b"value"), 1));
        let bytes = overlay.bytes();
        assert!(overlay.uncommitted_bytes() > 0);
        overlay.keep(STORE, b"other", Row { value: b"read", timestamp_ms: 1 }, bytes / 2);
        assert!(overlay.get(STORE, b"other").is_none(), "there is no room for it");
        assert!((0..1000).all(|n| overlay.get(STORE, &key(n)).is_some()));

        assert_eq!(commit(&mut overlay, bytes / 2).len(), 1000);
        assert!(overlay.bytes() <= bytes / 2, "{} of {bytes}", overlay.bytes());
        assert_eq!(overlay.uncommitted_bytes(), 0);
        let left: Vec<_> = (0..1000).filter(|n| overlay.get(STORE, &key(*n)).is_some()).collect();
        assert!((100..900).contains(&left.len()), "{}", left.len());
    }

    #[test]
    fn what_is_asked_for_stays_longest() {
        let mut overlay = Overlay::new([None]);
        (0..100_u32).for_each(|n| overlay.write(STORE, &n.to_be_bytes(), Some(b"value"), 1));
        let limit = overlay.bytes();
        commit(&mut overlay, limit);
        for n in 100..1000_u32 {
            assert!(overlay.get(STORE, &7_u32.to_be_bytes()).is_some(), "given up at {n}");
            overlay.keep(STORE, &n.to_be_bytes(), Row { value: b"value", timestamp_ms: 1 }, limit);
            // The table may have to double before rows give way to it.
            assert!(overlay.bytes() <= limit + limit / 4);
        }
    }

    #[test]
    fn a_write_in_flight_is_handed_out_once_and_the_later_one_with_the_next_interval() {
        let mut overlay = Overlay::new([None]);
        overlay.write(STORE, b"b", Some(b"1"), 1);
        overlay.write(STORE, b"a", Some(b"1"), 1);
        overlay.write(STORE, b"b", None, 2);
        let mut keys = Vec::new();
        let each = |_, key: &[u8], entry: Entry<'_>| {
            keys.push((key.to_vec(), entry.value().is_some()));
            Ok::<_, Infallible>(())
        };
        let Ok(()) = overlay.freeze(each);
        assert_eq!(keys, [(b"a".to_vec(), true), (b"b".to_vec(), false)]);
        overlay.write(STORE, b"a", Some(b"2"), 3);
        overlay.committed(usize::MAX);
        assert!(overlay.uncommitted_bytes() > 0);
        assert_eq!(commit(&mut overlay, usize::MAX), [b"a"]);
    }

    #[test]
    fn an_overwrite_of_the_same_size_takes_no_more_memory() {
        let mut overlay = Overlay::new([None]);
        overlay.write(STORE, b"key", Some(b"a value"), 1);
        let bytes = overlay.bytes();
        for value in [Some(&b"b value"[..]), Some(b"c"), None, Some(b"d value")] {
            overlay.write(STORE, b"key", value, 2);
            assert!(overlay.bytes() <= bytes);
            assert_eq!(overlay.get(STORE, b"key").and_then(Entry::value), value);
        }
        assert_eq!(overlay.bytes(), bytes);
    }

    #[test]
    fn rows_that_are_laid_together_anew_are_the_same() {
        let mut overlay = Overlay::new([None, None]);
        let (other, key) = (StoreId::new(1), |n: u32| n.to_be_bytes());
        (0..2000).for_each(|n| overlay.write(STORE, &key(n), Some(&[7; 500]), 1));
        assert_eq!(overlay.uncommitted(STORE, &KeyRange::new(&(..)).expect("all"), Direction::Forward).count(), 2000);
        commit(&mut overlay, usize::MAX);
        (0..50).for_each(|n| overlay.write(other, &key(n), Some(b"small"), 2));
        (0..50).for_each(|n| overlay.write(STORE, &key(n), Some(b"small"), 3));
        let Ok(()) = overlay.freeze(|_, _, _| Ok::<_, Infallible>(()));
        (10..20).for_each(|n| overlay.write(STORE, &key(n), Some(b"smaller"), 4));
        let chunks = overlay.slab.chunk_bytes();
        overlay.committed(60_000);
        assert!(overlay.slab.chunk_bytes() < chunks / 4, "{} of {chunks}", overlay.slab.chunk_bytes());

        let range = KeyRange::new(&(..)).expect("all");
        let uncommitted: Vec<_> =
            overlay.uncommitted(STORE, &range, Direction::Forward).map(|(key, _)| key.to_vec()).collect();
        assert_eq!(uncommitted, (10..20).map(|n| key(n).to_vec()).collect::<Vec<_>>());
        (15..25).for_each(|n| overlay.write(STORE, &key(n), Some(b"last"), 5));
        assert_eq!(commit(&mut overlay, 60_000), (10..25).map(|n| key(n).to_vec()).collect::<Vec<_>>());
        let value = |n| overlay.get(STORE, &key(n)).and_then(Entry::value).map(<[u8]>::to_vec);
        let values: Vec<_> = [12, 17, 24].into_iter().map(value).collect();
        assert_eq!(values, [&b"smaller"[..], b"last", b"last"].map(|value| Some(value.to_vec())));
    }
}
