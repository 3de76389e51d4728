//! Removing rows that are too old.
//!
//! They lie in a range of keys, so one range deletion hides them, atomically with the commit that made them too old, and
//! flushes and compactions leave them out. Files that hold nothing else are deleted at once, without being read, once they were merged:
//! those that were only flushed go with the next merge, which is in the background. So many of them there may be as RocksDB lets pile up
//! before writes wait.

use super::{OFFSETS_FAMILY, Rocks, RocksWriter};
use crate::state::{StateError, StoreId, timed::Progress};

/// Where the stream time of a family is, in the family of offsets.
fn stream_time_key(family: &str) -> Vec<u8> {
    ["stream-time:", family].concat().into_bytes()
}

/// Where the number of its last row is, when rows are numbered.
fn sequence_key(family: &str) -> Vec<u8> {
    ["sequence:", family].concat().into_bytes()
}

// === impl Rocks ===

impl Rocks {
    /// How far a store had come when it was committed.
    pub(in crate::state) fn progress(&self, store: StoreId) -> Result<Progress, StateError> {
        let Some(family) = &self.families[store.index()] else { return Ok(Progress::NONE) };
        let stream_time_ms = self.number(family, &stream_time_key(family), i64::from_be_bytes)?;
        let sequence = self.number(family, &sequence_key(family), u32::from_be_bytes)?;
        Ok(Progress {
            stream_time_ms: stream_time_ms.unwrap_or(Progress::NONE.stream_time_ms),
            sequence: sequence.unwrap_or(Progress::NONE.sequence),
        })
    }

    fn number<const BYTES: usize, N>(
        &self,
        family: &str,
        key: &[u8],
        read: impl FnOnce([u8; BYTES]) -> N,
    ) -> Result<Option<N>, StateError> {
        let stored = self.db.get_pinned_cf_opt(self.opened_family(OFFSETS_FAMILY), key, &self.read_options);
        let Some(bytes) = stored.map_err(self.failed("read a stream time"))? else { return Ok(None) };
        let bytes = bytes.as_ref().try_into().map_err(|_| StateError::Format {
            owner: self.owner,
            what: format!("the stream time or sequence of `{family}`"),
            reason: format!("it has {} bytes, not {BYTES}", bytes.len()),
        })?;
        Ok(Some(read(bytes)))
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
    /// Sets how far a store has come, and removes all rows below a key.
    pub(in crate::state) fn advance(&mut self, store: StoreId, to: Progress, keep_from: Option<&[u8; 8]>) {
        let Some((family, name)) = self.families[store.index()].zip(self.rocks.families[store.index()].as_ref()) else {
            return;
        };
        let offsets = self.rocks.opened_family(OFFSETS_FAMILY);
        self.rows.0.put_cf(offsets, stream_time_key(name), to.stream_time_ms.to_be_bytes());
        if to.sequence != Progress::NONE.sequence {
            self.rows.0.put_cf(offsets, sequence_key(name), to.sequence.to_be_bytes());
        }
        if let Some(key) = keep_from {
            self.rows.0.delete_range_cf(family, &[][..], &key[..]);
        }
    }
}
