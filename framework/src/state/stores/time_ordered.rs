//! Time-ordered buffers: records that wait, any number of each key.

use std::ops::ControlFlow;

use super::TaskStores;
use crate::{
    log::Batch,
    state::{
        Direction, StateError, StoreId,
        time_ordered::{self, SEEN_KEY, Seen},
    },
};

type KeyAndValue = (Vec<u8>, Vec<u8>);

// === impl TaskStores ===

impl TaskStores {
    /// The latest time of any record that was put into a buffer, in ms; -1 before the first.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn buffer_time_ms(&mut self, store: StoreId) -> Result<i64, StateError> {
        Ok(self.seen(store)?.time_ms)
    }

    /// Puts a record into a buffer, to wait by `time_ms`, which is not negative; behind those of its key that wait by the same time.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn add_in_order(&mut self, store: StoreId, time_ms: i64, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let seen = self.seen(store)?.and(time_ms);
        let mut stored = std::mem::take(&mut self.keys.0);
        time_ordered::put_key(&mut stored, time_ms, key, seen.number);
        self.write(store, &stored, Some(value), time_ms);
        self.keys.0 = stored;
        self.write(store, SEEN_KEY, Some(&seen.bytes()), time_ms);
        Ok(())
    }

    /// Takes the first records out of a buffer, at most `limit` of them, that wait by `from_ms` to `to_ms` (both included): in the order
    /// of time, the bytes of their keys, and their coming. Gives their keys and values.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn take_in_order(
        &mut self,
        store: StoreId,
        from_ms: i64,
        to_ms: i64,
        limit: usize,
    ) -> Result<Vec<KeyAndValue>, StateError> {
        let mut taken = Vec::new();
        if to_ms < 0 || limit == 0 {
            return Ok(taken);
        }
        let (mut first, mut behind) = (Vec::new(), Vec::new());
        time_ordered::put_time(&mut first, from_ms.max(0));
        time_ordered::put_time(&mut behind, to_ms.saturating_add(1));
        // An empty range has no rows.
        self.scan(store, &first[..]..&behind[..], Direction::Forward, |stored, row| {
            taken.push((stored.to_vec(), row.value.to_vec()));
            if taken.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for (stored, _) in &mut taken {
            self.write(store, stored, None, to_ms);
            let key = time_ordered::parts(stored).map(|(_, key, _)| key.to_vec());
            *stored = key.unwrap_or_default();
        }
        Ok(taken)
    }

    /// Applies records of a buffer's changelog as writes of this task's, which are committed with `next_offset`.
    pub(super) fn restore_time_ordered(&mut self, store: StoreId, records: &Batch) -> Result<(), StateError> {
        let mut seen = self.seen(store)?;
        for record in records.iter() {
            let Some((key, (time_ms, _, number))) = record.key.and_then(|key| Some((key, time_ordered::parts(key)?)))
            else {
                continue;
            };
            seen = Seen { number: seen.number.max(number), time_ms: seen.time_ms.max(time_ms) };
            self.write(store, key, record.value, record.timestamp_ms);
        }
        self.write(store, SEEN_KEY, Some(&seen.bytes()), 0);
        Ok(())
    }

    fn seen(&mut self, store: StoreId) -> Result<Seen, StateError> {
        let seen = self.read(store, SEEN_KEY, |row| row.and_then(|row| Seen::read(row.value)))?;
        Ok(seen.unwrap_or(Seen::NONE))
    }
}
