//! Versioned stores against a model, under any sequence of operations.

use std::{collections::BTreeMap, convert::Infallible, ops::ControlFlow};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Times are multiples of this, so that some are in other buckets and segments than others.
const TICK_MS: i64 = 10_000;
const HISTORY_TICKS: i64 = 20;
const LAST_TICK: i64 = 70;
/// Some begin with others; the last lies between versions of the first on disk.
const KEYS: [&[u8]; 4] = [b"a", b"", b"ab", b"a\x80\0\0\0\0\x04\x93\xe0"];

type Key = usize;
type Value = Option<u8>;
type At = (u8, i64);

#[derive(Debug, Clone)]
enum Op {
    Put {
        key: Key,
        value: Value,
        tick: i64,
    },
    /// A read by the task.
    Get {
        key: Key,
        tick: i64,
    },
    Commit,
    Discard,
    /// Brings so many rows to hand.
    WarmUp(usize),
    /// Closes and opens.
    Reopen,
    /// Loses all state, and restores it from the log, in batches of so many records.
    Restore(usize),
}

/// From a time on there is this value or none; and whether a version is known to end just there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    value: Value,
    is_end: bool,
}

/// Values by the times from which on they are valid.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    marks: [BTreeMap<i64, Mark>; KEYS.len()],
    observed_ms: Option<i64>,
}

struct Subject {
    stores: Option<TaskStores>,
    settings: StateSettings,
    /// Dropped behind them.
    _dir: Option<TempDir>,
    /// What was logged and committed; and what only was logged.
    log: Vec<(Key, Value, i64)>,
    offset: i64,
}

fn keys() -> impl Strategy<Value = Key> {
    0..KEYS.len()
}

fn ops(restarts: u32) -> impl Strategy<Value = Vec<Op>> {
    let values = || prop_oneof![2 => Just(None), 3 => any::<u8>().prop_map(Some)];
    // Many are close to each other, so that they meet.
    let ticks = || prop_oneof![2 => 0..LAST_TICK, 3 => 25..35_i64];
    let op = prop_oneof![
        60 => (keys(), values(), ticks()).prop_map(|(key, value, tick)| Op::Put { key, value, tick }),
        20 => (keys(), ticks()).prop_map(|(key, tick)| Op::Get { key, tick }),
        10 => Just(Op::Commit),
        2 => Just(Op::Discard),
        2 => (1..9usize).prop_map(Op::WarmUp),
        restarts => Just(Op::Reopen),
        2 => (1..9usize).prop_map(Op::Restore),
    ];
    prop::collection::vec(op, 1..40)
}

// === impl Model ===

impl Model {
    fn known_from_ms(&self) -> i64 {
        self.observed_ms.unwrap_or(-1) - HISTORY_TICKS * TICK_MS
    }

    fn put(&mut self, key: Key, value: Value, at: i64) -> Written {
        self.observed_ms = self.observed_ms.max(Some(at));
        if at < self.known_from_ms() {
            return Written::Refused;
        }
        let marks = &mut self.marks[key];
        let before = marks.range(..at).next_back().map(|(_, mark)| *mark);
        let ends_one = before.is_some_and(|before| before.value.is_some());
        if let Some((valid_to_ms, next)) = marks.range_mut(at + 1..).next() {
            let valid_to_ms = *valid_to_ms;
            next.is_end = true;
            let mark = marks.entry(at).or_insert(Mark { value, is_end: ends_one });
            mark.value = value;
            return Written::OutOfOrder { valid_to_ms };
        }
        match (marks.get_mut(&at), value) {
            (None, value) => {
                marks.insert(at, Mark { value, is_end: ends_one || value.is_none() });
            }
            // The tombstone leaves a trace only where something ends.
            (Some(mark), None) if mark.value.is_some() && !mark.is_end => {
                marks.remove(&at);
            }
            (Some(mark), value) => {
                mark.is_end |= mark.value.is_none();
                mark.value = value;
            }
        }
        Written::Latest
    }

    fn latest(&self, key: Key) -> Option<At> {
        let (at, mark) = self.marks[key].iter().next_back()?;
        mark.value.map(|value| (value, *at))
    }

    fn as_of(&self, key: Key, time_ms: i64) -> Option<At> {
        if let Some(latest) = self.latest(key).filter(|(_, at)| *at <= time_ms) {
            return Some(latest);
        }
        if time_ms < self.known_from_ms() {
            return None;
        }
        let (at, mark) = self.marks[key].range(..=time_ms).next_back()?;
        mark.value.map(|value| (value, *at))
    }

    /// The versions that can be read: value, since when, up to when.
    fn versions(&self, key: Key) -> Vec<(u8, i64, Option<i64>)> {
        let ends = self.marks[key].keys().skip(1).map(|end| Some(*end)).chain([None]);
        let all = self.marks[key].iter().zip(ends);
        let readable = all.filter(|(_, end)| end.is_none_or(|end| end > self.known_from_ms()));
        readable.filter_map(|((from, mark), end)| Some((mark.value?, *from, end))).collect()
    }
}

// === impl Subject ===

impl Subject {
    fn new(on_disk: bool) -> Self {
        let dir = on_disk.then(|| tempfile::tempdir().expect("a temporary directory"));
        let settings = dir.as_ref().map_or_else(StateSettings::default, |dir| super::on_disk(dir.path()));
        let mut subject = Self { stores: None, settings, _dir: dir, log: Vec::new(), offset: 0 };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let retention = Retention::new(HISTORY_TICKS * TICK_MS).in_buckets(30_000);
        let spec = StoreSpec { kind: StoreKind::Versioned(retention), ..spec("versions", true) };
        self.stores = Some(TaskStores::open(&self.settings, TASK, [spec].into()).expect("closed before"));
    }

    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().expect("open between operations")
    }

    fn commit(&mut self) {
        let stores = self.stores.as_mut().expect("open between operations");
        let log = &mut self.log;
        let Ok(()) = stores.freeze(|dirty| {
            let key = KEYS.iter().position(|key| *key == dirty.key).expect("a key that was written");
            log.push((key, dirty.value.map(|value| value[0]), dirty.timestamp_ms));
            Ok::<_, Infallible>(())
        });
        self.offset = i64::try_from(log.len()).expect("few");
        stores.commit(&point(&[(A, self.offset)], self.offset)).expect("a writable store");
    }

    fn restore(&mut self, records: usize) {
        self.stores = None;
        *self = Self { log: std::mem::take(&mut self.log), ..Self::new(self.settings.dir.is_some()) };
        let log = self.log.clone();
        for part in log.chunks(records) {
            let values: Vec<_> = part.iter().map(|(_, value, _)| value.map(|value| vec![value])).collect();
            let part = part.iter().zip(&values);
            let refs: Vec<Rec<'_>> =
                part.map(|((key, _, at), value)| (Some(KEYS[*key]), value.as_deref(), *at)).collect();
            let batch = batch(TopicPartition::new("changelog", TASK.partition), &refs);
            self.offset += i64::try_from(refs.len()).expect("few");
            let offset = self.offset;
            self.stores().restore(A, &batch, offset).expect("a writable store");
        }
    }
}

fn at(row: Option<Row<'_>>) -> Option<At> {
    row.map(|row| (row.value[0], row.timestamp_ms))
}

fn run(on_disk: bool, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let (mut subject, mut model, mut committed) = (Subject::new(on_disk), Model::default(), Model::default());
    for op in ops {
        match op {
            Op::Put { key, value, tick } => {
                let value_bytes = value.map(|value| [value]);
                let value_bytes = value_bytes.as_ref().map(<[u8; 1]>::as_slice);
                let at = tick * TICK_MS;
                let written = subject.stores().write_version(A, KEYS[key], value_bytes, at).expect("a store");
                prop_assert_eq!(written, model.put(key, value, at));
            }
            Op::Get { key, tick } => {
                let time_ms = tick * TICK_MS;
                let found = subject.stores().read_as_of(A, KEYS[key], time_ms, at).expect("a readable store");
                prop_assert_eq!(found, model.as_of(key, time_ms), "{} as of {}", key, time_ms);
            }
            Op::Commit => {
                subject.commit();
                committed.clone_from(&model);
            }
            Op::Discard => {
                subject.stores().discard();
                model.clone_from(&committed);
            }
            Op::WarmUp(rows) => {
                subject.stores().warm_up(rows).expect("a readable store");
            }
            Op::Reopen => {
                subject.stores.take().expect("open").close().expect("a writable store");
                subject.open();
                if !on_disk {
                    subject.restore(100);
                }
                model.clone_from(&committed);
            }
            Op::Restore(records) => {
                subject.restore(records);
                model.clone_from(&committed);
            }
        }
    }
    check(subject.stores(), &model, &committed)
}

/// Compares everything that can be read.
fn check(stores: &mut TaskStores, model: &Model, committed: &Model) -> Result<(), TestCaseError> {
    let view = stores.view();
    let mut all = Vec::new();
    for (key, bytes) in KEYS.into_iter().enumerate() {
        prop_assert_eq!(stores.read_latest(A, bytes, at).expect("a readable store"), model.latest(key));
        let latest = view.get(A, bytes).expect("an open view").map(|(value, at)| (value[0], at));
        prop_assert_eq!(latest, committed.latest(key));
        let mut versions = Vec::new();
        let each = |version: Version<'_>| {
            versions.push((version.value[0], version.valid_from_ms, version.valid_to_ms));
            ControlFlow::Continue(())
        };
        stores.scan_versions(A, bytes, i64::MIN, each).expect("a readable store");
        prop_assert_eq!(versions, model.versions(key), "versions of {}", key);
        all.extend(committed.versions(key).into_iter().map(|(value, from, to)| (bytes.to_vec(), from, to, value)));
        for time_ms in (-1..=LAST_TICK).map(|tick| tick * TICK_MS) {
            let found = stores.read_as_of(A, bytes, time_ms, at).expect("a readable store");
            prop_assert_eq!(found, model.as_of(key, time_ms), "{} as of {}", key, time_ms);
            let (found, point) = view.get_as_of(A, bytes, time_ms).expect("an open view");
            let found = found.map(|(value, at)| (value[0], at));
            prop_assert_eq!(found, committed.as_of(key, time_ms), "{} as of {}, committed", key, time_ms);
            prop_assert_eq!(&point, stores.committed());
        }
    }
    let found = view.all_versions(A).expect("an open view");
    let found = found.into_iter().map(|found| (found.key, found.valid_from_ms, found.valid_to_ms, found.value[0]));
    let mut found: Vec<_> = found.collect();
    found.sort();
    all.sort();
    prop_assert_eq!(found, all);
    Ok(())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn versions_in_memory_equal_the_model(ops in ops(1)) {
        run(false, ops)?;
    }
}

proptest! {
    // Opening and closing databases takes most of the time.
    #![proptest_config(cases(24))]

    #[test]
    fn versions_on_disk_equal_the_model(ops in ops(3)) {
        run(true, ops)?;
    }
}

fn versions(retention: Retention, settings: &StateSettings) -> TaskStores {
    let spec = StoreSpec { kind: StoreKind::Versioned(retention), ..spec("versions", true) };
    TaskStores::open(settings, TASK, [spec].into()).expect("new stores")
}

/// Key, value, time.
type Update<'u> = (&'u [u8], Option<&'u [u8]>, i64);

#[test]
fn each_update_is_logged_in_its_order() {
    let mut stores = versions(Retention::new(100), &StateSettings::default());
    let updates: [Update<'_>; 5] = [
        (b"k", Some(b"1"), 50),
        (b"a", Some(b"2"), 200),
        (b"k", None, 150),
        (b"k", Some(b"4"), 150),
        (b"k", Some(b"5"), 1),
    ];
    for (key, value, at) in updates {
        let _ = stores.write_version(A, key, value, at).expect("a readable store");
    }
    let mut logged = Vec::new();
    let Ok(()) = stores.freeze(|Dirty { key, value, timestamp_ms, .. }| {
        logged.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp_ms));
        Ok::<_, Infallible>(())
    });
    // The last one was refused: Kafka Streams logs such, too.
    assert_eq!(logged, updates.map(|(key, value, at)| (key.to_vec(), value.map(<[u8]>::to_vec), at)));
    stores.discard();
    assert_eq!(stores.uncommitted_bytes(), 0);
}

#[test]
fn old_versions_do_not_pile_up_on_disk() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let mut stores = versions(Retention::new(120_000), &on_disk(state_dir.path()));
    let updates = |stores: &mut TaskStores, minutes: std::ops::Range<i64>| {
        for minute in minutes {
            for key in 0..100_u32 {
                let _ = stores.write_version(A, &key.to_be_bytes(), Some(&[7; 100]), minute * 60_000).expect("a store");
            }
            freeze(stores);
            stores.commit(&point(&[(A, minute)], minute)).expect("a writable store");
            stores.flush().expect("a writable store");
        }
    };
    updates(&mut stores, 0..100);
    let rows = stores.backend().rocks().expect("on disk").rows_on_disk(A);
    assert!(rows < 2000, "{rows} rows for 100 keys of 3 versions each");
    let versions = stores.view().all_versions(A).expect("an open view").len();
    assert_eq!(versions, 100 * 3);
}

/// Times are in the keys of past versions, so that the order of negative ones must be right, too.
#[test]
fn versions_may_be_older_than_the_epoch() {
    on_each_backend(|settings| {
        let mut stores = versions(Retention::new(1000), settings);
        for at in [-700, -200, 300] {
            let value = at.to_string();
            let written = stores.write_version(A, b"k", Some(value.as_bytes()), at).expect("a store");
            assert_eq!(written, Written::Latest);
        }
        freeze(&mut stores);
        stores.commit(&point(&[(A, 1)], 1)).expect("a writable store");
        let mut as_of = |at| stores.read_as_of(A, b"k", at, |row| row.map(|row| row.timestamp_ms)).expect("a store");
        assert_eq!(
            [-701, -700, -201, -200, 299, 300].map(&mut as_of),
            [None, Some(-700), Some(-700), Some(-200), Some(-200), Some(300)]
        );
    });
}
