//! The updates of versioned stores that the changelogs are to have.

use std::ops::Range;

use crate::{
    log::Headers,
    state::{Dirty, StoreId},
};

/// Updates in their order. Unlike rows, none takes the place of another: each may have made a version.
#[derive(Debug, Default)]
pub(in crate::state) struct Journal {
    writes: Vec<Write>,
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Write {
    store: StoreId,
    key: Range<usize>,
    value: Option<Range<usize>>,
    timestamp_ms: i64,
}

// === impl Journal ===

impl Journal {
    pub(in crate::state) fn add(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        let key = self.keep(key);
        let value = value.map(|value| self.keep(value));
        self.writes.push(Write { store, key, value, timestamp_ms });
    }

    /// The updates as the changelogs have them.
    pub(in crate::state) fn writes(&self) -> impl Iterator<Item = Dirty<'_>> {
        self.writes.iter().map(|write| Dirty {
            store: write.store,
            key: &self.bytes[write.key.clone()],
            value: write.value.clone().map(|value| &self.bytes[value]),
            timestamp_ms: write.timestamp_ms,
            headers: Headers::none(),
        })
    }

    /// Memory in use, in bytes.
    pub(in crate::state) fn bytes(&self) -> usize {
        self.bytes.len() + self.writes.len() * size_of::<Write>()
    }

    /// Memory that it holds, updates or not, in bytes.
    pub(in crate::state) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.writes.capacity() * size_of::<Write>()
    }

    pub(in crate::state) fn clear(&mut self) {
        self.writes.clear();
        self.bytes.clear();
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}
