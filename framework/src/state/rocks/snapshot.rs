//! Several reads of one commit.

use std::{fmt, ops::ControlFlow};

use rocksdb::{ReadOptions, Snapshot};

use super::Rocks;
use crate::state::{
    CommitPoint, StateError, StoreId,
    range::{Direction, KeyRange},
};

/// The rows of one commit.
pub(in crate::state) struct RocksSnapshot<'a> {
    rocks: &'a Rocks,
    snapshot: Snapshot<'a>,
}

// === impl RocksSnapshot ===

impl<'a> RocksSnapshot<'a> {
    pub(super) fn new(rocks: &'a Rocks, snapshot: Snapshot<'a>) -> Self {
        Self { rocks, snapshot }
    }

    pub(in crate::state) fn get<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StateError> {
        let row = self.rocks.db.get_pinned_cf_opt(self.rocks.family(store), key, &self.options());
        Ok(f(row.map_err(self.rocks.failed("read"))?.as_deref()))
    }

    /// Walks rows in order until `f` breaks or fails.
    pub(in crate::state) fn scan(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        self.rocks.scan_with(self.options(), store, range, direction, f)
    }

    pub(in crate::state) fn point(&self) -> Result<CommitPoint, StateError> {
        Ok(self.rocks.to_point(&mut self.rocks.stored_offsets(&self.options())?))
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl fmt::Debug for RocksSnapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksSnapshot").field(self.rocks).finish()
    }
}
