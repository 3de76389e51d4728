//! Records that wait for others before they are applied.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::state::run::Run;

/// More records than a table is worth.
pub(super) const MANY: i64 = 5000;

pub(super) type Rows = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;
/// A record of a changelog: its offset is also its timestamp.
pub(super) type Logged = (Vec<u8>, Option<Vec<u8>>);

/// The changelogs of two stores.
pub(super) struct Changelogs(pub(super) [Vec<Logged>; 2]);

/// Numbers that look random and are the same in every run.
pub(super) struct Random(pub(super) u64);

// === impl Random ===

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn record(&mut self) -> Logged {
        let number = self.below(4000);
        let key = match number % 5 {
            0 => number.to_string().into_bytes(),
            1 => format!("a prefix that many keys have {number}").into_bytes(),
            2 => vec![0; number % 40],
            3 => vec![0xff; number % 40],
            _ => number.to_be_bytes().to_vec(),
        };
        let value = (self.below(4) > 0).then(|| vec![number as u8; self.below(160)]);
        (key, value)
    }
}

// === impl Changelogs ===

impl Changelogs {
    pub(super) fn new(random: &mut Random, records: [usize; 2]) -> Self {
        Self(records.map(|records| (0..records).map(|_| random.record()).collect()))
    }

    pub(super) fn end(&self, store: StoreId) -> i64 {
        i64::try_from(self.0[store.index()].len()).expect("few records")
    }

    pub(super) fn batch(&self, store: StoreId, from: i64, to: i64) -> Batch {
        let mut batch = BatchBuilder::new(TopicPartition::new("changelog", TASK.partition));
        for offset in from..to {
            let (key, value) = &self.0[store.index()][usize::try_from(offset).expect("from 0")];
            batch.push(offset, offset, Some(key), value.as_deref(), []);
        }
        batch.build()
    }

    /// The rows of a store at an offset.
    pub(super) fn rows(&self, store: StoreId, to: i64) -> Rows {
        let mut rows = Rows::new();
        for ((key, value), offset) in self.0[store.index()].iter().zip(0..to) {
            match value {
                Some(value) => rows.insert(key.clone(), (value.clone(), offset)),
                None => rows.remove(key),
            };
        }
        rows
    }
}

/// What makes runs of a MiB.
pub(super) fn small(settings: StateSettings) -> StateSettings {
    StateSettings { memory: MemoryBudget::new(0), ..settings }
}

pub(super) fn offset(stores: &TaskStores, store: StoreId) -> i64 {
    stores.committed().changelog_offsets.get(&store).copied().unwrap_or(0)
}

pub(super) fn committed(stores: &TaskStores, store: StoreId) -> Rows {
    let page = stores.view().scan(store, .., usize::MAX, usize::MAX).expect("an open view");
    page.rows.into_iter().map(|row| (row.key, (row.value, row.timestamp_ms))).collect()
}

pub(super) fn tables(stores: &TaskStores) -> usize {
    stores.backend().rocks().expect("on disk").tables()
}

pub(super) fn database(settings: &StateSettings) -> PathBuf {
    settings.dir.as_ref().expect("on disk").task_dir(TASK).join("rocksdb")
}

/// The stores as a killed process would leave them.
pub(super) fn crashed(stores: TaskStores) -> (TaskStores, tempfile::TempDir) {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = small(on_disk(state_dir.path()));
    let copy = database(&settings);
    fs::create_dir_all(copy.parent().expect("that of the task")).expect("a writable directory");
    stores.backend().rocks().expect("on disk").copy_as_after_a_crash(&copy);
    drop(stores);
    (open(&settings, &["a", "b"]).expect("a copy of stores"), state_dir)
}

/// `MANY` records, each of another key.
pub(super) fn many(value: Option<&[u8]>) -> Batch {
    let mut batch = BatchBuilder::new(TopicPartition::new("changelog", TASK.partition));
    for number in 0..MANY {
        batch.push(number, number, Some(&number.to_be_bytes()), value, []);
    }
    batch.build()
}

/// Stores that restored something before.
pub(super) fn begun(settings: &StateSettings) -> TaskStores {
    let mut stores = open(settings, &["a", "b"]).expect("new stores");
    stores
        .restore(A, &batch(TopicPartition::new("changelog", 3), &[(Some(b"first"), Some(b"1"), 1)]), 1)
        .expect("written");
    stores
}

#[test]
fn gathered_records_make_what_they_make_one_by_one_whatever_crashes() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let changelogs = Changelogs::new(&mut random, [30_000, 12_000]);
        let mut state_dir = tempfile::tempdir().expect("a temporary directory");
        let mut stores = open(&small(on_disk(state_dir.path())), &["a", "b"]).expect("new stores");
        let mut next = [0; 2];
        let mut most_tables = 0;
        while let Some(store) = [A, B]
            .into_iter()
            .filter(|store| next[store.index()] < changelogs.end(*store))
            .max_by_key(|_| random.below(9))
        {
            let from = next[store.index()];
            let to = changelogs.end(store).min(from + 1 + i64::try_from(random.below(2500)).expect("small"));
            stores.gather(store, &changelogs.batch(store, from, to), to).expect("a writable store");
            next[store.index()] = to;
            most_tables = most_tables.max(tables(&stores));
            match random.below(12) {
                0 => stores.apply_gathered().expect("a writable store"),
                1 => {
                    (stores, state_dir) = crashed(stores);
                    for store in [A, B] {
                        next[store.index()] = offset(&stores, store);
                        assert!(
                            committed(&stores, store).is_empty() || offset(&stores, store) > 0,
                            "rows of no offset"
                        );
                    }
                }
                _ => assert!(offset(&stores, store) <= to),
            }
        }
        stores.apply_gathered().expect("a writable store");
        assert!(most_tables > 3, "{most_tables}: nothing was gathered");
        for reopened in [false, true] {
            if reopened {
                stores.close().expect("a writable store");
                stores = open(&small(on_disk(state_dir.path())), &["a", "b"]).expect("closed before");
            }
            for store in [A, B] {
                let end = changelogs.end(store);
                assert_eq!(offset(&stores, store), end);
                assert!(committed(&stores, store) == changelogs.rows(store, end), "seed {seed}, {store:?}");
            }
        }
    }
}

#[test]
fn no_store_has_tables_before_it_has_an_offset_on_disk() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let mut stores = open(&small(on_disk(state_dir.path())), &["a", "b"]).expect("new stores");
    for store in [A, B] {
        let before = tables(&stores);
        // The first ones are applied at once, the others as they are too many to wait.
        for next in [1, 2] {
            stores.gather(store, &many(Some(&[7; 300])), next * MANY).expect("a writable store");
            assert_eq!(offset(&stores, store), next * MANY);
        }
        assert!(tables(&stores) > before);
    }
    let (stores, _state_dir) = crashed(stores);
    for store in [A, B] {
        assert_eq!(committed(&stores, store).len() as i64, MANY);
        assert!(offset(&stores, store) >= MANY, "{store:?}: rows of no offset");
    }
}

#[test]
fn rows_newer_than_their_offset_are_restored_again() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let stores = begun(&on_disk(state_dir.path()));
    stores.flush().expect("a writable store");
    let mut run = Run::default();
    for number in 0..MANY {
        run.push(&number.to_be_bytes(), Some(b"\0\0\0\0\0\0\0\x09newer"));
    }
    stores.backend().write_table(&run).expect("a writable store");
    stores.backend().add_table(A).expect("a writable store");
    let (mut stores, _state_dir) = crashed(stores);
    assert_eq!(offset(&stores, A), 1);
    assert_eq!(committed(&stores, A).len() as i64, MANY + 1);
    stores.gather(A, &many(None), MANY).expect("a writable store");
    stores.gather(A, &many(Some(b"again")), 2 * MANY).expect("a writable store");
    stores.gather(A, &many(None), 3 * MANY).expect("a writable store");
    stores.apply_gathered().expect("a writable store");
    assert_eq!(committed(&stores, A), [(b"first".to_vec(), (b"1".to_vec(), 1))].into());
}

#[test]
fn records_that_wait_are_not_seen_and_what_they_change_is_not_at_hand_any_more() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let mut stores = begun(&on_disk(state_dir.path()));
    let key = 7_i64.to_be_bytes();
    commit_one(&mut stores, A, &key, b"at hand", 5);
    stores.gather(A, &many(Some(b"v")), 10).expect("a writable store");
    assert_eq!((offset(&stores, A), read(&mut stores, A, &key)), (5, Some((b"at hand".to_vec(), 5))));
    let before = tables(&stores);
    stores.apply_gathered().expect("a writable store");
    assert!(tables(&stores) > before);
    assert_eq!((offset(&stores, A), read(&mut stores, A, &key)), (10, Some((b"v".to_vec(), 7))));

    // Too few for a table, and in front of a commit.
    stores
        .gather(A, &batch(TopicPartition::new("changelog", 3), &[(Some(&key), None, 1), (None, None, 2)]), 12)
        .expect("waiting");
    assert!(read(&mut stores, A, &key).is_some());
    let before = tables(&stores);
    stores.commit(&point(&[], 1)).expect("a writable store");
    assert_eq!((offset(&stores, A), read(&mut stores, A, &key), tables(&stores)), (12, None, before));
}

#[test]
fn memory_of_records_that_wait_is_counted_and_kept_by_few_runs() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = small(on_disk(state_dir.path()));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut stores = open(&settings, &names).expect("new stores");
    let source = || TopicPartition::new("changelog", TASK.partition);
    for store in (0..names.len()).map(StoreId::new) {
        stores.restore(store, &batch(source(), &[(Some(b"first"), Some(b"1"), 1)]), 1).expect("written");
    }
    let (before, records) = (stores.held_bytes(), many(Some(&[7; 100])));
    stores.gather(A, &records, 10).expect("waiting");
    assert_eq!(offset(&stores, A), 1, "they wait");
    assert!(stores.held_bytes() >= before + records.len() * 108, "{}", stores.held_bytes());

    // Large runs of one store leave memory, which a few records of another take.
    for store in (1..names.len()).map(StoreId::new) {
        for _ in 0..3 {
            stores.gather(A, &records, 10).expect("a writable store");
        }
        stores.gather(store, &batch(source(), &[(Some(b"second"), Some(b"2"), 2)]), 2).expect("waiting");
    }
    assert!(stores.held_bytes() < 4 * settings.memory.run_share(), "{}", stores.held_bytes());
    stores.apply_gathered().expect("a writable store");
    assert_eq!(stores.held_bytes(), before);
}

#[test]
fn records_that_others_ask_for_at_once_do_not_wait() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut globals = TaskStores::open_global(&settings, [spec("a", true)].into()).expect("new stores");
    let mut in_memory = TaskStores::open(&settings, TASK, [spec("a", false)].into()).expect("new stores");
    for stores in [&mut globals, &mut in_memory] {
        for next in 1..3 {
            stores.gather(A, &many(Some(&[next])), MANY * i64::from(next)).expect("a writable store");
            assert_eq!(read(stores, A, &1_i64.to_be_bytes()), Some((vec![next], 1)));
        }
    }
}

#[test]
fn an_unfinished_table_is_removed_and_never_written_over() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut stores = begun(&settings);
    let unfinished = database(&settings).with_file_name("restored.sst");
    stores.gather(A, &many(Some(b"old")), 10).expect("a writable store");
    stores.apply_gathered().expect("a writable store");
    assert!(!unfinished.exists());

    // As after a crash between the link and the end of the old name.
    let files = fs::read_dir(database(&settings)).expect("a database").map(|file| file.expect("a file").path());
    let table = files.filter(|file| file.extension().is_some_and(|extension| extension == "sst"));
    let largest = table.max_by_key(|file| fs::metadata(file).expect("a file").len()).expect("a table");
    fs::hard_link(&largest, &unfinished).expect("a writable directory");
    let bytes = fs::read(&largest).expect("a readable file");
    stores.gather(A, &many(None), 20).expect("a writable store");
    stores.apply_gathered().expect("a writable store");
    assert!(fs::read(&largest).expect("a readable file") == bytes, "a table of the database was written over");
    assert_eq!(committed(&stores, A).len(), 1);
    stores.close().expect("a writable store");

    fs::write(&unfinished, "cut").expect("a writable directory");
    let stores = open(&settings, &["a", "b"]).expect("closed before");
    assert!(!unfinished.exists());
    assert_eq!((offset(&stores, A), committed(&stores, A).len()), (20, 1));
}

#[test]
fn what_cannot_be_written_is_not_committed() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut stores = begun(&settings);
    let in_the_way = database(&settings).with_file_name("restored.sst");
    fs::create_dir(&in_the_way).expect("a writable directory");
    stores.gather(A, &many(Some(b"v")), 10).expect("waiting");
    let error = stores.apply_gathered().expect_err("a directory is in the way");
    assert!(matches!(&error, StateError::Io { path, .. } if *path == in_the_way), "{error}");
    assert_eq!((offset(&stores, A), committed(&stores, A).len()), (1, 1));
    fs::remove_dir(&in_the_way).expect("a writable directory");
    stores.close().expect("nothing waits any more");
}
