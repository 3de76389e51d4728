//! The state engine on its backends.

mod crash;
mod duplicates;
mod every_kind;
mod gathering;
mod model;
mod table_steps;
mod time_ordered;
mod timed;
mod versioned;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::*;
use crate::{
    log::{Batch, BatchBuilder, TopicId, TopicPartition},
    serde::Format,
};

const TASK: TaskId = TaskId::new(0, 3);
const A: StoreId = StoreId::new(0);
const B: StoreId = StoreId::new(1);

fn spec(name: &str, persistent: bool) -> StoreSpec {
    StoreSpec {
        name: name.into(),
        kind: StoreKind::TimestampedKeyValue,
        changelog: Some(format!("app-{name}-changelog").into()),
        key_format: Format::Bytes,
        value_format: Format::Bytes,
        queryable: true,
        persistent,
    }
}

fn on_disk(state_dir: &Path) -> StateSettings {
    let dir = StateDir::open(state_dir, "app").expect("a state directory of its own");
    StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::new(8 << 20) }
}

fn open(settings: &StateSettings, names: &[&str]) -> Result<TaskStores, StateError> {
    TaskStores::open(settings, TASK, names.iter().map(|name| spec(name, true)).collect())
}

fn point(changelogs: &[(StoreId, i64)], position: i64) -> CommitPoint {
    CommitPoint {
        changelog_offsets: changelogs.iter().copied().collect(),
        positions: [(TopicPartition::new("in", TASK.partition), position)].into(),
        ..CommitPoint::default()
    }
}

/// The owned parts of a record: key, value, timestamp.
type Rec<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, i64);

fn batch(source: TopicPartition, records: &[Rec<'_>]) -> Batch {
    let mut batch = BatchBuilder::new(source);
    for ((key, value, timestamp_ms), offset) in records.iter().zip(0..) {
        batch.push(offset, *timestamp_ms, *key, *value, []);
    }
    batch.build()
}

fn read(stores: &mut TaskStores, store: StoreId, key: &[u8]) -> Option<(Vec<u8>, i64)> {
    stores.read(store, key, |row| row.map(|row| (row.value.to_vec(), row.timestamp_ms))).expect("a readable store")
}

fn freeze(stores: &mut TaskStores) {
    let Ok(()) = stores.freeze(|_| Ok::<_, Infallible>(()));
}

fn commit_one(stores: &mut TaskStores, store: StoreId, key: &[u8], value: &[u8], at: i64) {
    stores.write(store, key, Some(value), at);
    freeze(stores);
    stores.commit(&point(&[(store, at)], at)).expect("a writable store");
}

/// Runs `test` on a backend on disk and on one in memory.
fn on_each_backend(test: impl Fn(&StateSettings)) {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    test(&on_disk(state_dir.path()));
    test(&StateSettings::default());
}

#[test]
fn a_write_is_seen_by_the_task_at_once_and_by_views_after_the_commit() {
    on_each_backend(|settings| {
        let mut stores = open(settings, &["a"]).expect("new stores");
        let view = stores.view();
        stores.write(A, b"k", Some(b"1"), 10);
        assert_eq!(read(&mut stores, A, b"k"), Some((b"1".to_vec(), 10)));
        let mut dirty = Vec::new();
        let Ok(()) = stores.freeze(|Dirty { store, key, value, timestamp_ms, .. }| {
            dirty.push((store, key.to_vec(), value.map(<[u8]>::to_vec), timestamp_ms));
            Ok::<_, Infallible>(())
        });
        assert_eq!(dirty, [(A, b"k".to_vec(), Some(b"1".to_vec()), 10)]);
        stores.write(A, b"k", None, 20);
        assert_eq!(read(&mut stores, A, b"k"), None, "the live write hides the frozen one");
        assert_eq!(view.get(A, b"k").expect("an open view"), None);

        stores.commit(&point(&[(A, 1)], 5)).expect("a writable store");
        assert_eq!(view.get(A, b"k").expect("an open view"), Some((b"1".to_vec(), 10)));
        assert_eq!(read(&mut stores, A, b"k"), None, "the next interval's write still hides it");

        stores.discard();
        assert_eq!(read(&mut stores, A, b"k"), Some((b"1".to_vec(), 10)));
        assert_eq!(stores.uncommitted_bytes(), 0);
    });
}

#[test]
fn restore_writes_rows_under_their_timestamps_and_deletes_where_there_is_no_value() {
    on_each_backend(|settings| {
        let mut stores = open(settings, &["a", "b"]).expect("new stores");
        let source = TopicPartition::new("app-b-changelog", TASK.partition);
        let records: [Rec<'_>; 5] = [
            (Some(b"x"), Some(b"1"), 100),
            (Some(b"y"), Some(b""), 101),
            (Some(b"x"), None, 102),
            (None, Some(b"lost"), 103),
            (Some(b"z"), Some(b"3"), -1),
        ];
        stores.restore(B, &batch(source, &records), 42).expect("a writable store");
        assert_eq!(read(&mut stores, B, b"x"), None);
        assert_eq!(read(&mut stores, B, b"y"), Some((Vec::new(), 101)), "an empty value is a value");
        assert_eq!(read(&mut stores, B, b"z"), Some((b"3".to_vec(), -1)));
        assert_eq!(read(&mut stores, A, b"z"), None);
        assert_eq!(stores.committed(), &CommitPoint { changelog_offsets: [(B, 42)].into(), ..Default::default() });
    });
}

#[test]
fn global_tables_keep_the_position_of_each_partition() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let specs: Arc<[StoreSpec]> = [spec("planes", true)].into();
    let partition = |partition| TopicPartition::new("planes", partition);
    let mut stores = TaskStores::open_global(&settings, Arc::clone(&specs)).expect("new stores");
    stores.restore(A, &batch(partition(0), &[(Some(b"x"), Some(b"0"), 1)]), 7).expect("a writable store");
    stores.restore(A, &batch(partition(1), &[(Some(b"y"), Some(b"1"), 2)]), 9).expect("a writable store");
    stores.close().expect("a writable store");

    let mut stores = TaskStores::open_global(&settings, specs).expect("closed before");
    assert_eq!(stores.committed().positions, [(partition(0), 7), (partition(1), 9)].into());
    assert_eq!(stores.committed().changelog_offsets, [].into());
    assert_eq!(read(&mut stores, A, b"x"), Some((b"0".to_vec(), 1)));
    assert_eq!(read(&mut stores, A, b"y"), Some((b"1".to_vec(), 2)));
}

#[test]
fn a_store_that_leaves_the_topology_and_comes_back_goes_on_where_it_was() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut stores = open(&settings, &["a", "b"]).expect("new stores");
    commit_one(&mut stores, A, b"k", b"in a", 1);
    commit_one(&mut stores, B, b"k", b"in b", 2);
    stores.close().expect("a writable store");

    // Now `b` is the first store: offsets follow the name, not the index.
    let mut stores = open(&settings, &["b"]).expect("closed before");
    assert_eq!(stores.committed(), &point(&[(A, 2)], 2));
    commit_one(&mut stores, A, b"k", b"in b again", 3);
    stores.close().expect("a writable store");

    let mut stores = open(&settings, &["a", "b", "c"]).expect("closed before");
    assert_eq!(stores.committed(), &point(&[(A, 1), (B, 3)], 3));
    assert_eq!(read(&mut stores, A, b"k"), Some((b"in a".to_vec(), 1)));
    assert_eq!(read(&mut stores, B, b"k"), Some((b"in b again".to_vec(), 3)));
}

/// Commits and restores say nothing of it, and a topology may do without the store for a while.
#[test]
fn the_id_of_a_changelog_stays_with_its_offset() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let ids: BTreeMap<StoreId, TopicId> = [(A, TopicId::new(1, 1)), (B, TopicId::new(2, 2))].into();
    let mut stores = open(&settings, &["a", "b"]).expect("new stores");
    stores.commit(&CommitPoint { changelog_ids: ids.clone(), ..CommitPoint::default() }).expect("a writable store");
    commit_one(&mut stores, A, b"k", b"in a", 1);
    let source = TopicPartition::new("app-b-changelog", TASK.partition);
    for next in 1..3 {
        stores.gather(B, &batch(source.clone(), &[(Some(b"x"), Some(b"1"), 100)]), next).expect("a writable store");
    }
    stores.apply_gathered().expect("a writable store");
    assert_eq!(stores.committed().changelog_ids, ids);
    stores.close().expect("a writable store");

    let mut stores = open(&settings, &["b"]).expect("closed before");
    assert_eq!(stores.committed().changelog_ids, [(A, TopicId::new(2, 2))].into());
    commit_one(&mut stores, A, b"k", b"in b", 3);
    stores.close().expect("a writable store");

    let stores = open(&settings, &["a", "b"]).expect("closed before");
    assert_eq!(stores.committed().changelog_offsets, [(A, 1), (B, 3)].into());
    assert_eq!(stores.committed().changelog_ids, ids);
    let (_, point) = stores.view().get_with_position(B, b"k").expect("an open view");
    assert_eq!(point.changelog_ids, ids);
}

#[test]
fn a_task_is_open_once_and_a_view_survives_it() {
    on_each_backend(|settings| {
        let mut stores = open(settings, &["a"]).expect("new stores");
        commit_one(&mut stores, A, b"k", b"1", 1);
        if settings.dir.is_some() {
            let error = open(settings, &["a"]).expect_err("open already");
            assert!(matches!(error, StateError::AlreadyOpen { owner: Owner::Task(TASK), .. }), "{error}");
        }
        let view = stores.view();
        stores.close().expect("a writable store");
        let closed = |error| matches!(error, StateError::Closed { owner: Owner::Task(TASK) });
        assert!(closed(view.get(A, b"k").expect_err("closed")));
        assert!(closed(view.get_with_position(A, b"k").expect_err("closed")));
        assert!(closed(view.scan(A, .., 1, 1).expect_err("closed")));
        assert!(closed(view.position().expect_err("closed")));
        drop(open(settings, &["a"]).expect("closed before"));
        open(settings, &["a"]).expect("dropped before");
    });
}

/// Readers on other threads run into commits and into the close: no answer mixes two commits, none fails but as closed, and
/// the stores can be opened again at once.
#[test]
fn views_answer_from_one_commit_until_the_close() {
    const READERS: usize = 2;
    const ANSWERS: usize = 5000;
    on_each_backend(|settings| {
        let mut stores = open(settings, &["a"]).expect("new stores");
        commit_one(&mut stores, A, b"k", b"v", 0);
        let (answers, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let readers = [(); READERS].map(|()| {
                let (view, answers, closed) = (stores.view(), &answers, &closed);
                scope.spawn(move || {
                    loop {
                        let was_closed = closed.load(Ordering::SeqCst);
                        if !answers_from_one_commit(&view) {
                            return;
                        }
                        assert!(!was_closed, "an answer after the close");
                        answers.fetch_add(1, Ordering::SeqCst);
                    }
                })
            });
            let mut at = 0;
            // A reader that has failed ends the test by its panic.
            while answers.load(Ordering::SeqCst) < ANSWERS && !readers.iter().any(|reader| reader.is_finished()) {
                at += 1;
                commit_one(&mut stores, A, b"k", b"v", at);
            }
            stores.close().expect("a writable store");
            closed.store(true, Ordering::SeqCst);
            let stores = open(settings, &["a"]).expect("closed before");
            if settings.dir.is_some() {
                assert_eq!(stores.committed(), &point(&[(A, at)], at));
            }
        });
    });
}

/// Reads in both ways; whether the view is still open.
fn answers_from_one_commit(view: &TaskView) -> bool {
    let (row, row_point) = match view.get_with_position(A, b"k") {
        Err(StateError::Closed { .. }) => return false,
        answer => answer.expect("only the close ends reads"),
    };
    let at = row.expect("never deleted").1;
    assert_eq!(row_point, point(&[(A, at)], at));
    let page = match view.scan(A, .., 10, 100) {
        Err(StateError::Closed { .. }) => return false,
        answer => answer.expect("only the close ends reads"),
    };
    let at = page.rows[0].timestamp_ms;
    assert_eq!(page.point, point(&[(A, at)], at));
    true
}

#[test]
fn pages_are_bounded_and_say_whether_more_follows() {
    on_each_backend(|settings| {
        let mut stores = open(settings, &["a"]).expect("new stores");
        for key in [b"a", b"b", b"c", b"d"] {
            commit_one(&mut stores, A, key, b"12345", 1);
        }
        let view = stores.view();
        let keys = |page: &Page| page.rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
        let by_rows = view.scan(A, .., 3, usize::MAX).expect("an open view");
        assert_eq!((keys(&by_rows), by_rows.more), (vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()], true));
        let by_bytes = view.scan(A, .., usize::MAX, 12).expect("an open view");
        assert_eq!((by_bytes.rows.len(), by_bytes.more), (2, true));
        let one_at_least = view.scan(A, .., 0, 0).expect("an open view");
        assert_eq!((one_at_least.rows.len(), one_at_least.more), (1, true));
        let last: &[u8] = b"c";
        let rest = view.scan(A, (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded), 3, usize::MAX);
        let rest = rest.expect("an open view");
        assert_eq!((keys(&rest), rest.more), (vec![b"d".to_vec()], false));
        let none = view.scan(A, last..last, 3, usize::MAX).expect("an empty range is no error");
        assert!(none.rows.is_empty() && !none.more);
    });
}

#[test]
fn a_database_that_cannot_be_made_is_named_and_nothing_is_moved() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let in_the_way = settings.dir.as_ref().expect("on disk").task_dir(TASK);
    fs::write(&in_the_way, "a file").expect("a writable directory");
    let error = open(&settings, &["a"]).expect_err("there is a file in its place");
    assert!(error.to_string().contains(in_the_way.to_str().expect("UTF-8")) && !error.is_damage(), "{error}");
    assert!(in_the_way.exists());
}

#[test]
fn idle_tasks_give_their_write_buffers_to_a_busy_one() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = StateSettings { memory: MemoryBudget::new(168 << 20), ..on_disk(state_dir.path()) };
    let open = |partition| {
        let stores = TaskStores::open(&settings, TaskId::new(0, partition), [spec("a", true)].into());
        stores.expect("new stores")
    };
    let tables = |stores: &TaskStores| stores.backend().rocks().expect("on disk").tables();
    let idle: Vec<_> = (1..=8)
        .map(|partition| {
            let mut stores = open(partition);
            for number in 0..1800_u64 {
                stores.write(A, &number.to_be_bytes(), Some(&[7; 1000]), 1);
            }
            freeze(&mut stores);
            stores.commit(&point(&[(A, 1)], 1)).expect("a writable store");
            stores
        })
        .collect();
    let mut busy = open(0);
    for at in 0..100 {
        commit_one(&mut busy, A, b"k", b"v", at);
    }
    assert_eq!(tables(&busy), 0, "it holds next to nothing");
    drop(idle);
}

#[test]
fn rows_on_disk_are_brought_to_hand_where_they_have_room() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let key = |number: u64| number.to_be_bytes();
    let mut stores = open(&settings, &["a", "b"]).expect("new stores");
    for number in 0..1000 {
        stores.write(A, &key(number), Some(&[1; 100]), 5);
    }
    stores.write(A, &key(7), None, 6);
    freeze(&mut stores);
    stores.commit(&point(&[(A, 1)], 1)).expect("a writable store");
    stores.close().expect("a writable store");

    let mut stores = open(&settings, &["a", "b"]).expect("the stores of before");
    assert!(stores.warm_up(600).expect("a readable store"), "there are more");
    let half = stores.held_bytes();
    stores.write(A, &key(900), Some(b"new"), 9);
    assert!(!stores.warm_up(600).expect("a readable store"), "that was all");
    assert!(half > 600 * 100 && stores.held_bytes() > half + 300 * 100, "{half}, {}", stores.held_bytes());
    assert_eq!(read(&mut stores, A, &key(900)), Some((b"new".to_vec(), 9)));
    assert_eq!(read(&mut stores, A, &key(999)), Some((vec![1; 100], 5)));
    assert_eq!(read(&mut stores, A, &key(7)), None);
    stores.discard();
    assert!(stores.held_bytes() > half + 300 * 100, "committed rows stay: {}", stores.held_bytes());
    assert_eq!(read(&mut stores, A, &key(900)), Some((vec![1; 100], 5)));
    stores.close().expect("a writable store");

    let small = StateSettings { memory: MemoryBudget::new(0), ..settings };
    let mut stores = open(&small, &["a", "b"]).expect("the stores of before");
    let large = vec![1; 4 << 20];
    stores.write(B, b"large", Some(&large), 1);
    freeze(&mut stores);
    stores.commit(&point(&[(B, 1)], 2)).expect("a writable store");
    stores.close().expect("a writable store");
    let mut stores = open(&small, &["b"]).expect("the stores of before");
    assert!(!stores.warm_up(10).expect("a readable store"));
    assert!(stores.held_bytes() < large.len() / 2, "{}", stores.held_bytes());
}

#[test]
fn who_follows_leaves_the_memory_for_rows_to_who_processes() {
    let (one_dir, other_dir) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let settings = on_disk(one_dir.path());
    let share = || settings.memory.rows_share();
    let mut one = open(&settings, &["a"]).expect("new stores");
    let alone = share();
    let other = StateSettings { dir: on_disk(other_dir.path()).dir, memory: settings.memory.clone() };
    let other = open(&other, &["a"]).expect("new stores");
    assert_eq!(share(), alone / 2);
    commit_one(&mut one, A, b"k", &[1; 1000], 1);
    assert!(one.held_bytes() > 1000);
    one.write(A, b"k", Some(b"uncommitted"), 2);
    one.set_follows(true);
    assert!(one.held_bytes() < 1000, "{} bytes at hand", one.held_bytes());
    assert!((alone / 8 * 6..alone).contains(&share()), "{} of {alone}", share());
    let source = TopicPartition::new("app-a-changelog", TASK.partition);
    one.gather(A, &batch(source, &[(Some(b"k"), Some(b"followed"), 3)]), 9).expect("a writable store");
    one.apply_gathered().expect("a writable store");
    one.set_follows(false);
    assert_eq!(share(), alone / 2);
    assert_eq!(read(&mut one, A, b"k"), Some((b"followed".to_vec(), 3)));
    one.set_follows(true);
    drop(one);
    assert_eq!(share(), alone / 2, "as of the last open");
    drop(other);
}

/// However it is damaged: at the open, or in a table that is read later.
#[test]
fn a_damaged_database_is_told_or_moved_aside() {
    let damage = |pattern: &str| {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let settings = on_disk(state_dir.path());
        let mut stores = open(&settings, &["a"]).expect("new stores");
        commit_one(&mut stores, A, b"k", b"v", 1);
        stores.close().expect("a writable store");
        let dir = settings.dir.clone().expect("on disk");
        let files = fs::read_dir(dir.task_dir(TASK).join("rocksdb"))
            .expect("a database")
            .map(|file| file.expect("a file").path());
        let hit: Vec<_> = files.filter(|path| path.to_string_lossy().contains(pattern)).collect();
        assert!(!hit.is_empty(), "no {pattern}");
        for path in hit {
            let mut bytes = fs::read(&path).expect("a readable file");
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(&path, bytes).expect("a writable file");
        }
        (state_dir, settings)
    };

    let (state_dir, settings) = damage("MANIFEST");
    let mut stores = open(&settings, &["a"]).expect("anew");
    assert_eq!(stores.committed(), &CommitPoint::default());
    assert_eq!(read(&mut stores, A, b"k"), None);
    assert!(state_dir.path().join("app/damaged").join(TASK.to_string()).join("rocksdb").exists());
    commit_one(&mut stores, A, b"k", b"v", 1);

    let (_state_dir, settings) = damage(".sst");
    let error = match open(&settings, &["a"]) {
        Ok(mut stores) if stores.committed() != &CommitPoint::default() => {
            stores.read(A, b"k", |_| ()).expect_err("damaged")
        }
        // Found at the open, and begun anew.
        Ok(_) => return,
        Err(error) => error,
    };
    assert!(error.is_damage(), "{error}");
}

#[test]
fn the_owner_hears_of_damage_that_only_a_query_meets() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut stores = open(&settings, &["a"]).expect("new stores");
    commit_one(&mut stores, A, b"k", b"v", 1);
    stores.flush().expect("a writable store");
    stores.check().expect("whole");
    let dir = settings.dir.as_ref().expect("on disk").task_dir(TASK).join("rocksdb");
    for file in fs::read_dir(dir).expect("a database").map(|file| file.expect("a file").path()) {
        if file.extension().is_some_and(|extension| extension == "sst") {
            let bytes = fs::read(&file).expect("a readable file").len();
            fs::write(&file, vec![0x55; bytes]).expect("a writable file");
        }
    }
    assert!(read(&mut stores, A, b"k").is_some(), "it is at hand");
    let error = stores.view().get(A, b"k").expect_err("damaged");
    assert!(error.is_damage(), "{error}");
    assert!(stores.check().expect_err("told").is_damage());
}

/// State that others use cannot be closed when its damage is found.
#[test]
fn what_is_condemned_while_it_is_open_is_begun_anew_by_the_next_open() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    for condemns in [true, false] {
        let mut stores = TaskStores::open_global(&settings, [spec("a", true)].into()).expect("whole or anew");
        assert_eq!(stores.committed(), &CommitPoint::default(), "anew");
        commit_one(&mut stores, A, b"k", b"v", 1);
        if condemns {
            stores.condemn().expect("a writable directory");
            settings.dir.as_ref().expect("on disk").condemn(Owner::Global).expect("twice does no harm");
        }
        stores.close().expect("a writable store");
    }
    let mut stores = TaskStores::open_global(&settings, [spec("a", true)].into()).expect("whole");
    assert_eq!(read(&mut stores, A, b"k"), Some((b"v".to_vec(), 1)));
    assert!(state_dir.path().join("app/damaged/global/rocksdb").exists());
}

#[test]
fn a_stateless_task_leaves_no_directory() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut stores = open(&settings, &[]).expect("no stores");
    freeze(&mut stores);
    stores.commit(&point(&[], 1)).expect("nothing to write");
    stores.close().expect("nothing to flush");
    assert_eq!(settings.dir.expect("on disk").tasks().expect("a readable directory"), []);
}

#[test]
#[should_panic(expected = "at most one commit is in flight")]
fn only_one_interval_is_frozen() {
    let mut stores = open(&StateSettings::default(), &["a"]).expect("new stores");
    stores.write(A, b"k", Some(b"1"), 1);
    freeze(&mut stores);
    freeze(&mut stores);
}

#[test]
fn a_view_is_for_all_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<TaskView>();
    shared::<StateSettings>();
}
