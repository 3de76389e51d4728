//! Uncommitted writes: the latest value per key, in key order.

use std::{collections::BTreeMap, iter::Peekable};

use super::{
    Row, StoreId,
    range::{Direction, KeyRange},
};

/// What an entry costs beside the bytes of key and value: its part of a tree node and two allocations.
const ENTRY_BYTES: usize = size_of::<Key>() + size_of::<Entry>() + 2 * size_of::<[usize; 2]>();

type Key = Box<[u8]>;

/// The uncommitted writes of all stores of a task.
#[derive(Debug)]
pub(super) struct Overlay {
    stores: Box<[BTreeMap<Key, Entry>]>,
    bytes: usize,
}

/// The last write of a key. The buffer of an overwritten or deleted value is used again.
#[derive(Debug)]
pub(super) struct Entry {
    value: Vec<u8>,
    deleted: bool,
    timestamp_ms: i64,
}

// === impl Overlay ===

impl Overlay {
    /// An empty overlay over `stores` stores.
    pub(super) fn new(stores: usize) -> Self {
        Self { stores: (0..stores).map(|_| BTreeMap::new()).collect(), bytes: 0 }
    }

    /// Memory in use, in bytes: keys, values with their spare capacity, and the tree.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stores.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn clear(&mut self) {
        self.stores.iter_mut().for_each(BTreeMap::clear);
        self.bytes = 0;
    }

    /// Sets the value of a key; `None` deletes it.
    pub(super) fn write(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        let rows = &mut self.stores[store.index()];
        if let Some(entry) = rows.get_mut(key) {
            let before = entry.value.capacity();
            entry.set(value, timestamp_ms);
            self.bytes = self.bytes - before + entry.value.capacity();
        } else {
            let entry = Entry { value: value.unwrap_or_default().to_vec(), deleted: value.is_none(), timestamp_ms };
            self.bytes += ENTRY_BYTES + key.len() + entry.value.capacity();
            rows.insert(key.into(), entry);
        }
    }

    /// The last write of a key, if there is one.
    pub(super) fn get(&self, store: StoreId, key: &[u8]) -> Option<&Entry> {
        self.stores[store.index()].get(key)
    }

    /// All writes, by store and key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StoreId, &[u8], &Entry)> {
        self.stores
            .iter()
            .enumerate()
            .flat_map(|(store, rows)| rows.iter().map(move |(key, entry)| (StoreId::new(store), &**key, entry)))
    }

    /// The writes of one store in a range, in order.
    fn range<'a>(
        &'a self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = (&'a [u8], &'a Entry)> + 'a> {
        let rows = self.stores[store.index()].range::<[u8], _>(range.bounds()).map(|(key, entry)| (&**key, entry));
        match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.rev()),
        }
    }
}

/// The writes of `live` over those of `frozen` in a range: per key the later one, in order.
pub(super) fn merged<'a>(
    live: &'a Overlay,
    frozen: &'a Overlay,
    store: StoreId,
    range: &KeyRange<'_>,
    direction: Direction,
) -> Peekable<impl Iterator<Item = (&'a [u8], &'a Entry)> + 'a> {
    let mut live = live.range(store, range, direction).peekable();
    let mut frozen = frozen.range(store, range, direction).peekable();
    std::iter::from_fn(move || match (live.peek(), frozen.peek()) {
        (Some((live_key, _)), Some((frozen_key, _))) => match direction.cmp(live_key, frozen_key) {
            std::cmp::Ordering::Less => live.next(),
            std::cmp::Ordering::Equal => {
                frozen.next();
                live.next()
            }
            std::cmp::Ordering::Greater => frozen.next(),
        },
        (Some(_), None) => live.next(),
        (None, _) => frozen.next(),
    })
    .peekable()
}

// === impl Entry ===

impl Entry {
    /// The row; `None` when the key was deleted.
    pub(super) fn row(&self) -> Option<Row<'_>> {
        self.value().map(|value| Row { value, timestamp_ms: self.timestamp_ms })
    }

    /// The value; `None` when the key was deleted.
    pub(super) fn value(&self) -> Option<&[u8]> {
        (!self.deleted).then_some(&*self.value)
    }

    /// The timestamp of the write, also of a deletion.
    pub(super) fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    fn set(&mut self, value: Option<&[u8]>, timestamp_ms: i64) {
        self.value.clear();
        self.value.extend_from_slice(value.unwrap_or_default());
        self.deleted = value.is_none();
        self.timestamp_ms = timestamp_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId::new(0);

    #[test]
    fn an_overwrite_that_fits_allocates_nothing() {
        let mut overlay = Overlay::new(1);
        overlay.write(STORE, b"key", Some(b"a long value"), 1);
        let buffer = |overlay: &Overlay| overlay.get(STORE, b"key").map(|entry| entry.value.as_ptr());
        let (before, bytes) = (buffer(&overlay), overlay.bytes());
        for value in [Some(&b"short"[..]), None, Some(b"as long as 1")] {
            overlay.write(STORE, b"key", value, 2);
            assert_eq!((buffer(&overlay), overlay.bytes()), (before, bytes));
            assert_eq!(overlay.get(STORE, b"key").and_then(Entry::value), value);
        }
    }

    #[test]
    fn bytes_are_those_of_keys_and_buffers() {
        let mut overlay = Overlay::new(1);
        for (len, key) in (0..100).zip([&b"a"[..], b"bb", b"ccc"].into_iter().cycle()) {
            overlay.write(STORE, key, Some(&vec![0; len * 7 % 50]), 1);
            let counted: usize =
                overlay.iter().map(|(_, key, entry)| ENTRY_BYTES + key.len() + entry.value.capacity()).sum();
            assert_eq!(overlay.bytes(), counted);
        }
        overlay.clear();
        assert_eq!((overlay.bytes(), overlay.is_empty()), (0, true));
    }
}
