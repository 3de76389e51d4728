//! Window and session stores against a model, under any sequence of operations.

use std::{collections::BTreeMap, ops::RangeInclusive};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const STORE: StoreId = StoreId::new(0);
const RETENTION_MS: i64 = 200_000;
/// What a retention of 200 s is cut into.
const SEGMENT_MS: i64 = 100_000;

/// Key and time: rows of sessions begin 7 ms before they end.
type Id = (Vec<u8>, i64);
type Value = (Vec<u8>, i64);
type Rows = BTreeMap<Id, Value>;

#[derive(Debug, Clone)]
enum Op {
    Write(Id, Option<Vec<u8>>),
    Read(Id),
    Scan(Option<Vec<u8>>, RangeInclusive<i64>, bool),
    Freeze,
    Commit,
    Discard,
    /// Brings so many rows to hand.
    WarmUp(usize),
    Flush,
    Reopen,
    /// What is not flushed is lost; the changelog brings it back.
    Crash,
}

#[derive(Debug, Clone, Default)]
struct Model {
    rows: Rows,
    stream_time: i64,
}

/// The stores under test, their changelog, and what they should hold.
struct Subject {
    kind: StoreKind,
    settings: StateSettings,
    state_dir: TempDir,
    stores: Option<TaskStores>,
    changelog: Vec<(Vec<u8>, Option<Vec<u8>>, i64)>,
    frozen_records: Vec<(Vec<u8>, Option<Vec<u8>>, i64)>,
    live: Model,
    frozen: Option<Model>,
    committed: Model,
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    // Some are prefixes of others, also together with the times behind them.
    prop::sample::select(vec![vec![], vec![0], vec![0, 0], b"k".to_vec(), [b"k".as_slice(), &[0; 8]].concat()])
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![0..60i64, 0..60i64].prop_map(|n| n * 10_000)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let range = (times(), times()).prop_map(|(a, b)| a.min(b)..=a.max(b));
    let value = prop_oneof![1 => Just(None), 4 => any::<u8>().prop_map(|byte| Some(vec![byte]))];
    let op = prop_oneof![
        20 => ((keys(), times()), value).prop_map(|(id, value)| Op::Write(id, value)),
        10 => (keys(), times()).prop_map(Op::Read),
        15 => (prop::option::of(keys()), range, any::<bool>()).prop_map(|(key, times, back)| Op::Scan(key, times, back)),
        6 => Just(Op::Freeze),
        6 => Just(Op::Commit),
        2 => Just(Op::Discard),
        3 => (1..4usize).prop_map(Op::WarmUp),
        3 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        2 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..80)
}

// === impl Model ===

impl Model {
    fn write(&mut self, id: Id, value: Option<Vec<u8>>, at: i64) -> bool {
        self.stream_time = self.stream_time.max(id.1);
        let taken = id.1 / SEGMENT_MS >= (self.stream_time - RETENTION_MS).div_euclid(SEGMENT_MS);
        match value {
            Some(value) => self.rows.insert(id, (value, at)),
            None => self.rows.remove(&id),
        };
        let seen_from = self.stream_time - RETENTION_MS + 1;
        self.rows.retain(|(_, time), _| *time >= seen_from);
        taken
    }
}

// === impl Subject ===

impl Subject {
    fn new(kind: StoreKind, disk: bool) -> Self {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let settings = if disk { on_disk(state_dir.path()) } else { StateSettings::default() };
        let live = Model { rows: Rows::new(), stream_time: -1 };
        let (changelog, frozen_records) = <(Vec<_>, Vec<_>)>::default();
        let committed = live.clone();
        let mut subject =
            Self { kind, settings, state_dir, stores: None, changelog, frozen_records, live, frozen: None, committed };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let spec = StoreSpec { kind: self.kind, ..spec("w", true) };
        let mut stores = TaskStores::open(&self.settings, TASK, [spec].into()).expect("closed before");
        let from = stores.committed().changelog_offsets.get(&STORE).copied().unwrap_or(0);
        let records: Vec<_> = self.changelog[usize::try_from(from).expect("an offset")..]
            .iter()
            .map(|(key, value, at)| (Some(key.as_slice()), value.as_deref(), *at))
            .collect();
        if !records.is_empty() {
            let next = self.changelog.len().cast_signed() as i64;
            let source = TopicPartition::new("app-w-changelog", TASK.partition);
            stores.restore(STORE, &batch(source, &records), next).expect("a writable store");
        }
        self.stores = Some(stores);
        (self.live, self.frozen) = (self.committed.clone(), None);
    }

    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().expect("open between operations")
    }

    fn key<'a>(&self, (key, time): &'a Id) -> TimedKey<'a> {
        match self.kind {
            StoreKind::Session(_) => TimedKey::session(key, time - 7, *time),
            _ => TimedKey::window(key, *time),
        }
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Write(id, value) => {
                let at = if matches!(self.kind, StoreKind::Session(_)) { 0 } else { id.1 + 3 };
                let key = self.key(&id);
                let taken = self.stores().write_timed(STORE, key, value.as_deref(), at);
                prop_assert_eq!(taken, self.live.write(id, value, at));
                prop_assert_eq!(self.stores().stream_time_ms(STORE), self.live.stream_time);
            }
            Op::Read(id) => {
                let key = self.key(&id);
                let row = |row: Option<Row<'_>>| row.map(|row| (row.value.to_vec(), row.timestamp_ms));
                let found = self.stores().read_timed(STORE, key, row).expect("a readable store");
                prop_assert_eq!(found.as_ref(), self.live.rows.get(&id));
            }
            Op::Scan(key, times, back) => self.scan(key.as_deref(), times, back)?,
            Op::Freeze if self.frozen.is_none() => {
                let mut records = Vec::new();
                let Ok(()) = self.stores().freeze(|dirty| {
                    records.push((dirty.key.to_vec(), dirty.value.map(<[u8]>::to_vec), dirty.timestamp_ms));
                    Ok::<_, Infallible>(())
                });
                (self.frozen, self.frozen_records) = (Some(self.live.clone()), records);
            }
            Op::Commit => {
                if let Some(frozen) = self.frozen.take() {
                    self.changelog.append(&mut self.frozen_records);
                    self.committed = frozen;
                }
                let offset = self.changelog.len().cast_signed() as i64;
                self.stores().commit(&point(&[(STORE, offset)], offset)).expect("a writable store");
                self.check_view()?;
            }
            Op::Discard => {
                self.stores().discard();
                (self.live, self.frozen) = (self.committed.clone(), None);
            }
            Op::WarmUp(rows) => {
                self.stores().warm_up(rows).expect("a readable store");
            }
            Op::Flush => self.stores().flush().expect("a writable store"),
            Op::Freeze => {}
            Op::Reopen => {
                self.stores = None;
                self.open();
            }
            Op::Crash => self.crash(),
        }
        Ok(())
    }

    fn scan(&mut self, key: Option<&[u8]>, times: RangeInclusive<i64>, backward: bool) -> Result<(), TestCaseError> {
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let sessions = matches!(self.kind, StoreKind::Session(_));
        let mut found = Vec::new();
        let mut each = |key: TimedKey<'_>, row: Row<'_>| {
            let time = if sessions { key.end_ms } else { key.start_ms };
            found.push(((key.key.to_vec(), time), (row.value.to_vec(), row.timestamp_ms)));
            std::ops::ControlFlow::Continue(())
        };
        match key {
            Some(key) => self.stores().scan_times(STORE, key, times.clone(), direction, &mut each),
            None => self.stores().scan_all_times(STORE, times.clone(), None, direction, &mut each),
        }
        .expect("a readable store");
        let of_key = |id: &Id| key.is_none_or(|key| key == id.0) && times.contains(&id.1);
        let mut expected: Vec<_> =
            self.live.rows.iter().filter(|(id, _)| of_key(id)).map(|(id, row)| (id.clone(), row.clone())).collect();
        // Within a bucket by the bytes of key and time, which is not by key where one is a prefix of another.
        let bucket_ms = self.kind.retention().expect("rows belong to a time").bucket_ms;
        expected.sort_by_key(|((key, time), _)| (time / bucket_ms, [key, time.to_be_bytes().as_slice()].concat()));
        if backward {
            expected.reverse();
        }
        prop_assert_eq!(found, expected);
        Ok(())
    }

    /// What others see is what is committed.
    fn check_view(&mut self) -> Result<(), TestCaseError> {
        let view = self.stores().view();
        let rows = view.scan_times(STORE, 0..=i64::MAX, usize::MAX).expect("an open view");
        for row in &rows {
            let seen = view.get(STORE, &row.key).expect("an open view");
            prop_assert_eq!(seen, Some((row.value.clone(), row.timestamp_ms)));
        }
        prop_assert_eq!(rows.len(), self.committed.rows.len());
        Ok(())
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

fn run(kind: StoreKind, disk: bool, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut subject = Subject::new(kind, disk);
    ops.into_iter().try_for_each(|op| subject.apply(op))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn windows_on_disk_are_as_the_model_says(ops in ops(), fine in any::<bool>()) {
        let retention = Retention::new(RETENTION_MS);
        prop_assert_eq!(retention.bucket_ms, SEGMENT_MS);
        let retention = if fine { retention.in_buckets(30_000) } else { retention };
        run(StoreKind::TimestampedWindow(retention), true, ops)?;
    }

    #[test]
    fn windows_and_sessions_in_memory_are_as_the_model_says(ops in ops(), sessions in any::<bool>()) {
        let retention = Retention::new(RETENTION_MS);
        let kind = if sessions { StoreKind::Session(retention) } else { StoreKind::TimestampedWindow(retention) };
        run(kind, false, ops)?;
    }

    #[test]
    fn sessions_on_disk_are_as_the_model_says(ops in ops()) {
        run(StoreKind::Session(Retention::new(RETENTION_MS)), true, ops)?;
    }
}

#[test]
fn what_has_expired_is_removed_from_disk() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let kind = StoreKind::TimestampedWindow(Retention::new(120_000));
    let mut stores =
        TaskStores::open(&settings, TASK, [StoreSpec { kind, ..spec("w", true) }].into()).expect("new stores");
    let (mut most, mut at_hand) = (0, 0);
    for minute in 0..40 {
        for n in 0..2_000_u32 {
            let key = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
            assert!(stores.write_timed(STORE, TimedKey::window(&key, minute * 60_000), Some(&[7; 100]), 0));
        }
        freeze(&mut stores);
        stores.commit(&point(&[(STORE, minute)], minute)).expect("a writable store");
        stores.flush().expect("a writable disk");
        let rocks = stores.backend().rocks().expect("on disk");
        // Merging is in the background: without this it is up to the scheduler how many tables there are.
        rocks.settle();
        most = most.max(rocks.rows_on_disk(STORE));
        at_hand = at_hand.max(stores.held_bytes());
    }
    assert!(at_hand < 2 * 4 * 2_000 * 160, "{at_hand} bytes: four windows at the most are of use");
    assert!(most >= 6_000, "{most} rows: three windows can be seen");
    // Three tables of a window each that are not merged yet, and what was merged before: three windows at the most.
    assert!(most <= 12_100, "{most} rows");
}

#[test]
fn up_to_where_windows_were_closed_is_part_of_the_state_and_of_the_changelog() {
    on_each_backend(|settings| {
        let kind = StoreKind::TimestampedWindow(Retention::new(120_000));
        let specs: Arc<[_]> = [StoreSpec { kind, ..spec("w", true) }].into();
        let mut stores = TaskStores::open(settings, TASK, Arc::clone(&specs)).expect("new stores");
        assert!(stores.write_timed(STORE, TimedKey::window(b"k", 5), Some(b"v"), 7));
        stores.set_closed_ms(STORE, 1000, 7);
        let mut records = Vec::new();
        let Ok(()) = stores.freeze(|dirty| {
            records.push((dirty.key.to_vec(), dirty.value.map(<[u8]>::to_vec), dirty.timestamp_ms));
            Ok::<_, Infallible>(())
        });
        stores.discard();
        assert_eq!(stores.closed_ms(STORE).expect("a readable store"), None);
        let records: Vec<Rec<'_>> =
            records.iter().map(|(key, value, at)| (Some(key.as_slice()), value.as_deref(), *at)).collect();
        stores.restore(STORE, &batch(TopicPartition::new("c", 3), &records), 2).expect("a writable store");
        assert_eq!(stores.closed_ms(STORE).expect("a readable store"), Some(1000));
        let rows = stores.view().scan_times(STORE, 0..=i64::MAX, 9).expect("an open view");
        assert_eq!(rows.len(), 1, "{rows:?}");
    });
}

#[test]
fn a_buffer_is_found_again_in_its_changelog() {
    on_each_backend(|settings| {
        let specs: Arc<[_]> = [StoreSpec { kind: StoreKind::Buffer, ..spec("b", true) }].into();
        let mut stores = TaskStores::open(settings, TASK, Arc::clone(&specs)).expect("new stores");
        let mut changelog = Vec::new();
        let mut commit = |stores: &mut TaskStores| {
            let Ok(()) = stores.freeze(|dirty| {
                changelog.push((dirty.key.to_vec(), dirty.value.map(<[u8]>::to_vec), dirty.timestamp_ms));
                Ok::<_, Infallible>(())
            });
            stores.commit(&CommitPoint::default()).expect("a writable store");
        };
        let updates = [(b"a", "first", 30), (b"b", "b", 10), (b"c", "c", 20), (b"a", "second", 5)];
        for (at, (key, value, time)) in (1..).zip(updates) {
            stores.put_buffered(STORE, key, value.as_bytes(), time, at).expect("a readable store");
        }
        commit(&mut stores);
        let latest = |stores: &mut TaskStores| stores.latest_buffered_ms(STORE).expect("a readable store");
        stores.put_buffered(STORE, b"gone", b"", 0, 9).expect("a readable store");
        assert_eq!(latest(&mut stores), 9);
        stores.discard();
        assert_eq!(latest(&mut stores), 4);
        // Out and in again, by an earlier time, within one interval.
        let taken = stores.take_buffered(STORE, 10, 0).expect("a readable store");
        assert_eq!(taken, Some((10, b"b".to_vec(), b"b".to_vec())));
        assert_eq!(stores.take_buffered(STORE, 10, 0).expect("a readable store"), None);
        stores.put_buffered(STORE, b"b", b"again", 3, 0).expect("a readable store");
        commit(&mut stores);
        drop(stores);

        let other = StateSettings::default();
        let mut restored = TaskStores::open(&other, TASK, specs).expect("new stores");
        for records in changelog.chunks(2) {
            let records: Vec<Rec<'_>> =
                records.iter().map(|(key, value, at)| (Some(key.as_slice()), value.as_deref(), *at)).collect();
            restored.restore(STORE, &batch(TopicPartition::new("c", 3), &records), 2).expect("a writable store");
        }
        assert_eq!(
            restored.buffer_size(STORE).expect("a readable store"),
            BufferSize { records: 3, bytes: 3 * 8 + 15 }
        );
        assert_eq!(latest(&mut restored), 4, "of those that wait still");
        let mut all = Vec::new();
        while let Some((time, _, value)) = restored.take_buffered(STORE, i64::MAX, 0).expect("a readable store") {
            all.push((time, String::from_utf8(value).expect("text")));
        }
        assert_eq!(all, [(3, "again".to_owned()), (20, "c".to_owned()), (30, "second".to_owned())]);
        assert_eq!(restored.buffer_size(STORE).expect("a readable store"), BufferSize::default());
    });
}

#[test]
fn a_buffer_says_in_which_form_its_values_are_logged_and_refuses_another() {
    let settings = StateSettings::default();
    let specs: Arc<[_]> = [StoreSpec { kind: StoreKind::Buffer, ..spec("b", true) }].into();
    let mut stores = TaskStores::open(&settings, TASK, specs).expect("new stores");
    stores.put_buffered(STORE, b"a", b"value", 30, 0).expect("a readable store");
    stores.put_buffered(STORE, b"b", b"value", 10, 0).expect("a readable store");
    stores.take_buffered(STORE, 10, 0).expect("a readable store");
    let mut headers = Vec::new();
    let Ok(()) = stores.freeze(|dirty| {
        headers.push((dirty.key.to_vec(), format!("{:?}", dirty.headers)));
        Ok::<_, Infallible>(())
    });
    stores.commit(&CommitPoint::default()).expect("a writable store");
    let expected = [(b"a".to_vec(), "[(\"v\", Some([3]))]"), (b"b".to_vec(), "[]")];
    assert_eq!(headers, expected.map(|(key, headers)| (key, headers.to_owned())));

    let value = [0; 16];
    for (version, is_read) in [(None, true), (Some([3]), true), (Some([2]), false)] {
        let mut records = BatchBuilder::new(TopicPartition::new("c", 3));
        let headers = version.as_ref().map(|version| ("v", Some(&version[..])));
        records.push(0, 0, Some(b"k"), Some(&value), headers);
        let restored = stores.restore(STORE, &records.build(), 1);
        assert_eq!(restored.is_ok(), is_read, "{version:?}: {restored:?}");
    }
}
