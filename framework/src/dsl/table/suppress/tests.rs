//! `suppress` against what Kafka Streams says it is, and when records fail.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use crate::{
    Topology,
    dsl::{Buffer, TopologyBuilder},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

/// Updates of this value fail, when everything else was done.
const FAILS: i64 = 9;

/// Key, value, timestamp.
type Update = (String, Option<i64>, i64);

#[derive(Debug, Clone, Copy)]
struct Shape {
    limit_ms: i64,
    max_records: Option<usize>,
}

/// What waits: by the time of its first update, and by key.
#[derive(Debug)]
struct Model {
    shape: Shape,
    stream_time: i64,
    waiting: BTreeMap<(i64, String), (Option<i64>, i64)>,
}

// === impl Shape ===

impl Shape {
    fn any() -> impl Strategy<Value = Self> {
        (0..60_i64, prop::option::of(0..4_usize)).prop_map(|(limit_ms, max_records)| Self { limit_ms, max_records })
    }

    fn write(self, topology: &TopologyBuilder) {
        let buffer = match self.max_records {
            Some(records) => Buffer::unbounded().max_records(records as u64).emit_early_when_full(),
            None => Buffer::unbounded(),
        };
        let table = topology.table("in", Serdes::<String, i64>::default());
        let limit = Duration::from_millis(self.limit_ms.unsigned_abs());
        table.suppress_for(limit, buffer).to_stream().to("out");
        let fails = |_: &String, value: &Option<i64>| match value {
            Some(FAILS) => Err("not this one"),
            _ => Ok(*value),
        };
        table.to_stream().try_map_values(fails).to("all");
    }
}

// === impl Model ===

impl Model {
    /// The updates that go on when one has come.
    fn update(&mut self, (key, value, at): &Update) -> Vec<Update> {
        self.stream_time = self.stream_time.max(*at);
        let place = self.waiting.keys().find(|(_, waits)| waits == key).cloned();
        self.waiting.insert(place.unwrap_or_else(|| (*at, key.clone())), (*value, *at));
        let mut passed_on = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let is_due = first.key().0 <= self.stream_time - self.shape.limit_ms;
            // No more than fit stay, when those that are due have gone.
            if is_due || self.shape.max_records.is_some_and(|max| self.waiting.len() > max) {
                let ((_, key), (value, at)) = self.waiting.pop_first().expect("there is a first");
                passed_on.push((key, value, at));
            } else {
                break;
            }
        }
        passed_on
    }
}

fn updates() -> impl Strategy<Value = Vec<Update>> {
    let keys = prop::sample::select(vec!["a", "ab", "b", "c", "d"]);
    let values = prop_oneof![6 => (0..FAILS).prop_map(Some), 2 => Just(None), 2 => Just(Some(FAILS))];
    let update = (keys, values, 0..30_i64).prop_map(|(key, value, at)| (key.to_owned(), value, at * 5));
    prop::collection::vec(update, 1..20)
}

fn driver(shape: Shape) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    shape.write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

/// The updates that go on when one has come; `None` when it fails.
fn pipe(driver: &mut TopologyTestDriver, (key, value, at): &Update) -> Option<Vec<Update>> {
    let topic = |name| TestTopic::<String, Option<i64>>::new(name, Serdes::default());
    let piped = driver.pipe(&topic("in"), key, value, *at);
    assert_eq!(piped.is_err(), *value == Some(FAILS), "{piped:?}");
    let found = driver.read(&topic("out")).expect("numbers");
    piped.is_ok().then(|| found.into_iter().map(|record| (record.key, record.value, record.timestamp_ms)).collect())
}

fn update(key: &str, value: i64, at: i64) -> Update {
    (key.to_owned(), Some(value), at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// And a record that fails leaves no trace.
    #[test]
    fn updates_wait_for_the_limit_or_until_there_is_no_room(shape in Shape::any(), updates in updates()) {
        let mut driver = driver(shape);
        let mut model = Model { shape, stream_time: -1, waiting: BTreeMap::new() };
        for update in &updates {
            if let Some(found) = pipe(&mut driver, update) {
                prop_assert_eq!(found, model.update(update), "{:?} of {:?}", update, updates);
            }
        }
    }
}

#[test]
fn what_a_record_that_failed_had_passed_on_waits_again() {
    let mut driver = driver(Shape { limit_ms: 10, max_records: None });
    assert_eq!(pipe(&mut driver, &update("a", 1, 0)), Some(vec![]));
    assert_eq!(pipe(&mut driver, &update("b", FAILS, 100)), None, "it passes a on, and fails");
    assert_eq!(pipe(&mut driver, &update("c", 2, 5)), Some(vec![]), "it is not later than that");
    assert_eq!(pipe(&mut driver, &update("b", 3, 14)), Some(vec![update("a", 1, 0)]));
    assert_eq!(pipe(&mut driver, &update("b", 4, 15)), Some(vec![update("c", 2, 5)]));
}

#[test]
fn bytes_are_counted_as_kafka_streams_counts_them() {
    let topology = Topology::builder("test");
    let table = topology.table("in", Serdes::<String, i64>::default());
    // Key, topic, value, and 28 of times, offset and partition; an update of a row has its old value, too.
    let buffer = Buffer::unbounded().max_bytes(2 * (1 + 2 + 8 + 28) + 8).emit_early_when_full();
    table.suppress_for(Duration::from_secs(60), buffer).to_stream().to("out");
    let topology = topology.build().expect("a correct topology");
    let mut driver = TopologyTestDriver::new(&topology).expect("state in memory");
    assert_eq!(pipe(&mut driver, &update("a", 1, 0)), Some(vec![]));
    assert_eq!(pipe(&mut driver, &update("b", 2, 1)), Some(vec![]));
    assert_eq!(pipe(&mut driver, &update("b", 3, 2)), Some(vec![]), "it fits just so");
    assert_eq!(pipe(&mut driver, &update("c", 4, 3)), Some(vec![update("a", 1, 0)]));
}
