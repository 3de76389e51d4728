//! What the state engine costs per record, on a working set of 100 000 keys: `cargo bench -p integration-tests --bench state`.

use std::{
    hint::black_box,
    ops::{Bound, ControlFlow},
    sync::Arc,
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millpond::{
    log::{Batch, BatchBuilder, TopicPartition},
    serde::Format,
    state::{
        CommitPoint, Direction, MemoryBudget, StateDir, StateSettings, StoreId, StoreKind, StoreSpec, TaskId,
        TaskStores,
    },
};

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
/// Dirty keys of one commit.
const COMMIT_ROWS: u64 = 10_000;
const STORE: StoreId = StoreId::new(0);

/// Keys of 20 bytes, in an order without pattern.
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> [u8; 20] {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        key((self.0 >> 33) % KEYS)
    }
}

fn key(number: u64) -> [u8; 20] {
    let mut key = *b"aircraft/00000000000";
    let mut rest = number;
    for digit in key.iter_mut().rev().take(11) {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    key
}

fn open(settings: &StateSettings) -> TaskStores {
    let spec = StoreSpec {
        name: "bench".into(),
        kind: StoreKind::TimestampedKeyValue,
        changelog: None,
        key_format: Format::Bytes,
        value_format: Format::Bytes,
        queryable: true,
        persistent: true,
    };
    TaskStores::open(settings, TaskId::new(0, 0), [spec].into()).expect("new stores")
}

fn point(offset: i64) -> CommitPoint {
    CommitPoint {
        changelog_offsets: [(STORE, offset)].into(),
        positions: [(TopicPartition::new("flights", 0), offset)].into(),
        ..CommitPoint::default()
    }
}

fn fill(stores: &mut TaskStores) {
    for number in 0..KEYS {
        stores.write(STORE, &key(number), Some(&[6; VALUE_BYTES]), 0);
    }
}

fn commit(stores: &mut TaskStores, offset: i64) {
    let Ok(()) = stores.freeze(|_| Ok::<_, std::convert::Infallible>(()));
    stores.commit(&point(offset)).expect("a writable store");
}

fn overlay(c: &mut Criterion) {
    let mut group = c.benchmark_group("overlay");
    group.throughput(Throughput::Elements(1));
    let mut stores = open(&StateSettings::default());
    fill(&mut stores);
    let mut keys = Keys(2);
    group.bench_function("overwrite", |b| {
        b.iter(|| stores.write(STORE, &keys.next(), Some(black_box(&[7; VALUE_BYTES])), 1));
    });
    group.bench_function("read", |b| {
        b.iter(|| stores.read(STORE, &keys.next(), |row| row.map(|row| row.value[0])).expect("a readable store"));
    });
    stores.discard();
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("insert_100k_and_discard", |b| {
        b.iter(|| {
            for _ in 0..KEYS {
                stores.write(STORE, &keys.next(), Some(&[7; VALUE_BYTES]), 1);
            }
            stores.discard();
        });
    });
    group.finish();
}

fn backend(c: &mut Criterion) {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let dir = StateDir::open(state_dir.path(), "bench").expect("a directory of its own");
    let disk = StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::default() };
    for (name, settings) in [("disk", disk), ("memory", StateSettings::default())] {
        let mut stores = open(&settings);
        fill(&mut stores);
        commit(&mut stores, 1);
        // Look-ups are to find tables, as after a while of work, not only write buffers.
        stores.flush().expect("a writable store");
        backend_of(c, name, &mut stores);
        stores.close().expect("a writable store");
    }
}

fn backend_of(c: &mut Criterion, name: &str, stores: &mut TaskStores) {
    let mut group = c.benchmark_group(name);
    let mut keys = Keys(4);
    group.throughput(Throughput::Elements(1));
    group.bench_function("read", |b| {
        b.iter(|| stores.read(STORE, &keys.next(), |row| row.map(|row| row.value[0])).expect("a readable store"));
    });
    group.bench_function("read_absent", |b| {
        b.iter(|| {
            let mut key = keys.next();
            key[0] = b'b';
            stores.read(STORE, &key, |row| row.is_none()).expect("a readable store")
        });
    });
    let view = stores.view();
    group.bench_function("view_get", |b| b.iter(|| view.get(STORE, &keys.next()).expect("an open view")));
    group.bench_function("view_get_with_position", |b| {
        b.iter(|| view.get_with_position(STORE, &keys.next()).expect("an open view"));
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("scan_100", |b| {
        b.iter(|| {
            let (from, mut rows) = (keys.next(), 0);
            let range = (Bound::Included(&from[..]), Bound::Unbounded);
            let count = |_: &[u8], _: millpond::state::Row<'_>| {
                rows += 1;
                if rows < 100 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            stores.scan(STORE, range, Direction::Forward, count).expect("a readable store");
            rows
        });
    });
    group.throughput(Throughput::Elements(COMMIT_ROWS));
    let mut offset = 1;
    group.bench_function("write_and_commit_10k", |b| {
        b.iter(|| {
            for _ in 0..COMMIT_ROWS {
                stores.write(STORE, &keys.next(), Some(&[8; VALUE_BYTES]), 1);
            }
            offset += 1;
            commit(stores, offset);
        });
    });
    group.finish();
}

/// What a start costs: the changelog written to disk, or what is on disk read back to hand.
fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("start");
    group.throughput(Throughput::Elements(KEYS));
    let changelog: Vec<Batch> = (0..KEYS / 1000).map(changelog_part).collect();
    let setup = || {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let dir = StateDir::open(state_dir.path(), "bench").expect("a directory of its own");
        let settings = StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::default() };
        (open(&settings), settings, state_dir)
    };
    let restore = |stores: &mut TaskStores| {
        for (part, records) in (1..).zip(&changelog) {
            stores.gather(STORE, records, part * 1000).expect("a writable store");
        }
    };
    group.bench_function("restore_100k", |b| {
        b.iter_batched(
            setup,
            |(mut stores, ..)| {
                restore(&mut stores);
                stores.close().expect("a writable store");
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("warm_up_100k", |b| {
        b.iter_batched(
            || {
                let (mut stores, settings, state_dir) = setup();
                restore(&mut stores);
                stores.close().expect("a writable store");
                (open(&settings), settings, state_dir)
            },
            |(mut stores, _settings, _state_dir)| {
                while stores.warm_up(8192).expect("a readable store") {}
                stores
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn changelog_part(part: u64) -> Batch {
    let mut records = BatchBuilder::new(TopicPartition::new("changelog", 0));
    for number in part * 1000..(part + 1) * 1000 {
        let offset = i64::try_from(number).expect("few records");
        records.push(offset, 0, Some(&key(number)), Some(&[6; VALUE_BYTES]), None);
    }
    records.build()
}

fn config() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = config(); targets = overlay, backend, start }
criterion_main!(benches);
