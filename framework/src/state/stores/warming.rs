//! Bringing committed rows to hand before they are asked for.

use std::ops::{Bound, ControlFlow};

use super::{RowReader, TaskStores};
use crate::state::{StateError, StoreId, range::KeyRange};

/// How far the rows on disk have been brought to hand since the stores were opened.
#[derive(Debug, Default)]
pub(super) struct Warming {
    /// The store that is at work; behind the last when all are done.
    store: usize,
    /// The last key of it that was read.
    after: Option<Vec<u8>>,
}

/// Of the rows' share of memory, what is filled like this: the rest is for rows that are written meanwhile.
const EIGHTHS: usize = 7;

// === impl TaskStores ===

impl TaskStores {
    /// Reads up to so many committed rows in their order and keeps them at hand: that costs a fraction of looking each of them up on
    /// disk when its first record comes. Stores that do not fit the memory for rows are left alone. Gives whether more are left to
    /// be read.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    pub fn warm_up(&mut self, rows: usize) -> Result<bool, StateError> {
        let mut left = rows;
        while left > 0 && self.warming.store < self.specs.len() {
            let store = StoreId::new(self.warming.store);
            let limit = self.memory.rows_share() / 8 * EIGHTHS;
            let is_done = match &self.warming.after {
                None if self.backend.bytes_on_disk(store)? > limit.saturating_sub(self.overlay.bytes()) => true,
                _ => self.bring_to_hand(store, limit, &mut left)?,
            };
            if is_done {
                self.warming = Warming { store: self.warming.store + 1, after: None };
            }
        }
        Ok(self.warming.store < self.specs.len())
    }

    /// Goes on with one store; gives whether it is done with it.
    fn bring_to_hand(&mut self, store: StoreId, limit: usize, left: &mut usize) -> Result<bool, StateError> {
        let after = self.warming.after.take();
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some(range) = KeyRange::new(&(start, Bound::Unbounded)) else { return Ok(true) };
        let Self { owner, specs, overlay, backend, warming, .. } = self;
        let reader = RowReader::new(*owner, specs, store);
        let mut is_done = true;
        backend.scan_once(store, &range, |key, bytes| {
            if overlay.get(store, key).is_none() && !overlay.add(store, key, reader.read(bytes)?, limit) {
                return Ok(ControlFlow::Break(()));
            }
            *left -= 1;
            if *left > 0 {
                return Ok(ControlFlow::Continue(()));
            }
            warming.after = Some(key.to_vec());
            is_done = false;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_done)
    }
}
