//! Rows that become a table at once, past the write buffers.
//!
//! The table is written beside the database and then becomes part of it, by a link. Newer tables hide older ones, as RocksDB gives each a
//! number in the order of writes; write buffers that hold any of its keys are flushed before.

use std::{fs, io, path::PathBuf};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{Rocks, options};
use crate::state::{StateError, StoreId, dir::io_error, run::Run};

/// The table that is being written. There is one at most: databases are written by one thread.
const FILE: &str = "restored.sst";

// === impl Rocks ===

impl Rocks {
    /// Makes a table of rows, which is no part of a store yet. There must be no unfinished one.
    pub(in crate::state) fn write_table(&self, run: &Run) -> Result<(), StateError> {
        let options = options::table_of_run(&self.budget);
        let mut table = SstFileWriter::create(&options);
        let written = table.open(self.unfinished_table()).and_then(|()| {
            run.each_sorted(|key, row| match row {
                Some(row) => table.put(key, row),
                None => table.delete(key),
            })?;
            table.finish()
        });
        drop(table);
        self.or_remove_table("write", written)
    }

    /// Makes the table that was written last part of a store. It is on disk then, and stays there whatever crashes.
    pub(in crate::state) fn add_table(&self, store: StoreId) -> Result<(), StateError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let paths = vec![self.unfinished_table()];
        self.or_remove_table("add", self.db.ingest_external_file_cf_opts(self.family(store), &options, paths))
    }

    /// Removes the table that something could not be done with, and says so.
    fn or_remove_table(&self, what: &'static str, done: Result<(), rocksdb::Error>) -> Result<(), StateError> {
        let Err(error) = done else { return Ok(()) };
        if let Err(error) = self.remove_unfinished_table() {
            tracing::warn!(owner = %self.owner, %error, "what is left of a table takes space until the state is opened again");
        }
        Err(StateError::TableFile {
            owner: self.owner,
            path: self.unfinished_table(),
            what,
            reason: error.into_string(),
        })
    }

    /// Removes a table that was not finished. It must not be written over: after a crash it may be a part of the database already, under another
    /// name.
    pub(in crate::state) fn remove_unfinished_table(&self) -> Result<(), StateError> {
        let path = self.unfinished_table();
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(io_error("remove", &path)),
        }
    }

    fn unfinished_table(&self) -> PathBuf {
        self.directory.with_file_name(FILE)
    }
}
