//! Removing rows that are too old.
//!
//! They lie in a range of keys, so one range deletion hides them, atomically with the commit that made them too old, and
//! flushes and compactions leave them out. Files that hold nothing else are deleted at once, without being read.

use super::{OFFSETS_FAMILY, Rocks, RocksWriter};
use crate::state::{StateError, StoreId, timed::NO_STREAM_TIME};

/// Where the stream time of a family is, in the family of offsets.
fn stream_time_key(family: &str) -> Vec<u8> {
    ["stream-time:", family].concat().into_bytes()
}

// === impl Rocks ===

impl Rocks {
    /// The stream time of a store as it was committed, in ms.
    pub(in crate::state) fn stream_time(&self, store: StoreId) -> Result<i64, StateError> {
        let Some(family) = &self.families[store.index()] else { return Ok(NO_STREAM_TIME) };
        let key = stream_time_key(family);
        let stored = self.db.get_pinned_cf_opt(self.opened_family(OFFSETS_FAMILY), key, &self.read_options);
        let Some(bytes) = stored.map_err(self.failed("read a stream time"))? else { return Ok(NO_STREAM_TIME) };
        let bytes = bytes.as_ref().try_into().map_err(|_| StateError::Format {
            owner: self.owner,
            what: format!("the stream time of `{family}`"),
            reason: format!("it has {} bytes, not 8", bytes.len()),
        })?;
        Ok(i64::from_be_bytes(bytes))
    }

    /// Deletes the files of a store that hold only keys below this one, which are deleted already.
    ///
    /// A crash may bring back an earlier commit, for which they were not too old. They are not missed: what the changelog has
    /// since then moves the stream time on again before anything is processed.
    pub(in crate::state) fn drop_files_below(&self, store: StoreId, key: &[u8]) -> Result<(), StateError> {
        self.db.delete_file_in_range_cf(self.family(store), &[][..], key).map_err(self.failed("delete files"))
    }
}

// === impl RocksWriter ===

impl RocksWriter<'_> {
    /// Sets the stream time of a store, and removes all rows below a key.
    pub(in crate::state) fn advance(&mut self, store: StoreId, stream_time_ms: i64, keep_from: Option<&[u8; 8]>) {
        let Some((family, name)) = self.families[store.index()].zip(self.rocks.families[store.index()].as_ref()) else {
            return;
        };
        let offsets = self.rocks.opened_family(OFFSETS_FAMILY);
        self.rows.0.put_cf(offsets, stream_time_key(name), stream_time_ms.to_be_bytes());
        if let Some(key) = keep_from {
            self.rows.0.delete_range_cf(family, &[][..], &key[..]);
        }
    }
}
