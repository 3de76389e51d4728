//! What joins write to their changelogs: bytes that Kafka Streams wrote.

use std::sync::Arc;

use serde::Deserialize;

use super::{Shape, task::Task};
use crate::state::StateSettings;

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

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Logged {
    step: usize,
    store: String,
    timestamp: i64,
    key: String,
    value: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the join writes.
fn logged(shape: Shape, inputs: &[Input]) -> Vec<Logged> {
    let mut task = Task::open(shape, &StateSettings::default());
    let stores = Arc::clone(task.stores());
    let mut all = Vec::new();
    for (step, input) in inputs.iter().enumerate() {
        task.process(&input.topic, input.key.as_deref(), input.value.as_deref(), input.timestamp);
        task.commit(|dirty| {
            let store = stores[dirty.store.index()].name.rsplit('-').next().expect("a name").to_owned();
            let (timestamp, key, value) = (dirty.timestamp_ms, hex(dirty.key), dirty.value.map(hex));
            all.push(Logged { step, store, timestamp, key, value });
        });
    }
    all
}

/// By step and store: the order within is no promise.
fn in_order(mut records: Vec<Logged>) -> Vec<Logged> {
    records.sort();
    records
}

fn check(is_outer: bool, golden: &str) {
    let golden: Golden = serde_json::from_str(golden).expect("inputs and records");
    let shape = Shape { left_is_outer: is_outer, right_is_outer: is_outer, before_ms: 50, after_ms: 50, grace_ms: 30 };
    assert!(golden.records.len() > 15);
    assert_eq!(in_order(logged(shape, &golden.inputs)), in_order(golden.records));
}

#[test]
fn changelogs_of_inner_joins_are_those_of_kafka_streams() {
    check(false, include_str!("../testdata/inner.json"));
}

#[test]
fn changelogs_of_outer_joins_are_those_of_kafka_streams() {
    check(true, include_str!("../testdata/outer.json"));
}
