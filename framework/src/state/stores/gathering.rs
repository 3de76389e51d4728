//! Records of changelogs that are applied many at a time.
//!
//! A row that is written alone costs a search in the write buffer, and a flush of that later. Sorted first, many rows make a table of their own,
//! which costs half of it, and of a key that was written several times only the last row is written.
//!
//! A table is on disk before its offset is: after a crash, rows may be newer than their offset. They are restored again from there, which ends
//! with the same rows, and nothing runs before that end.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use super::{TaskStores, put_bytes};
use crate::{
    log::Batch,
    state::{CommitPoint, Owner, Row, StateError, StoreId, StoreKind, TableStep, run::Run},
};

/// Rows that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    stores: BTreeMap<StoreId, Gathered>,
    /// Memory to be used again.
    spare: Run,
    /// The stores that have an offset on disk, beside which tables may be added.
    begun: BTreeSet<StoreId>,
    /// How many tables were added since the offsets were last flushed.
    unflushed: usize,
}

#[derive(Debug)]
struct Gathered {
    run: Run,
    next_offset: i64,
}

/// With fewer rows a table costs more than it saves.
const LEAST_ROWS: usize = 4096;
/// The tables that a crash may cost at most.
const TABLES_PER_FLUSH: usize = 8;
/// Memory is kept to be used again while all together is at most so many times what may wait: runs that take it may fill little of it.
const SPARE_PART: usize = 2;

// === impl TaskStores ===

impl TaskStores {
    /// Like [`TaskStores::restore`], but the records may wait for more, to be applied together: by
    /// [`TaskStores::apply_gathered`] or a commit at the latest. Until then they are not seen, and
    /// [`TaskStores::committed`] is before them.
    ///
    /// # Errors
    /// As [`TaskStores::apply_gathered`].
    pub fn gather(&mut self, store: StoreId, records: &Batch, next_offset: i64) -> Result<(), StateError> {
        if !self.is_gathered(store) {
            return self.restore(store, records, next_offset);
        }
        let Self { gathering, row: bytes, .. } = self;
        let Gathering { stores, spare, .. } = gathering;
        let gathered = stores.entry(store).or_insert_with(|| Gathered { run: std::mem::take(spare), next_offset });
        gathered.next_offset = next_offset;
        let mut without_key = 0;
        for record in records.iter() {
            let Some(key) = record.key else {
                without_key += 1;
                continue;
            };
            let row = record.value.map(|value| Row { value, timestamp_ms: record.timestamp_ms });
            gathered.run.push(key, put_bytes(bytes, StoreKind::TimestampedKeyValue, row));
        }
        self.warn_without_key(records, without_key);
        let share = if self.follows.is_some() { self.memory.followers_share() } else { self.memory.run_share() };
        while let Some(store) = self.gathering.largest_beyond(share) {
            self.apply_run(store)?;
        }
        Ok(())
    }

    /// Applies all records that wait.
    ///
    /// # Errors
    /// [`StateError::Database`] and [`StateError::Io`]; [`TaskStores::committed`] says how far they are applied, the rest is forgotten.
    pub fn apply_gathered(&mut self) -> Result<(), StateError> {
        while let Some(store) = self.gathering.largest_beyond(0) {
            self.apply_run(store)?;
        }
        self.gathering.spare = Run::default();
        if self.gathering.unflushed > 0 {
            self.flush_tables()?;
        }
        Ok(())
    }

    /// Whether records of a store may wait.
    ///
    /// The first ones may not: rows must not lie on disk while the store has no offset there, or one that says that there is nothing. Whoever
    /// opens it after a crash would take it for empty, however old it is. Records of global tables are asked for at once.
    fn is_gathered(&self, store: StoreId) -> bool {
        self.specs[store.index()].kind == StoreKind::TimestampedKeyValue
            && self.backend.is_on_disk(store)
            && matches!(self.owner, Owner::Task(_))
            && self.committed.changelog_offsets.get(&store).is_some_and(|offset| *offset > 0)
    }

    /// Applies the records of a store that wait.
    pub(super) fn apply_run(&mut self, store: StoreId) -> Result<(), StateError> {
        let Some(Gathered { mut run, next_offset }) = self.gathering.stores.remove(&store) else { return Ok(()) };
        run.keys().for_each(|key| self.overlay.forget_committed(store, key));
        let mut next = self.committed.clone();
        next.changelog_offsets.insert(store, next_offset);
        if run.len() < LEAST_ROWS {
            let mut rows = self.backend.rows(run.bytes());
            let mut writer = self.backend.writer(&mut rows);
            let Ok(()) = run.each_sorted(|key, row| {
                writer.write(store, key, row);
                Ok::<_, Infallible>(())
            });
            self.backend.commit(rows, &next)?;
        } else {
            self.add_table(store, &run, &next)?;
        }
        self.committed = next;
        run.clear();
        self.gathering.spare = Run::default();
        if self.gathering.bytes() + run.held_bytes() <= self.memory.run_share() * SPARE_PART {
            self.gathering.spare = run;
        }
        Ok(())
    }

    fn add_table(&mut self, store: StoreId, run: &Run, next: &CommitPoint) -> Result<(), StateError> {
        if !self.gathering.begun.contains(&store) {
            // The offset that these rows are behind, and how old it is.
            self.flush_tables()?;
            self.gathering.begun.insert(store);
        }
        self.backend.remove_unfinished_table()?;
        self.at(TableStep::Write, |stores| stores.backend.write_table(run))?;
        self.at(TableStep::Add, |stores| stores.backend.add_table(store))?;
        self.backend.commit(self.backend.rows(0), next)?;
        self.gathering.unflushed += 1;
        if self.gathering.unflushed >= TABLES_PER_FLUSH { self.flush_tables() } else { Ok(()) }
    }

    /// Brings the offsets behind tables to disk.
    fn flush_tables(&mut self) -> Result<(), StateError> {
        self.at(TableStep::Flush, |stores| stores.backend.flush())?;
        self.gathering.unflushed = 0;
        Ok(())
    }

    fn at(&self, step: TableStep, make: impl FnOnce(&Self) -> Result<(), StateError>) -> Result<(), StateError> {
        // Stores on disk occupy its place; others have no tables.
        self.occupied.as_ref().map_or(Ok(()), |occupied| occupied.at(step, || make(self)))
    }
}

// === impl Gathering ===

impl Gathering {
    /// Memory that it holds, the spare one included, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let runs = self.stores.values().map(|gathered| &gathered.run).chain([&self.spare]);
        runs.map(Run::held_bytes).sum()
    }

    /// The store of which most waits, if all together is more than so many bytes.
    fn largest_beyond(&self, bytes: usize) -> Option<StoreId> {
        let sizes = || self.stores.iter().map(|(store, gathered)| (gathered.run.bytes(), *store));
        let (_, store) = sizes().max()?;
        (sizes().map(|(bytes, _)| bytes).sum::<usize>() >= bytes).then_some(store)
    }
}
