//! Window stores that keep all values of a window.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

const STORE: StoreId = StoreId::new(0);
const RETENTION_MS: i64 = 200_000;

type Logged = Vec<(Vec<u8>, Option<Vec<u8>>, i64)>;

fn open_duplicates(settings: &StateSettings) -> TaskStores {
    let kind = StoreKind::DuplicateWindow(Retention::new(RETENTION_MS));
    TaskStores::open(settings, TASK, [StoreSpec { kind, ..spec("w", true) }].into()).expect("closed before")
}

fn add(stores: &mut TaskStores, key: &[u8], start_ms: i64, value: &[u8]) {
    assert!(stores.add_timed(STORE, key, start_ms, Some(value), start_ms), "it is not too late");
}

fn scan(
    stores: &mut TaskStores,
    key: &[u8],
    times: std::ops::RangeInclusive<i64>,
    direction: Direction,
) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    let each = |found: TimedKey<'_>, row: Row<'_>| {
        assert_eq!(found.key, key);
        values.push(row.value.to_vec());
        ControlFlow::Continue(())
    };
    stores.scan_times(STORE, key, times, direction, each).expect("a readable store");
    values
}

fn freeze_to(stores: &mut TaskStores, log: &mut Logged) {
    let Ok(()) = stores.freeze(|dirty| {
        log.push((dirty.key.to_vec(), dirty.value.map(<[u8]>::to_vec), dirty.timestamp_ms));
        Ok::<_, Infallible>(())
    });
}

fn commit(stores: &mut TaskStores, log: &mut Logged) {
    freeze_to(stores, log);
    let offset = log.len().cast_signed() as i64;
    stores.commit(&point(&[(STORE, offset)], offset)).expect("a writable store");
}

fn restore(stores: &mut TaskStores, log: &Logged) {
    let records: Vec<Rec<'_>> =
        log.iter().map(|(key, value, at)| (Some(key.as_slice()), value.as_deref(), *at)).collect();
    let next = log.len().cast_signed() as i64;
    stores.restore(STORE, &batch(TopicPartition::new("c", 3), &records), next).expect("a writable store");
}

#[test]
fn values_of_a_window_stay_in_the_order_in_which_they_came() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let settings = on_disk(state_dir.path());
    let mut log = Logged::new();
    let mut stores = open_duplicates(&settings);
    add(&mut stores, b"k", 5, b"b");
    add(&mut stores, b"k", 5, b"a");
    commit(&mut stores, &mut log);
    add(&mut stores, b"k", 5, b"forgotten");
    stores.discard();
    add(&mut stores, b"k", 5, b"c");
    commit(&mut stores, &mut log);
    stores.close().expect("a writable disk");

    let mut stores = open_duplicates(&settings);
    add(&mut stores, b"k", 5, b"after a restart");
    commit(&mut stores, &mut log);
    let mut restored = open_duplicates(&StateSettings::default());
    restore(&mut restored, &log);
    for stores in [&mut stores, &mut restored] {
        add(stores, b"k", 5, b"last");
        add(stores, b"kk", 5, b"of another key");
        let expected: [&[u8]; 5] = [b"b", b"a", b"c", b"after a restart", b"last"];
        assert_eq!(scan(stores, b"k", 0..=9, Direction::Forward), expected);
    }
    let rows = restored.view().scan_times(STORE, 0..=i64::MAX, 99).expect("an open view");
    assert_eq!(
        rows.iter().map(|row| row.value.as_slice()).collect::<Vec<_>>(),
        [&b"b"[..], b"a", b"c", b"after a restart"]
    );
}

#[derive(Debug, Clone)]
enum Op {
    Add(Vec<u8>, i64),
    /// A null: logged, and nothing else.
    AddNothing(Vec<u8>, i64),
    Scan(Vec<u8>, i64, i64, bool),
    Freeze,
    Commit,
    Discard,
    WarmUp,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let keys = || prop::sample::select(vec![vec![], vec![0], b"k".to_vec(), [b"k".as_slice(), &[0; 8]].concat()]);
    let times = || (0..60i64).prop_map(|n| n * 10_000);
    let op = prop_oneof![
        20 => (keys(), times()).prop_map(|(key, time)| Op::Add(key, time)),
        3 => (keys(), times()).prop_map(|(key, time)| Op::AddNothing(key, time)),
        15 => (keys(), times(), times(), any::<bool>()).prop_map(|(key, a, b, back)| Op::Scan(key, a.min(b), a.max(b), back)),
        5 => Just(Op::Freeze),
        5 => Just(Op::Commit),
        2 => Just(Op::Discard),
        2 => Just(Op::WarmUp),
        2 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..80)
}

/// The stores, and what they should hold: key, time and value in the order in which they were added.
struct Subject {
    settings: StateSettings,
    stores: Option<TaskStores>,
    log: Logged,
    frozen_log: Logged,
    live: Vec<(Vec<u8>, i64, u32)>,
    frozen: Option<usize>,
    committed: usize,
}

// === impl Subject ===

impl Subject {
    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().expect("open between operations")
    }

    fn stream_time(&self) -> i64 {
        self.live.iter().map(|(_, time, _)| *time).max().unwrap_or(-1)
    }

    fn apply(&mut self, number: u32, op: Op) -> Result<(), TestCaseError> {
        let stream_time = self.stream_time();
        prop_assert_eq!(self.stores().stream_time_ms(STORE), stream_time);
        match op {
            Op::Add(key, time) => {
                // What its segment has expired of is refused; that is tested with the other windows.
                let _ = self.stores().add_timed(STORE, &key, time, Some(&number.to_be_bytes()), time);
                self.live.push((key, time, number));
            }
            Op::AddNothing(key, time) => {
                prop_assert!(self.stores().add_timed(STORE, &key, time, None, time));
            }
            Op::Scan(key, from, to, back) => {
                let direction = if back { Direction::Backward } else { Direction::Forward };
                let found = scan(self.stores(), &key, from..=to, direction);
                let seen_from = (self.stream_time() - RETENTION_MS + 1).max(from);
                let mut expected: Vec<_> = self.live.clone();
                expected.retain(|(of, time, _)| *of == key && (seen_from..=to).contains(time));
                expected.sort_by_key(|(_, time, number)| (*time, *number));
                if back {
                    expected.reverse();
                }
                let expected: Vec<_> = expected.iter().map(|(_, _, number)| number.to_be_bytes().to_vec()).collect();
                prop_assert_eq!(found, expected);
            }
            Op::Freeze if self.frozen.is_none() => {
                let mut log = Logged::new();
                freeze_to(self.stores(), &mut log);
                (self.frozen, self.frozen_log) = (Some(self.live.len()), log);
            }
            Op::Freeze => {}
            Op::Commit => {
                if let Some(frozen) = self.frozen.take() {
                    self.log.append(&mut self.frozen_log);
                    self.committed = frozen;
                }
                let offset = self.log.len().cast_signed() as i64;
                self.stores().commit(&point(&[(STORE, offset)], offset)).expect("a writable store");
            }
            Op::Discard => {
                self.stores().discard();
                self.forget();
            }
            Op::WarmUp => {
                self.stores().warm_up(2).expect("a readable store");
            }
            Op::Reopen => {
                self.stores = None;
                self.stores = Some(open_duplicates(&self.settings));
                self.forget();
                let from = self.stores().committed().changelog_offsets.get(&STORE).copied().unwrap_or(0);
                if from < self.log.len().cast_signed() as i64 {
                    let log = self.log.clone();
                    restore(self.stores(), &log);
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.frozen = None;
        let committed = self.committed;
        self.live.truncate(committed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_values_are_kept_whatever_happens(ops in ops(), disk in any::<bool>()) {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let settings = if disk { on_disk(state_dir.path()) } else { StateSettings::default() };
        let stores = Some(open_duplicates(&settings));
        let (log, frozen_log, live) = Default::default();
        let mut subject = Subject { settings, stores, log, frozen_log, live, frozen: None, committed: 0 };
        for (number, op) in (0..).zip(ops) {
            subject.apply(number, op)?;
        }
    }
}
