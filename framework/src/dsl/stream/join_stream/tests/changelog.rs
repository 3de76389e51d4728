//! What joins write to their changelogs: bytes that Kafka Streams wrote.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, rc::Rc, sync::Arc};

use serde::Deserialize;

use super::{Shape, write};
use crate::{
    Topology,
    log::{Headers, RecordRef},
    processor::{Context, Globals, Output, ProcessError},
    state::{CommitPoint, StateSettings, TaskId, TaskStores, formats},
};

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Input>,
    records: Vec<Logged>,
}

#[derive(Deserialize)]
struct Input {
    topic: String,
    key: Option<String>,
    value: Option<String>,
    timestamp: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Logged {
    step: usize,
    store: String,
    timestamp: i64,
    key: String,
    value: Option<String>,
}

/// Takes what comes out.
struct Nowhere;

impl Output for Nowhere {
    fn send(
        &mut self,
        _: &Arc<str>,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        _: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        Ok(())
    }

    fn send_to(
        &mut self,
        _: &Arc<str>,
        _: i32,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        _: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        Ok(())
    }
}

const RETENTION_MS: i64 = 130;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

/// What the join writes.
fn logged(shape: Shape, inputs: &[Input]) -> Vec<Logged> {
    let topology = Topology::builder("test");
    write(&topology, shape);
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let specs = Arc::clone(&resolved.sub_topologies[0].stores);
    let task = TaskId::new(0, 0);
    let stores = TaskStores::open(&StateSettings::default(), task, Arc::clone(&specs)).expect("state in memory");
    let output = Rc::new(RefCell::new(Nowhere)) as Rc<RefCell<dyn Output>>;
    let mut ctx = Context::new(task, stores, Arc::new(Globals::none()), output);
    ctx.set_emit_interval_ms(0);
    let mut processors = resolved.instantiate(0).expect("the only sub-topology");
    let mut all = Vec::new();
    for (step, input) in inputs.iter().enumerate() {
        let source = resolved.sub_topologies[0].sources.iter().position(|topic| **topic == input.topic);
        let headers = Headers::default();
        let record = RecordRef {
            offset: 0,
            timestamp_ms: input.timestamp,
            key: input.key.as_deref().map(str::as_bytes),
            value: input.value.as_deref().map(str::as_bytes),
            headers: headers.as_ref(),
        };
        processors.process(&mut ctx, source.expect("a source"), record, headers.clone()).expect("processed");
        let Ok(()) = ctx.stores_mut().freeze(|dirty| {
            let store = &specs[dirty.store.index()].name;
            let store = store.rsplit('-').next().expect("a name");
            let (timestamp, key, value) = (dirty.timestamp_ms, hex(dirty.key), dirty.value.map(hex));
            all.push(Logged { step, store: store.to_owned(), timestamp, key, value });
            Ok::<_, Infallible>(())
        });
        ctx.stores_mut().commit(&CommitPoint::default()).expect("state in memory");
    }
    all
}

/// Those of Kafka Streams without those that no one would ever read: of records that were dropped, and of those that came when all
/// within their windows was forgotten.
fn of_use(records: Vec<Logged>) -> Vec<Logged> {
    let mut latest: BTreeMap<String, i64> = BTreeMap::new();
    let is_of_use = |record: &Logged| {
        if record.store == "unmatched" {
            return true;
        }
        let latest = latest.entry(record.store.clone()).or_insert(-1);
        if record.value.is_some() {
            *latest = record.timestamp.max(*latest);
        }
        record.value.is_some() && record.timestamp > *latest - RETENTION_MS
    };
    let mut is_of_use = is_of_use;
    records.into_iter().filter(|record| is_of_use(record)).collect()
}

/// Takes the numbers out of the keys of windows: they only have to grow.
fn without_numbers(mut records: Vec<Logged>) -> Vec<Logged> {
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for record in records.iter_mut().filter(|record| record.store != "unmatched") {
        let key = from_hex(&record.key);
        let (_, start_ms, sequence) = formats::window_key(&key).expect("a key of a window");
        assert_eq!(start_ms, record.timestamp);
        let last = last.entry(record.store.clone()).or_insert(0);
        assert!(sequence > *last, "{record:?}");
        *last = sequence;
        record.key.truncate(record.key.len() - 8);
    }
    // Within a step it is by store.
    records.sort_by_key(|record| (record.step, record.store.clone()));
    records
}

fn check(is_outer: bool, golden: &str) {
    let golden: Golden = serde_json::from_str(golden).expect("inputs and records");
    let shape = Shape { left_is_outer: is_outer, right_is_outer: is_outer, before_ms: 50, after_ms: 50, grace_ms: 30 };
    let found = without_numbers(logged(shape, &golden.inputs));
    assert!(found.len() > 15);
    assert_eq!(found, without_numbers(of_use(golden.records)));
}

#[test]
fn changelogs_of_inner_joins_are_those_of_kafka_streams() {
    check(false, include_str!("../testdata/inner.json"));
}

#[test]
fn changelogs_of_outer_joins_are_those_of_kafka_streams() {
    check(true, include_str!("../testdata/outer.json"));
}
