use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Stream, TopologyBuilder};
use crate::{
    log::Headers,
    processor::ProcessError,
    serde::{Raw, Serdes, Utf8},
    testing::{DriverError, TestRecord, TestTopic, TopologyTestDriver},
    topology::Topology,
};

type Nullable = Serdes<Option<String>, Option<String>>;
type Plain = Serdes<String, String>;

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

fn record(topic: &str, key: Option<&str>, value: Option<&str>, timestamp_ms: i64) -> TestRecord {
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    let headers = Headers::default();
    TestRecord { topic: topic.into(), key: bytes(key), value: bytes(value), timestamp_ms, headers }
}

/// What was written, as `topic key value @timestamp`.
fn written(driver: &mut TopologyTestDriver) -> Vec<String> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".to_owned(),
    };
    let outputs = driver.outputs();
    let show = |record: &TestRecord| {
        format!("{} {} {} @{}", record.topic, text(&record.key), text(&record.value), record.timestamp_ms)
    };
    outputs.iter().map(show).collect()
}

#[test]
fn a_record_goes_depth_first_through_children_in_the_order_they_were_attached() {
    let mut driver = driver(|topology| {
        let words = topology
            .stream("in", Plain::default())
            .flat_map_values(|_, line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.to("a");
        let upper = words.map_values(|_, word| word.to_uppercase());
        upper.to("b");
        upper.to("c");
        words.filter_not(|_, word| word == "x").to("d");
    });
    driver.pipe_bytes(&record("in", Some("k"), Some("x y"), 7)).expect("processed");
    let expected = ["a k x @7", "b k X @7", "c k X @7", "a k y @7", "b k Y @7", "c k Y @7", "d k y @7"];
    assert_eq!(written(&mut driver), expected);
}

#[test]
fn headers_go_with_the_record_through_operators_stores_and_repartition_topics() {
    let mut driver = driver(|topology| {
        let table = topology.table("table", Plain::default());
        let stream = topology.stream("in", Plain::default()).map_values(|_, value| value.clone());
        stream.left_join(&table, |_, value, _| value.clone()).to("joined");
        stream.group_by(|_, value| value.clone()).count().filter(|_, _| true).to_stream().to("counts");
    });
    let headers = Headers::new([("trace", Some(b"7".as_slice()))]);
    driver
        .pipe_bytes(&TestRecord { headers: headers.clone(), ..record("in", Some("k"), Some("v"), 0) })
        .expect("processed");
    let outputs = driver.outputs();
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|output| output.headers == headers), "{outputs:?}");
}

#[test]
fn records_without_a_key_pass_a_repartition_topic_only_before_a_left_join() {
    fn by_value(topology: &TopologyBuilder) -> Stream<'_, Option<String>, Option<String>> {
        topology.stream("in", Nullable::default()).select_key(|_, value| value.clone())
    }

    let mut inner = driver(|topology| {
        let table = topology.table("table", Plain::default());
        by_value(topology).map_values(|_, _| 1).join(&table, |_, _, row| row.clone()).to("out");
    });
    let mut left = driver(|topology| {
        let table = topology.table("table", Plain::default());
        by_value(topology).map_values(|_, _| 1).left_join(&table, |_, _, row| row.cloned()).to("out");
    });
    for driver in [&mut inner, &mut left] {
        driver.pipe_bytes(&record("table", Some("v"), Some("row"), 0)).expect("processed");
        driver.pipe_bytes(&record("in", Some("k"), Some("v"), 1)).expect("processed");
        driver.pipe_bytes(&record("in", Some("k"), None, 2)).expect("processed");
    }
    assert_eq!(written(&mut inner), ["out v row @1"]);
    assert_eq!(written(&mut left), ["out v row @1", "out - - @2"]);
    assert_eq!((inner.dropped(), left.dropped()), (0, 0), "left out before the topic, they are not counted");
}

#[test]
fn a_record_that_cannot_be_read_leaves_no_trace() {
    let mut driver = driver(|topology| {
        topology.stream("in", Serdes::<String, i64>::default()).group_by_key().count().materialized("counts");
        // Reads the same topic, nulls included.
        topology.table("in", Serdes::<String, i64>::default()).materialized("table");
    });
    let good = TestRecord { value: Some(vec![0; 8]), ..record("in", Some("k"), None, 0) };
    driver.pipe_bytes(&good).expect("8 bytes are a number");
    for value in [Some(vec![1]), None] {
        let bad = TestRecord { value, ..good.clone() };
        match driver.pipe_bytes(&bad).expect_err("no number") {
            DriverError::Process(ProcessError::Deserialization { topic, partition: 0, offset, .. }) => {
                assert_eq!(&*topic, "in");
                assert!(offset > 0);
            }
            other => panic!("{other}"),
        }
    }
    let serdes = Serdes::<String, i64>::default();
    assert_eq!(driver.rows("counts", &serdes).expect("the store"), [("k".to_owned(), 1, 0)]);
    assert_eq!(driver.rows("table", &serdes).expect("the store"), [("k".to_owned(), 0, 0)], "the null was not applied");
}

#[test]
fn a_topic_that_is_written_and_read_is_processed_in_a_loop() {
    let mut driver = driver(|topology| {
        let numbers = topology.stream("n", Serdes::<String, i64>::default());
        numbers.filter(|_, n| *n > 0).map_values(|_, n| n - 1).to("n");
        topology.global_table("n", Serdes::<String, i64>::default()).materialized("last");
    });
    let n = TestTopic::<String, i64>::new("n", Serdes::default());
    driver.pipe(&n, &"k".to_owned(), &3, 5).expect("processed");
    let values: Vec<_> = driver.read(&n).expect("numbers").into_iter().map(|record| record.value).collect();
    assert_eq!(values, [2, 1, 0]);
    assert_eq!(driver.rows("last", &Serdes::default()).expect("the store"), [("k".to_owned(), 0_i64, 5)]);
    let error = driver.pipe_bytes(&record("m", None, None, 0)).expect_err("not read");
    assert_eq!(error.to_string(), "the topology does not read topic `m`");
}

#[test]
fn the_old_value_of_a_new_aggregate_is_the_initializers_and_of_a_new_reduction_none() {
    let mut driver = driver(|topology| {
        let grouped = topology.stream("in", Serdes::<String, i64>::default()).group_by_key();
        grouped.count().filter(|_, count| *count == 0).to_stream().to("counted");
        grouped.reduce(|sum, n| sum + n).filter(|_, sum| *sum == 0).to_stream().to("summed");
    });
    let one = TestRecord { value: Some(1_i64.to_be_bytes().to_vec()), ..record("in", Some("k"), None, 3) };
    driver.pipe_bytes(&one).expect("processed");
    assert_eq!(written(&mut driver), ["counted k - @3"], "from 0, which passed, to 1, which does not");
    driver.pipe_bytes(&one).expect("processed");
    assert!(written(&mut driver).is_empty(), "neither before nor after");
}

#[test]
fn rows_of_a_table_are_written_with_its_own_serdes() {
    let mut driver = driver(|topology| {
        let table = topology.table("in", Plain::default()).with_serdes(Serdes::json()).materialized("json");
        topology.stream("s", Plain::default()).join(&table, |_, _, row| row.clone()).to("out");
    });
    driver.pipe_bytes(&record("in", Some("k"), Some("v"), 0)).expect("processed");
    driver.pipe_bytes(&record("s", Some("k"), Some(""), 1)).expect("processed");
    assert_eq!(written(&mut driver), ["out k v @1"]);
    let rows = driver.rows("json", &Serdes::new(Utf8, Raw)).expect("the store");
    assert_eq!(rows, [("k".to_owned(), b"\"v\"".to_vec(), 0)]);
}

#[test]
#[should_panic(expected = "both sides of a join must be of one topology")]
fn a_join_with_a_table_of_another_topology_is_refused() {
    let (one, other) = (Topology::builder("one"), Topology::builder("other"));
    let table = other.table("table", Plain::default());
    let _joined = one.stream("in", Plain::default()).join(&table, |_, value, _| value.clone());
}

#[test]
fn rows_are_kept_only_where_they_are_needed() {
    let topology = Topology::builder("kept");
    let unread = topology.table("unread", Plain::default());
    unread.filter(|_, _| true).map_values(|_, value| value.clone()).to_stream().to("out");
    let read = topology.table("read", Plain::default());
    let derived = read.filter(|_, _| true).map_values(|_, value| value.clone());
    topology.stream("in", Plain::default()).join(&derived, |_, _, row| row.clone()).to("out");
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let stores = resolved.sub_topologies.iter().flat_map(|it| it.stores.iter()).map(|store| store.name.to_string());
    assert_eq!(stores.collect::<Vec<_>>(), ["read-table"]);
}

/// Updates of two tables and records of a stream, with few keys, so that they meet.
fn events() -> impl Strategy<Value = Vec<(&'static str, char, Option<String>, i64)>> {
    let topic = prop::sample::select(vec!["left", "right", "stream"]);
    let value = prop::option::weighted(0.8, "[a-d]{1,2}");
    prop::collection::vec((topic, prop::char::range('p', 's'), value, 0_i64..20), 1..20)
}

/// All joins of two tables, over tables that are filtered and mapped first. What is `named` is kept in stores.
fn joins(topology: &TopologyBuilder, named: bool) {
    macro_rules! maybe {
        ($table:expr, $name:expr) => {
            if named { $table.materialized($name).into() } else { $table }
        };
    }
    let left = topology.table("left", Plain::default());
    let right = topology.table("right", Plain::default());
    let left: super::Table<'_, _, _> = maybe!(left.filter(|_, value| value != "a"), "filtered");
    let right: super::Table<'_, _, _> = maybe!(right.map_values(|_, value| value.to_uppercase()), "mapped");
    let inner = maybe!(left.join(&right, |_, l, r| format!("{l}{r}")), "inner");
    let left_join = maybe!(left.left_join(&right, |_, l, r| format!("{l}{}", r.map_or("-", |r| r))), "left");
    let outer = left.outer_join(&right, |_, l, r| format!("{}{}", l.map_or("-", |l| l), r.map_or("-", |r| r)));
    let outer = maybe!(outer, "outer");
    let stream = topology.stream("stream", Serdes::<String, Option<String>>::default());
    let stream = stream.map_values(|_, value| value.clone().unwrap_or_default());
    for (table, topic) in [(&inner, "s-inner"), (&left_join, "s-left"), (&outer, "s-outer")] {
        stream.left_join(table, |_, value, row| format!("{value}:{}", row.map_or("none", |row| row))).to(topic);
    }
}

/// The rows that a table has after these updates.
fn rows(events: &[(&str, char, Option<String>, i64)], table: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (_, key, value, _) in events.iter().filter(|(topic, ..)| *topic == table) {
        match value {
            Some(value) => rows.insert(key.to_string(), value.clone()),
            None => rows.remove(&key.to_string()),
        };
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever happens to two tables: the rows of their joins are those of joining what is in them.
    #[test]
    fn a_join_of_tables_has_the_rows_of_joining_them_at_the_end(events in events()) {
        let mut driver = driver(|topology| joins(topology, true));
        for (topic, key, value, at) in &events {
            driver.pipe_bytes(&record(topic, Some(&key.to_string()), value.as_deref(), *at)).expect("processed");
        }
        let mut left = rows(&events, "left");
        left.retain(|_, value| value != "a");
        let right: BTreeMap<_, _> = rows(&events, "right").into_iter().map(|(key, row)| (key, row.to_uppercase())).collect();
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let joined = |needs_left: bool, needs_right: bool| -> Vec<(String, String)> {
            let rows = keys.iter().map(|key| (left.get(*key), right.get(*key), (*key).clone()));
            let rows = rows.filter(|(l, r, _)| (l.is_some() || !needs_left) && (r.is_some() || !needs_right));
            let side = |row: Option<&String>| row.map_or("-", |row| row).to_owned();
            rows.map(|(l, r, key)| (key, side(l) + &side(r))).collect()
        };
        for (store, expected) in [("inner", joined(true, true)), ("left", joined(true, false)), ("outer", joined(false, false))] {
            let found = driver.rows(store, &Plain::default()).expect("the store");
            let found: Vec<_> = found.into_iter().map(|(key, value, _)| (key, value)).collect();
            prop_assert_eq!(found, expected, "{}", store);
        }
    }

    /// A stream sees the same rows whether tables keep theirs or make them of others.
    #[test]
    fn rows_are_the_same_kept_or_not(events in events()) {
        let mut kept = driver(|topology| joins(topology, true));
        let mut made = driver(|topology| joins(topology, false));
        for (topic, key, value, at) in &events {
            let record = record(topic, Some(&key.to_string()), value.as_deref(), *at);
            kept.pipe_bytes(&record).expect("processed");
            made.pipe_bytes(&record).expect("processed");
            prop_assert_eq!(written(&mut kept), written(&mut made));
        }
    }
}
