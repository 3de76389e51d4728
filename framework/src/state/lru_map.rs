//! Bounded maps: when there is one entry too many, the one goes that was used least recently.
//!
//! ```text
//! key on disk        row
//! 0, turn            the key that had this turn last: the order of use (turns are 8 bytes)
//! 1, key             the value: as it is logged, under the key
//! 2, key             the key's last turn
//! 3                  the next turn (8 bytes), and how many entries there are (8 bytes)
//! ```
//! Reading moves an entry behind the others, and is not logged: after a restart the order is that of the changelog.

use std::ops::ControlFlow;

use super::{Direction, Row, StateError, StoreId, StoreKind, TaskStores};
use crate::log::Batch;

const BY_TURN: u8 = 0;
const VALUE: u8 = 1;
const TURN: u8 = 2;
const COUNTS_KEY: &[u8] = &[3];

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    next_turn: u64,
    entries: u64,
}

// === impl TaskStores ===

impl TaskStores {
    /// Reads an entry of a bounded map, which counts as a use of it.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn read_lru<R>(
        &mut self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<Row<'_>>) -> R,
    ) -> Result<R, StateError> {
        if let Some(turn) = self.lru_turn(store, key)? {
            let counts = self.lru_counts(store)?;
            self.write(store, &by_turn(turn), None, 0);
            self.take_turn(store, key, counts);
        }
        self.read(store, &prefixed(VALUE, key), f)
    }

    /// Sets an entry of a bounded map, which counts as a use of it; without a value it is removed. Whatever is too much for the map then
    /// is removed too, and logged so. `timestamp_ms` is that of the changelog records.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store is no bounded map.
    pub fn write_lru(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<(), StateError> {
        let StoreKind::LruMap(most) = self.specs()[store.index()].kind else {
            panic!("only bounded maps are written as such");
        };
        self.set_lru(store, key, value, timestamp_ms)?;
        while self.lru_entries(store)? > u64::from(most)
            && let Some(oldest) = self.least_recent(store)?
        {
            self.set_lru(store, &oldest, None, timestamp_ms)?;
        }
        Ok(())
    }

    /// How many entries a bounded map has.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn lru_entries(&mut self, store: StoreId) -> Result<u64, StateError> {
        Ok(self.lru_counts(store)?.entries)
    }

    /// Applies records of a bounded map's changelog. What was too much for the map is in the changelog: nothing is removed here.
    pub(super) fn restore_lru_map(&mut self, store: StoreId, records: &Batch) -> Result<(), StateError> {
        for record in records.iter() {
            if let Some(key) = record.key {
                self.set_lru(store, key, record.value, record.timestamp_ms)?;
            }
        }
        Ok(())
    }

    fn set_lru(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<(), StateError> {
        let mut counts = self.lru_counts(store)?;
        match self.lru_turn(store, key)? {
            Some(turn) => self.write(store, &by_turn(turn), None, 0),
            None if value.is_none() => return Ok(()),
            None => counts.entries += 1,
        }
        self.write(store, &prefixed(VALUE, key), value, timestamp_ms);
        if value.is_some() {
            self.take_turn(store, key, counts);
        } else {
            self.write(store, &prefixed(TURN, key), None, 0);
            self.set_lru_counts(store, Counts { entries: counts.entries.saturating_sub(1), ..counts });
        }
        Ok(())
    }

    /// Moves an entry behind all others.
    fn take_turn(&mut self, store: StoreId, key: &[u8], counts: Counts) {
        let turn = counts.next_turn;
        self.write(store, &by_turn(turn), Some(key), 0);
        self.write(store, &prefixed(TURN, key), Some(&turn.to_be_bytes()), 0);
        self.set_lru_counts(store, Counts { next_turn: turn + 1, ..counts });
    }

    fn least_recent(&mut self, store: StoreId) -> Result<Option<Vec<u8>>, StateError> {
        let mut first = None;
        let (from, to) = ([BY_TURN], [VALUE]);
        self.scan(store, &from[..]..&to[..], Direction::Forward, |_, row| {
            first = Some(row.value.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    fn lru_turn(&mut self, store: StoreId, key: &[u8]) -> Result<Option<u64>, StateError> {
        self.read(store, &prefixed(TURN, key), |row| {
            row.and_then(|row| Some(u64::from_be_bytes(*row.value.first_chunk()?)))
        })
    }

    fn lru_counts(&mut self, store: StoreId) -> Result<Counts, StateError> {
        let counts = self.read(store, COUNTS_KEY, |row| {
            let (next_turn, entries) = row?.value.split_first_chunk()?;
            let entries = u64::from_be_bytes(*entries.first_chunk()?);
            Some(Counts { next_turn: u64::from_be_bytes(*next_turn), entries })
        })?;
        Ok(counts.unwrap_or_default())
    }

    fn set_lru_counts(&mut self, store: StoreId, Counts { next_turn, entries }: Counts) {
        let row = [next_turn.to_be_bytes(), entries.to_be_bytes()].concat();
        self.write(store, COUNTS_KEY, Some(&row), 0);
    }
}

/// The key of a row as it is logged; `None` when it is not.
pub(super) fn logged(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[VALUE])
}

fn by_turn(turn: u64) -> Vec<u8> {
    prefixed(BY_TURN, &turn.to_be_bytes())
}

fn prefixed(prefix: u8, key: &[u8]) -> Vec<u8> {
    [&[prefix], key].concat()
}
