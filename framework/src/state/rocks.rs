//! The backend on disk: one RocksDB database per task.
//!
//! Column families: one per store (`<kind>:<store>`) and `offsets`, which holds one record ([`offsets`]) and the stream times
//! of stores ([`expiry`]). Every write is one batch of rows and offsets, without a write-ahead log; all families are flushed together. So the database, after a
//! crash too, is at one commit.

mod budget;
mod expiry;
mod offsets;
mod options;
mod snapshot;
mod table;

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, ErrorKind, FlushOptions, Options,
    ReadOptions, WriteBatch, WriteOptions,
    properties::{
        BACKGROUND_ERRORS, CUR_SIZE_ACTIVE_MEM_TABLE, CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_LIVE_DATA_SIZE,
        ESTIMATE_NUM_KEYS,
    },
};

pub use self::budget::MemoryBudget;
use self::offsets::{StoredChangelog, StoredOffsets};
pub(super) use self::{
    budget::{Follows, WriteBuffers},
    snapshot::RocksSnapshot,
};
use super::{
    CommitPoint, Owner, StateError, StoreId, StoreSpec,
    dir::io_error,
    range::{Direction, KeyRange},
    timed::Layout,
};

const OFFSETS_FAMILY: &str = "offsets";
/// The one key of the offsets' family.
const OFFSETS_KEY: &[u8] = b"offsets";

/// An open database.
pub(super) struct Rocks {
    db: DB,
    directory: PathBuf,
    owner: Owner,
    budget: MemoryBudget,
    /// Per store its column family; `None` for a store that is not here.
    families: Box<[Option<String>]>,
    /// Changelog offsets of families that no store of the topology has now. They stay with their data, so that a store
    /// that comes back goes on where it was.
    retired: BTreeMap<String, StoredChangelog>,
    read_options: ReadOptions,
    write_options: WriteOptions,
    /// How many errors of flushes and merges in the background are known.
    background_errors: AtomicU64,
}

/// Rows that are written together.
pub(super) struct RocksRows(WriteBatch);

/// Adds rows to those that are written together.
pub(super) struct RocksWriter<'a> {
    rocks: &'a Rocks,
    /// Per store its family, looked up once.
    families: Vec<Option<&'a ColumnFamily>>,
    rows: &'a mut RocksRows,
}

// === impl Rocks ===

impl Rocks {
    /// Opens the database of `owner` in `directory`, or makes it, with families for the persistent stores of `specs`.
    pub(super) fn open(
        directory: PathBuf,
        owner: Owner,
        specs: &[StoreSpec],
        budget: &MemoryBudget,
    ) -> Result<(Self, CommitPoint), StateError> {
        fs::create_dir_all(&directory).map_err(io_error("create", &directory))?;
        let failed =
            |error: rocksdb::Error| StateError::Open { owner, dir: directory.clone(), reason: error.into_string() };
        let families: Box<[_]> = specs.iter().map(|spec| spec.persistent.then(|| family_name(spec))).collect();
        let retired = retired_families(&directory, &families, failed)?;
        for family in &retired {
            tracing::warn!(%owner, family, "the topology has no such store any more: its data stays on disk");
        }
        let stores = families.iter().zip(specs).filter_map(|(family, spec)| {
            let options = match Layout::expiring(spec.kind) {
                Some(_) => options::timed_store(budget),
                None => options::store(budget),
            };
            Some(ColumnFamilyDescriptor::new(family.as_ref()?, options))
        });
        let retired_stores = retired.iter().map(|family| ColumnFamilyDescriptor::new(family, options::store(budget)));
        let offsets = [OFFSETS_FAMILY, DEFAULT_COLUMN_FAMILY_NAME]
            .map(|family| ColumnFamilyDescriptor::new(family, options::offsets(budget)));
        let descriptors = stores.chain(retired_stores).chain(offsets);
        let db = DB::open_cf_descriptors(&options::database(budget), &directory, descriptors).map_err(failed)?;

        let mut rocks = Self {
            db,
            directory,
            owner,
            budget: budget.clone(),
            families,
            retired: BTreeMap::new(),
            read_options: ReadOptions::default(),
            write_options: write_options(),
            background_errors: AtomicU64::new(0),
        };
        rocks.remove_unfinished_table()?;
        let mut stored = rocks.stored_offsets(&rocks.read_options)?;
        let point = rocks.to_point(&mut stored);
        rocks.retired = stored.changelogs;
        Ok((rocks, point))
    }

    /// Whether this store is on disk.
    pub(super) fn has(&self, store: StoreId) -> bool {
        self.families[store.index()].is_some()
    }

    pub(super) fn get<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StateError> {
        let row =
            self.db.get_pinned_cf_opt(self.family(store), key, &self.read_options).map_err(self.failed("read"))?;
        Ok(f(row.as_deref()))
    }

    /// A row and the point of the same commit.
    pub(super) fn get_with_point<R>(
        &self,
        store: StoreId,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<(R, CommitPoint), StateError> {
        let snapshot = self.snapshot();
        Ok((snapshot.get(store, key, f)?, snapshot.point()?))
    }

    /// Walks rows in order until `f` breaks or fails.
    pub(super) fn scan(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        self.scan_with(ReadOptions::default(), store, range, direction, f)
    }

    /// Walks rows forward, past the cache of blocks: they are not read again soon.
    pub(super) fn scan_once(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        self.scan_with(options, store, range, Direction::Forward, f)
    }

    /// About how many bytes the rows of a store take, on disk and in write buffers.
    pub(super) fn bytes_on_disk(&self, store: StoreId) -> Result<usize, StateError> {
        let mut bytes = 0;
        for property in [ESTIMATE_LIVE_DATA_SIZE, CUR_SIZE_ALL_MEM_TABLES] {
            let size = self.db.property_int_value_cf(self.family(store), property);
            bytes += size.map_err(self.failed("tell its size"))?.unwrap_or(0);
        }
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// About how many rows a store has. Rows that were written again lately may count twice.
    pub(super) fn approximate_rows(&self, store: StoreId) -> Result<u64, StateError> {
        let rows = self.db.property_int_value_cf(self.family(store), ESTIMATE_NUM_KEYS);
        Ok(rows.map_err(self.failed("tell its size"))?.unwrap_or(0))
    }

    /// Like [`Rocks::scan`]; says which point the rows are of.
    pub(super) fn scan_with_point(
        &self,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<CommitPoint, StateError> {
        let snapshot = self.snapshot();
        snapshot.scan(store, range, direction, f)?;
        snapshot.point()
    }

    /// The rows of the last commit, whatever is committed from now on.
    pub(super) fn snapshot(&self) -> RocksSnapshot<'_> {
        RocksSnapshot::new(self, self.db.snapshot())
    }

    /// Adds to rows.
    pub(super) fn writer<'a>(&'a self, rows: &'a mut RocksRows) -> RocksWriter<'a> {
        let family = |name: &Option<String>| name.as_ref().map(|name| self.opened_family(name));
        RocksWriter { rocks: self, families: self.families.iter().map(family).collect(), rows }
    }

    /// Writes rows and the point at once.
    pub(super) fn commit(&self, RocksRows(mut batch): RocksRows, point: &CommitPoint) -> Result<(), StateError> {
        let stores = point.changelog_offsets.iter().filter_map(|(store, offset)| {
            // Offsets of stores in memory die with them.
            let topic_id = point.changelog_ids.get(store).copied();
            Some((self.families[store.index()].as_deref()?, StoredChangelog { offset: *offset, topic_id }))
        });
        let retired = self.retired.iter().map(|(family, changelog)| (family.as_str(), *changelog));
        let changelogs: Vec<_> = stores.chain(retired).collect();
        let record = offsets::encode(point.current_ms, changelogs.into_iter(), &point.positions);
        batch.put_cf(self.opened_family(OFFSETS_FAMILY), OFFSETS_KEY, record);
        let bytes = batch.size_in_bytes();
        self.db.write_opt(batch, &self.write_options).map_err(self.failed("write"))?;
        self.budget.wrote(bytes);
        Ok(())
    }

    /// Writes to disk what is committed; waits for it.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        self.flush_with(&FlushOptions::default()).map_err(self.failed("flush"))
    }

    /// Begins what [`Rocks::flush`] does.
    pub(super) fn begin_flush(&self) -> Result<(), StateError> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        match self.flush_with(&options) {
            // So much is being flushed already that writes wait for it.
            Err(error) if error.kind() == ErrorKind::TryAgain => Ok(()),
            result => result.map_err(self.failed("flush")),
        }
    }

    /// Whether what was written gets to the disk. The next write would tell, too, but there may be none for long.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let errors =
            self.db.property_int_value(BACKGROUND_ERRORS).map_err(self.failed("tell its errors"))?.unwrap_or(0);
        if errors > self.background_errors.load(Ordering::Relaxed) {
            // It has the reason, unless it was overcome.
            self.flush()?;
            self.background_errors.store(errors, Ordering::Relaxed);
        }
        Ok(())
    }

    fn flush_with(&self, options: &FlushOptions) -> Result<(), rocksdb::Error> {
        let families: Vec<_> = self.opened_families().collect();
        self.db.flush_cfs_opt(&families.iter().collect::<Vec<_>>(), options)
    }

    /// Bytes of write buffers that are not being flushed.
    pub(super) fn write_buffer_bytes(&self) -> Result<usize, StateError> {
        let mut bytes = 0;
        for family in self.opened_families() {
            let size = self.db.property_int_value_cf(family, CUR_SIZE_ACTIVE_MEM_TABLE);
            bytes += size.map_err(self.failed("tell its size"))?.unwrap_or(0);
        }
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Waits until there is nothing to be merged in the background.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).expect("a writable disk");
    }

    /// How many table files there are.
    #[cfg(test)]
    pub(super) fn tables(&self) -> usize {
        self.db.live_files().expect("an open database").len()
    }

    /// How many rows there are in the table files of a store, deleted ones included.
    #[cfg(test)]
    pub(super) fn rows_on_disk(&self, store: StoreId) -> u64 {
        let family = self.families[store.index()].as_deref();
        let files = self.db.live_files().expect("an open database");
        files.iter().filter(|file| Some(file.column_family_name.as_str()) == family).map(|file| file.num_entries).sum()
    }

    /// Copies what would survive if the process were killed now: nothing is flushed for it.
    #[cfg(test)]
    pub(super) fn copy_as_after_a_crash(&self, to: &Path) {
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).expect("a checkpoint of an open database");
        checkpoint.create_checkpoint_with_log_size(to, u64::MAX).expect("a writable directory");
    }

    fn scan_with(
        &self,
        mut options: ReadOptions,
        store: StoreId,
        range: &KeyRange<'_>,
        direction: Direction,
        mut f: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        if let Some(lower) = range.lower() {
            options.set_iterate_lower_bound(lower);
        }
        if let Some(upper) = range.upper() {
            options.set_iterate_upper_bound(upper);
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.family(store), options);
        match direction {
            Direction::Forward => rows.seek_to_first(),
            Direction::Backward => rows.seek_to_last(),
        }
        while let Some((key, row)) = rows.item() {
            if f(key, row)?.is_break() {
                return Ok(());
            }
            match direction {
                Direction::Forward => rows.next(),
                Direction::Backward => rows.prev(),
            }
        }
        rows.status().map_err(self.failed("scan"))
    }

    fn stored_offsets(&self, options: &ReadOptions) -> Result<StoredOffsets, StateError> {
        let family = self.opened_family(OFFSETS_FAMILY);
        let record =
            self.db.get_pinned_cf_opt(family, OFFSETS_KEY, options).map_err(self.failed("read the offsets"))?;
        // A new database has no record: everything is restored from the beginning.
        let Some(record) = record else { return Ok(StoredOffsets::default()) };
        offsets::decode(&record).map_err(|reason| StateError::Format {
            owner: self.owner,
            what: format!("the record of offsets in `{}`", self.directory.display()),
            reason,
        })
    }

    /// Takes the offsets of the topology's stores and inputs out of `stored`; those of other families stay in it.
    fn to_point(&self, stored: &mut StoredOffsets) -> CommitPoint {
        let mut point = CommitPoint {
            positions: std::mem::take(&mut stored.positions),
            current_ms: stored.current_ms,
            ..CommitPoint::default()
        };
        for (index, family) in self.families.iter().enumerate() {
            let changelog = family.as_ref().and_then(|family| stored.changelogs.remove(family));
            if let Some(StoredChangelog { offset, topic_id }) = changelog {
                let store = StoreId::new(index);
                point.changelog_offsets.insert(store, offset);
                point.changelog_ids.extend(topic_id.map(|id| (store, id)));
            }
        }
        point
    }

    fn family(&self, store: StoreId) -> &ColumnFamily {
        let name = self.families[store.index()].as_ref().expect("only stores that are on disk are looked for there");
        self.opened_family(name)
    }

    fn opened_families(&self) -> impl Iterator<Item = &ColumnFamily> {
        let names = self.families.iter().flatten().map(String::as_str).chain([OFFSETS_FAMILY]);
        names.map(|name| self.opened_family(name))
    }

    fn opened_family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families are opened with the database")
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
        move |error| StateError::Database {
            owner: self.owner,
            dir: self.directory.clone(),
            what,
            reason: error.into_string(),
        }
    }
}

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rocks").field("owner", &self.owner).field("directory", &self.directory).finish_non_exhaustive()
    }
}

// === impl RocksRows ===

impl RocksRows {
    /// None yet, with room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(WriteBatch::with_capacity_bytes(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        if self.is_empty() { 0 } else { self.0.size_in_bytes() }
    }
}

impl std::fmt::Debug for RocksRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksRows({})", self.0.len())
    }
}

// === impl RocksWriter ===

impl RocksWriter<'_> {
    pub(super) fn has(&self, store: StoreId) -> bool {
        self.families[store.index()].is_some()
    }

    /// Sets a row; `None` deletes it.
    pub(super) fn write(&mut self, store: StoreId, key: &[u8], row: Option<&[u8]>) {
        let family = self.families[store.index()].expect("only stores that are on disk are written to it");
        match row {
            Some(row) => self.rows.0.put_cf(family, key, row),
            None => self.rows.0.delete_cf(family, key),
        }
    }
}

impl std::fmt::Debug for RocksWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksWriter").field("rows", self.rows).finish_non_exhaustive()
    }
}

/// The family of a store. With the kind in its name, a store that changes its kind begins anew from its changelog, instead
/// of reading rows of another form.
fn family_name(spec: &StoreSpec) -> String {
    format!("{}:{}", spec.kind.tag(), spec.name)
}

/// The stores' families on disk that are not among `families`.
fn retired_families(
    directory: &Path,
    families: &[Option<String>],
    failed: impl FnOnce(rocksdb::Error) -> StateError,
) -> Result<Vec<String>, StateError> {
    // By this file RocksDB itself knows that a database is there.
    let current = directory.join("CURRENT");
    if !current.try_exists().map_err(io_error("look for", &current))? {
        return Ok(Vec::new());
    }
    let mut on_disk = DB::list_cf(&Options::default(), directory).map_err(failed)?;
    on_disk.retain(|family| {
        ![OFFSETS_FAMILY, DEFAULT_COLUMN_FAMILY_NAME].contains(&family.as_str())
            && !families.iter().flatten().any(|known| known == family)
    });
    Ok(on_disk)
}

fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    // Batches are in key order: each row is looked for next to the one before.
    options.set_memtable_insert_hint_per_batch(true);
    options
}
