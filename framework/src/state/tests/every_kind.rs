//! Every kind of store, on disk and in memory side by side, against naive models: thousands of small cases, one after the other.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeBounds, RangeInclusive},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;

const CASES: usize = 10_000;
const RETENTION_MS: i64 = 200_000;
const LRU_ENTRIES: u32 = 3;

/// Key, start and end; the key alone where rows belong to no time.
type Id = (Vec<u8>, i64, i64);
type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);
type Record = (Vec<u8>, Option<Vec<u8>>, i64);

#[derive(Debug, Clone)]
enum Op {
    Write(Id, Option<Vec<u8>>),
    Read(Id),
    /// Of a key, when there is one, and of a range of keys else.
    Scan(Option<Vec<u8>>, Keys, RangeInclusive<i64>, bool),
    Commit,
    Discard,
    /// Closes and opens; what is not on disk comes from the changelogs.
    Restart,
}

/// What a store should hold.
#[derive(Debug, Clone, Default)]
struct Model {
    rows: BTreeMap<Id, Vec<u8>>,
    stream_time: i64,
    /// The keys of a bounded map, by their last use.
    uses: Vec<Vec<u8>>,
}

struct Subject {
    settings: StateSettings,
    stores: Option<TaskStores>,
    specs: Arc<[StoreSpec]>,
    live: Vec<Model>,
    committed: Vec<Model>,
    changelogs: Vec<Vec<Record>>,
    /// Moves on, so that rows expire.
    now: i64,
    // Dropped last: a database whose directory is gone waits a second at its close.
    _state_dir: tempfile::TempDir,
}

fn kinds() -> [StoreKind; 6] {
    let retention = Retention::new(RETENTION_MS);
    [
        StoreKind::KeyValue,
        StoreKind::TimestampedKeyValue,
        StoreKind::Window(retention),
        StoreKind::TimestampedWindow(retention),
        StoreKind::Session(retention),
        StoreKind::LruMap(LRU_ENTRIES),
    ]
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    // Few, so that operations meet; some are prefixes of others, also together with the times behind them.
    let few = vec![vec![], vec![0], vec![0, 0], b"k".to_vec(), [b"k".as_slice(), &[0; 8]].concat(), vec![0xff]];
    prop::sample::select(few)
}

fn times() -> impl Strategy<Value = i64> {
    (0..40i64).prop_map(|n| n * 10_000)
}

fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let id = || (keys(), times(), 0..3i64).prop_map(|(key, start, length)| (key, start, start + length * 10_000));
    let range = (times(), times()).prop_map(|(a, b)| a.min(b)..=a.max(b));
    let bound =
        || prop_oneof![Just(Bound::Unbounded), keys().prop_map(Bound::Included), keys().prop_map(Bound::Excluded)];
    let value = prop_oneof![1 => Just(None), 3 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Some)];
    let op = prop_oneof![
        300 => (id(), value).prop_map(|(id, value)| Op::Write(id, value)),
        150 => id().prop_map(Op::Read),
        200 => (prop::option::of(keys()), (bound(), bound()), range, any::<bool>())
            .prop_map(|(key, keys, times, backward)| Op::Scan(key, keys, times, backward)),
        60 => Just(Op::Commit),
        20 => Just(Op::Discard),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec((0..kinds().len(), op), 1..12)
}

fn is_timed(kind: StoreKind) -> bool {
    kind.retention().is_some()
}

/// The time of a row.
fn time_of(kind: StoreKind, (_, start, end): &Id) -> i64 {
    if matches!(kind, StoreKind::Session(_)) { *end } else { *start }
}

// === impl Model ===

impl Model {
    fn write(&mut self, kind: StoreKind, id: Id, value: Option<Vec<u8>>) {
        if is_timed(kind) {
            self.stream_time = self.stream_time.max(time_of(kind, &id));
        }
        self.uses.retain(|used| *used != id.0);
        match value {
            Some(value) => {
                self.uses.push(id.0.clone());
                self.rows.insert(id, value);
            }
            None => {
                self.rows.remove(&id);
            }
        }
        self.rows.retain(|id, _| !is_timed(kind) || time_of(kind, id) > self.stream_time - RETENTION_MS);
        if let StoreKind::LruMap(most) = kind
            && self.uses.len() > most as usize
        {
            let oldest = self.uses.remove(0);
            self.rows.retain(|(key, ..), _| *key != oldest);
        }
    }

    fn use_of(&mut self, key: &[u8]) {
        if let Some(at) = self.uses.iter().position(|used| used == key) {
            let key = self.uses.remove(at);
            self.uses.push(key);
        }
    }

    fn scan(&self, kind: StoreKind, wanted: impl Fn(&Id) -> bool, backward: bool) -> Vec<(Id, Vec<u8>)> {
        let found = self.rows.iter().filter(|(id, _)| wanted(id));
        let mut found: Vec<_> = found.map(|(id, value)| (id.clone(), value.clone())).collect();
        if let Some(Retention { bucket_ms, .. }) = kind.retention() {
            found.sort_by_key(|(id, _)| {
                let time = time_of(kind, id);
                let bytes = [&id.0[..], &time.to_be_bytes(), &id.1.to_be_bytes()].concat();
                (time / bucket_ms, bytes)
            });
        }
        if backward {
            found.reverse();
        }
        found
    }
}

// === impl Subject ===

impl Subject {
    fn new() -> Self {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let settings = on_disk(state_dir.path());
        // A bounded map is in memory only: on disk it would know better than its changelog what was used when.
        let twins = kinds().map(|kind| [true, false].map(|disk| (kind, disk && !matches!(kind, StoreKind::LruMap(_)))));
        let specs: Arc<[_]> = (0..)
            .zip(twins.into_iter().flatten())
            .map(|(n, (kind, disk))| StoreSpec { kind, ..spec(&format!("s{n}"), disk) })
            .collect();
        let models: Vec<_> = specs.iter().map(|_| Model { stream_time: -1, ..Model::default() }).collect();
        let mut subject = Self {
            settings,
            stores: None,
            live: models.clone(),
            committed: models,
            changelogs: specs.iter().map(|_| Vec::new()).collect(),
            specs,
            now: 0,
            _state_dir: state_dir,
        };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let mut stores = TaskStores::open(&self.settings, TASK, Arc::clone(&self.specs)).expect("closed before");
        for (index, changelog) in self.changelogs.iter().enumerate() {
            let (store, end) = (StoreId::new(index), changelog.len() as i64);
            let from = stores.committed().changelog_offsets.get(&store).copied().unwrap_or(0);
            assert_eq!(from == end, self.specs[index].persistent || end == 0, "only what is in memory is restored");
            for records in changelog[from as usize..].chunks(100) {
                let records: Vec<Rec<'_>> =
                    records.iter().map(|(key, value, at)| (Some(&**key), value.as_deref(), *at)).collect();
                let source = TopicPartition::new("changelog", TASK.partition);
                stores.restore(store, &batch(source, &records), end).expect("a writable store");
            }
        }
        self.stores = Some(stores);
    }

    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().expect("open between operations")
    }

    fn apply(&mut self, kind: usize, op: &Op) {
        match op {
            Op::Write(..) | Op::Read(_) | Op::Scan(..) => [2 * kind, 2 * kind + 1].map(|store| self.on(store, op)),
            Op::Commit => [self.commit(); 2],
            Op::Discard => {
                self.stores().discard();
                self.live.clone_from(&self.committed);
                [(); 2]
            }
            Op::Restart => [self.restart(); 2],
        };
    }

    fn on(&mut self, store: usize, op: &Op) {
        let (id, kind, now) = (StoreId::new(store), self.specs[store].kind, self.now);
        let at = |(key, start, end): &Id| match is_timed(kind) {
            true => {
                (key.clone(), now + start, if matches!(kind, StoreKind::Session(_)) { now + end } else { now + start })
            }
            false => (key.clone(), 0, 0),
        };
        let bytes = |row: Option<Row<'_>>| row.map(|row| row.value.to_vec());
        match op {
            Op::Write(row, value) => {
                let row = at(row);
                let stores = self.stores();
                match kind {
                    StoreKind::LruMap(_) => {
                        stores.write_lru(id, &row.0, value.as_deref(), 0).expect("a readable store");
                    }
                    _ if is_timed(kind) => {
                        let key = TimedKey::session(&row.0, row.1, row.2);
                        let _ = stores.write_timed(id, key, value.as_deref(), 0);
                    }
                    _ => stores.write(id, &row.0, value.as_deref(), 0),
                }
                self.live[store].write(kind, row, value.clone());
            }
            Op::Read(row) => {
                let row = at(row);
                let stores = self.stores();
                let found = match kind {
                    StoreKind::LruMap(_) => stores.read_lru(id, &row.0, bytes),
                    _ if is_timed(kind) => stores.read_timed(id, TimedKey::session(&row.0, row.1, row.2), bytes),
                    _ => stores.read(id, &row.0, bytes),
                };
                self.live[store].use_of(&row.0);
                assert_eq!(found.expect("a readable store").as_ref(), self.live[store].rows.get(&row), "{row:?}");
            }
            Op::Scan(..) if matches!(kind, StoreKind::LruMap(_)) => {
                let entries = self.stores().approximate_rows(id).expect("a readable store");
                assert_eq!(entries, self.live[store].rows.len() as u64);
            }
            Op::Scan(key, keys, times, backward) => {
                let times = now + times.start()..=now + times.end();
                self.scan(store, key.as_deref().filter(|_| is_timed(kind)), keys, &times, *backward);
            }
            Op::Commit | Op::Discard | Op::Restart => unreachable!("not of one store"),
        }
    }

    fn scan(&mut self, store: usize, key: Option<&[u8]>, keys: &Keys, times: &RangeInclusive<i64>, backward: bool) {
        let (id, kind) = (StoreId::new(store), self.specs[store].kind);
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let bounds = (keys.0.as_ref().map(Vec::as_slice), keys.1.as_ref().map(Vec::as_slice));
        let mut found = Vec::new();
        let mut add = |key: TimedKey<'_>, row: Row<'_>| {
            found.push(((key.key.to_vec(), key.start_ms, key.end_ms), row.value.to_vec()));
            ControlFlow::Continue(())
        };
        let stores = self.stores.as_mut().expect("open between operations");
        let scanned = match key {
            Some(key) => stores.scan_times(id, key, times.clone(), direction, add),
            None if is_timed(kind) => stores.scan_keys_and_times(id, bounds, times.clone(), direction, add),
            None => stores.scan(id, bounds, direction, |key, row| add(TimedKey::window(key, 0), row)),
        };
        scanned.expect("a readable store");
        let wanted = |row: &Id| {
            let in_time = !is_timed(kind) || times.contains(&time_of(kind, row));
            in_time && key.map_or_else(|| RangeBounds::<[u8]>::contains(&bounds, &row.0[..]), |key| key == row.0)
        };
        assert_eq!(found, self.live[store].scan(kind, wanted, backward));
    }

    fn commit(&mut self) {
        let Self { stores, changelogs, .. } = self;
        let stores = stores.as_mut().expect("open between operations");
        let Ok(()) = stores.freeze(|Dirty { store, key, value, timestamp_ms, .. }| {
            changelogs[store.index()].push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp_ms));
            Ok::<_, Infallible>(())
        });
        let offsets = (0..).map(StoreId::new).zip(changelogs.iter().map(|changelog| changelog.len() as i64));
        let point = CommitPoint { changelog_offsets: offsets.collect(), ..CommitPoint::default() };
        stores.commit(&point).expect("a writable store");
        self.committed.clone_from(&self.live);
        // Later cases are of a later time.
        self.now += 1000;
    }

    fn restart(&mut self) {
        self.stores = None;
        for (store, spec) in self.specs.iter().enumerate() {
            if let StoreKind::LruMap(_) = spec.kind {
                // What was read is forgotten: the order is that of the changelog.
                let model = &mut self.committed[store];
                model.uses.clear();
                for (key, value, _) in &self.changelogs[store] {
                    model.uses.retain(|used| used != key);
                    model.uses.extend(value.as_ref().map(|_| key.clone()));
                }
            }
        }
        self.live.clone_from(&self.committed);
        self.open();
    }
}

#[test]
fn all_stores_are_as_their_models_say() {
    let mut runner = TestRunner::deterministic();
    let (ops, mut subject) = (ops(), Subject::new());
    for case in 0..CASES {
        let ops = ops.new_tree(&mut runner).expect("nothing is rejected").current();
        for (nth, (kind, op)) in ops.iter().enumerate() {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| subject.apply(*kind, op)));
            if let Err(failure) = checked {
                eprintln!("case {case}, operation {nth}, {:?}: {op:?}", kinds()[*kind]);
                std::panic::resume_unwind(failure);
            }
        }
    }
}
