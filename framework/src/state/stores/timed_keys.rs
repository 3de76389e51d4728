//! Rows of windows and sessions of a range of keys.

use std::ops::{Bound, ControlFlow, RangeBounds, RangeInclusive};

use super::TaskStores;
use crate::state::{
    Direction, Row, StateError, StoreId,
    range::KeyRange,
    timed::{Layout, TimedKey},
};

// === impl TaskStores ===

impl TaskStores {
    /// Walks the rows of a range of keys whose times lie in a range, until `f` breaks: bucket by bucket, by the bytes of key and time
    /// within one; or the reverse of that.
    ///
    /// # Errors
    /// As [`TaskStores::read`].
    ///
    /// # Panics
    /// When the store's rows do not belong to a time.
    pub fn scan_keys_and_times(
        &mut self,
        store: StoreId,
        keys: (Bound<&[u8]>, Bound<&[u8]>),
        times: RangeInclusive<i64>,
        direction: Direction,
        mut f: impl FnMut(TimedKey<'_>, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let Some(visible) = self.visible(store, times) else { return Ok(()) };
        if KeyRange::new(&keys).is_none() {
            return Ok(());
        }
        let mut bounds = std::mem::take(&mut self.keys);
        let mut result = Ok(());
        for bucket in visible.buckets(direction) {
            Layout::put_bounds_of_keys(&mut bounds, bucket, keys, visible.to);
            let Some(range) = KeyRange::new(&(bounds.0.as_slice()..bounds.1.as_slice())) else { continue };
            let scanned = self.scan_range(store, &range, direction, &mut |stored, row| match visible.key(stored) {
                Some(found) if RangeBounds::<[u8]>::contains(&keys, found.key) => f(found, row),
                // Keys and times are one text of bytes: others lie in between.
                _ => ControlFlow::Continue(()),
            });
            match scanned {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.keys = bounds;
        result
    }
}
