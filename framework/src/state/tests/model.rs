//! Task stores against a model, under any sequence of operations.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::{Bound, ControlFlow},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

type Key = Vec<u8>;
type Value = (Vec<u8>, i64);
type Rows = [BTreeMap<Key, Value>; 2];
/// Uncommitted writes; a deletion has a timestamp too.
type Writes = BTreeMap<(usize, Key), (Option<Vec<u8>>, i64)>;

#[derive(Debug, Clone)]
enum Op {
    Write {
        store: usize,
        key: Key,
        value: Option<Vec<u8>>,
        timestamp_ms: i64,
    },
    Scan {
        store: usize,
        bounds: (Bound<Key>, Bound<Key>),
        backward: bool,
        take: usize,
    },
    Freeze,
    Commit,
    Discard,
    /// Brings so many rows to hand.
    WarmUp(usize),
    Restore {
        store: usize,
        records: Vec<(Key, Option<Vec<u8>>, i64)>,
    },
    Flush,
    /// Closes and opens.
    Reopen,
    /// Drops without a close and opens.
    Drop,
    /// Goes on with what a killed process would have left.
    Crash,
}

/// Which stores are on disk.
#[derive(Debug, Clone, Copy)]
enum Setup {
    Disk,
    Memory,
    /// The first on disk, the second in memory.
    Mixed,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Committed {
    rows: Rows,
    point: CommitPoint,
}

/// What the stores should hold.
#[derive(Debug, Default)]
struct Model {
    live: Writes,
    frozen: Writes,
    /// An interval waits for its commit; it may have no writes.
    is_frozen: bool,
    committed: Committed,
    /// What was committed, since the state at the last flush, which is the first.
    since_flush: Vec<Committed>,
    /// Makes every point different from all others.
    offset: i64,
}

/// The stores under test.
struct Subject {
    setup: Setup,
    // Dropped in this order: a database whose directory is gone waits a second at its close.
    stores: Option<TaskStores>,
    settings: StateSettings,
    /// Its database is that of the last crash or of the beginning.
    state_dir: TempDir,
}

fn keys() -> impl Strategy<Value = Key> {
    // Few, so that operations meet; some are prefixes of others.
    prop::collection::vec(prop::sample::select(vec![0, 1, 0xff]), 0..3)
}

fn bounds() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![Just(Bound::Unbounded), keys().prop_map(Bound::Included), keys().prop_map(Bound::Excluded)]
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![1 => Just(None), 3 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let store = || 0..2usize;
    let op = prop_oneof![
        40 => (store(), keys(), values(), any::<i64>())
            .prop_map(|(store, key, value, timestamp_ms)| Op::Write { store, key, value, timestamp_ms }),
        20 => (store(), (bounds(), bounds()), any::<bool>(), 1..10usize)
            .prop_map(|(store, bounds, backward, take)| Op::Scan { store, bounds, backward, take }),
        10 => Just(Op::Freeze),
        10 => Just(Op::Commit),
        2 => Just(Op::Discard),
        4 => (1..4usize).prop_map(Op::WarmUp),
        4 => (store(), prop::collection::vec((keys(), values(), any::<i64>()), 0..6))
            .prop_map(|(store, records)| Op::Restore { store, records }),
        3 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        1 => Just(Op::Drop),
        2 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..80)
}

// === impl Setup ===

impl Setup {
    fn on_disk(self, store: usize) -> bool {
        match self {
            Self::Disk => true,
            Self::Memory => false,
            Self::Mixed => store == 0,
        }
    }
}

// === impl Model ===

impl Model {
    fn new() -> Self {
        Self { since_flush: vec![Committed::default()], ..Self::default() }
    }

    /// The rows as the task sees them.
    fn seen(&self, store: usize) -> BTreeMap<Key, Value> {
        let mut rows = self.committed.rows[store].clone();
        for writes in [&self.frozen, &self.live] {
            for ((of, key), (value, timestamp_ms)) in writes {
                if *of == store {
                    match value {
                        Some(value) => rows.insert(key.clone(), (value.clone(), *timestamp_ms)),
                        None => rows.remove(key),
                    };
                }
            }
        }
        rows
    }

    fn next_offset(&mut self) -> i64 {
        self.offset += 1;
        self.offset
    }

    fn commit(&mut self, point: &CommitPoint) {
        self.is_frozen = false;
        for ((store, key), (value, timestamp_ms)) in std::mem::take(&mut self.frozen) {
            self.set(store, key, value, timestamp_ms);
        }
        self.committed.point.changelog_offsets.extend(point.changelog_offsets.clone());
        self.committed.point.positions.extend(point.positions.clone());
        self.since_flush.push(self.committed.clone());
    }

    fn restore(&mut self, store: usize, records: &[(Key, Option<Vec<u8>>, i64)], next_offset: i64) {
        for (key, value, timestamp_ms) in records {
            self.set(store, key.clone(), value.clone(), *timestamp_ms);
        }
        self.committed.point.changelog_offsets.insert(StoreId::new(store), next_offset);
        self.since_flush.push(self.committed.clone());
    }

    fn set(&mut self, store: usize, key: Key, value: Option<Vec<u8>>, timestamp_ms: i64) {
        match value {
            Some(value) => self.committed.rows[store].insert(key, (value, timestamp_ms)),
            None => self.committed.rows[store].remove(&key),
        };
    }

    fn flushed(&mut self) {
        self.since_flush = vec![self.committed.clone()];
    }

    /// The process has gone; on disk is `left`.
    fn restarted(&mut self, setup: Setup, left: Committed) {
        self.live.clear();
        self.frozen.clear();
        self.is_frozen = false;
        self.committed = survivor(setup, left);
        self.flushed();
    }
}

/// What is found again of a commit: of stores in memory neither rows nor offsets.
fn survivor(setup: Setup, mut committed: Committed) -> Committed {
    if matches!(setup, Setup::Memory) {
        return Committed::default();
    }
    for store in (0..2).filter(|store| !setup.on_disk(*store)) {
        committed.rows[store].clear();
        committed.point.changelog_offsets.remove(&StoreId::new(store));
    }
    committed
}

// === impl Subject ===

impl Subject {
    fn new(setup: Setup) -> Self {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let settings = match setup {
            Setup::Memory => StateSettings::default(),
            Setup::Disk | Setup::Mixed => on_disk(state_dir.path()),
        };
        let mut subject = Self { setup, state_dir, settings, stores: None };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let specs = [spec("a", self.setup.on_disk(0)), spec("b", self.setup.on_disk(1))];
        self.stores = Some(TaskStores::open(&self.settings, TASK, specs.into()).expect("closed before"));
    }

    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().expect("open between operations")
    }

    fn crash(&mut self) {
        let stores = self.stores.take().expect("open between operations");
        let copy = stores.backend().rocks().map(|rocks| {
            let state_dir = tempfile::tempdir().expect("a temporary directory");
            let settings = on_disk(state_dir.path());
            let task_dir = settings.dir.as_ref().expect("on disk").task_dir(TASK);
            fs::create_dir(&task_dir).expect("a writable directory");
            rocks.copy_as_after_a_crash(&task_dir.join("rocksdb"));
            (settings, state_dir)
        });
        drop(stores);
        if let Some((settings, state_dir)) = copy {
            (self.settings, self.state_dir) = (settings, state_dir);
        }
        self.open();
    }
}

fn run(setup: Setup, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut subject = Subject::new(setup);
    let mut model = Model::new();
    for op in ops {
        apply(&mut subject, &mut model, op)?;
        check(subject.stores(), &model)?;
    }
    Ok(())
}

fn apply(subject: &mut Subject, model: &mut Model, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Write { store, key, value, timestamp_ms } => {
            subject.stores().write(StoreId::new(store), &key, value.as_deref(), timestamp_ms);
            model.live.insert((store, key), (value, timestamp_ms));
        }
        Op::Scan { store, bounds, backward, take } => {
            let direction = if backward { Direction::Backward } else { Direction::Forward };
            let found = scan(subject.stores(), store, &bounds, direction, take);
            let mut rows: Vec<_> = model.seen(store).into_iter().filter(|(key, _)| contains(&bounds, key)).collect();
            if backward {
                rows.reverse();
            }
            rows.truncate(take);
            prop_assert_eq!(found, rows);
        }
        Op::Freeze => {
            if !model.is_frozen {
                let mut handed_out = Writes::new();
                let Ok(()) = subject.stores().freeze(|dirty| {
                    let key = (dirty.store.index(), dirty.key.to_vec());
                    handed_out.insert(key, (dirty.value.map(<[u8]>::to_vec), dirty.timestamp_ms));
                    Ok::<_, Infallible>(())
                });
                prop_assert_eq!(&handed_out, &model.live);
                std::mem::swap(&mut model.live, &mut model.frozen);
                model.is_frozen = true;
            }
        }
        Op::Commit => {
            let offset = model.next_offset();
            // Every other commit tells no changelog offset of the second store.
            let changelogs = [(A, offset), (B, -offset)];
            let point = point(&changelogs[..1 + usize::from(offset % 2 == 0)], offset);
            subject.stores().commit(&point).expect("a writable store");
            model.commit(&point);
        }
        Op::Discard => {
            subject.stores().discard();
            model.live.clear();
            model.frozen.clear();
            model.is_frozen = false;
        }
        Op::WarmUp(rows) => {
            subject.stores().warm_up(rows).expect("a readable store");
        }
        Op::Restore { store, records } => {
            let next_offset = model.next_offset();
            let refs: Vec<Rec<'_>> =
                records.iter().map(|(key, value, at)| (Some(&**key), value.as_deref(), *at)).collect();
            let batch = batch(TopicPartition::new("changelog", TASK.partition), &refs);
            subject.stores().restore(StoreId::new(store), &batch, next_offset).expect("a writable store");
            model.restore(store, &records, next_offset);
        }
        Op::Flush => {
            subject.stores().flush().expect("a writable store");
            model.flushed();
        }
        Op::Reopen => {
            subject.stores.take().expect("open").close().expect("a writable store");
            subject.open();
            model.restarted(subject.setup, model.committed.clone());
        }
        Op::Drop => {
            subject.stores = None;
            subject.open();
            model.restarted(subject.setup, model.committed.clone());
        }
        Op::Crash => {
            subject.crash();
            let setup = subject.setup;
            let point = subject.stores().committed().clone();
            let left = model.since_flush.iter().find(|left| survivor(setup, (*left).clone()).point == point).cloned();
            prop_assert!(left.is_some(), "{:?} is no commit since the last flush", point);
            model.restarted(setup, left.expect("just checked"));
        }
    }
    Ok(())
}

/// Compares everything that can be read.
fn check(stores: &mut TaskStores, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(stores.committed(), &model.committed.point);
    let idle = model.live.is_empty() && model.frozen.is_empty();
    prop_assert_eq!(stores.uncommitted_bytes() == 0, idle);
    let view = stores.view();
    prop_assert_eq!(&view.position().expect("an open view"), &model.committed.point);
    for store in 0..2 {
        let id = StoreId::new(store);
        let seen = model.seen(store);
        let committed = &model.committed.rows[store];
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let found = scan(stores, store, &everything, Direction::Forward, usize::MAX);
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), seen.clone());
        let page = view.scan(id, .., usize::MAX, usize::MAX).expect("an open view");
        let found: BTreeMap<_, _> = page.rows.into_iter().map(|row| (row.key, (row.value, row.timestamp_ms))).collect();
        prop_assert_eq!(&found, committed);
        for key in seen.keys().chain(committed.keys()) {
            prop_assert_eq!(read(stores, id, key), seen.get(key).cloned());
            prop_assert_eq!(&view.get(id, key).expect("an open view"), &committed.get(key).cloned());
            let (row, point) = view.get_with_position(id, key).expect("an open view");
            prop_assert_eq!(&row, &committed.get(key).cloned());
            prop_assert_eq!(&point.positions, &model.committed.point.positions);
        }
    }
    Ok(())
}

fn scan(
    stores: &mut TaskStores,
    store: usize,
    (start, end): &(Bound<Key>, Bound<Key>),
    direction: Direction,
    take: usize,
) -> Vec<(Key, Value)> {
    let mut rows = Vec::new();
    let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
    let add = |key: &[u8], row: Row<'_>| {
        rows.push((key.to_vec(), (row.value.to_vec(), row.timestamp_ms)));
        if rows.len() < take { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    stores.scan(StoreId::new(store), bounds, direction, add).expect("a readable store");
    rows
}

fn contains((start, end): &(Bound<Key>, Bound<Key>), key: &Key) -> bool {
    (match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= start,
        Bound::Excluded(start) => key > start,
    }) && match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(256))]
    #[test]
    fn stores_in_memory_equal_the_model(ops in ops()) {
        run(Setup::Memory, ops)?;
    }
}

proptest! {
    // Opening and closing databases takes most of the time.
    #![proptest_config(cases(24))]

    #[test]
    fn stores_on_disk_equal_the_model(ops in ops()) {
        run(Setup::Disk, ops)?;
    }

    #[test]
    fn stores_on_disk_and_in_memory_equal_the_model(ops in ops()) {
        run(Setup::Mixed, ops)?;
    }
}
