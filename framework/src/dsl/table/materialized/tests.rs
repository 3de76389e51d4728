mod joins;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    dsl::{Buffer, TopologyBuilder},
    processor::{Handlers, OnError},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Plain = Serdes<String, String>;

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    let driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    driver.commit_on_request()
}

fn pipe(driver: &mut TopologyTestDriver, topic: &str, records: &[(&str, Option<&str>)]) {
    let topic = TestTopic::new(topic, Serdes::<String, Option<String>>::default());
    for (at, (key, value)) in records.iter().enumerate() {
        driver.pipe(&topic, &(*key).to_owned(), &value.map(str::to_owned), at as i64).expect("processed");
    }
}

/// What was written to a topic, as `key value @timestamp`.
fn written(driver: &mut TopologyTestDriver, topic: &str) -> Vec<String> {
    let text =
        |bytes: Option<Vec<u8>>| bytes.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8(bytes).expect("text"));
    let outputs = driver.outputs().into_iter().filter(|record| &*record.topic == topic);
    outputs.map(|record| format!("{} {} @{}", text(record.key), text(record.value), record.timestamp_ms)).collect()
}

#[test]
fn of_the_updates_of_a_row_the_last_one_is_passed_on_in_the_order_of_the_last_ones() {
    let mut driver = driver(|topology| {
        topology.table("in", Plain::default()).materialized("t").coalesced().to_stream().to("out");
    });
    pipe(
        &mut driver,
        "in",
        &[("a", Some("1")), ("b", Some("2")), ("gone", Some("3")), ("a", Some("4")), ("gone", None)],
    );
    assert!(written(&mut driver, "out").is_empty(), "nothing is passed on before the commit");
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "out"), ["b 2 @1", "a 4 @3"], "what came and went was never there");
    pipe(&mut driver, "in", &[("a", Some("5")), ("a", None)]);
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "out"), ["a - @1"]);
    driver.commit().expect("committed");
    assert!(written(&mut driver, "out").is_empty(), "nothing is passed on twice");
}

#[test]
fn the_old_value_is_the_one_that_was_passed_on_before() {
    let mut driver = driver(|topology| {
        let counts = topology.stream("in", Plain::default()).group_by_key().count().materialized("counts").coalesced();
        let of_counts = counts.group_by(|_, n| (format!("n{n}"), 1)).count().materialized("of-counts");
        of_counts.to_stream().map_values(|_, n| n.map(|n| n.to_string())).to("out");
    });
    pipe(&mut driver, "in", &[("a", Some("")), ("a", Some("")), ("b", Some("")), ("a", Some(""))]);
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "out"), ["n1 1 @2", "n3 1 @3"], "nobody was at n0, n2");
    pipe(&mut driver, "in", &[("b", Some("")), ("b", Some(""))]);
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "out"), ["n1 0 @2", "n3 2 @3"]);
}

#[test]
fn all_tables_with_a_store_are_coalesced_when_that_is_asked_for() {
    let topology = Topology::builder("test");
    let table = topology.table("in", Plain::default()).materialized("t");
    table.to_stream().to("kept");
    topology.table("other", Plain::default()).to_stream().to("not-kept");
    let topology = topology.build().expect("a correct topology");
    let driver = TopologyTestDriver::new(&topology).and_then(TopologyTestDriver::with_coalesced_updates);
    let mut driver = driver.expect("state in memory").commit_on_request();
    for topic in ["in", "other"] {
        pipe(&mut driver, topic, &[("a", Some("1")), ("a", Some("2"))]);
    }
    assert_eq!(written(&mut driver, "not-kept"), ["a 1 @0", "a 2 @1"]);
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "kept"), ["a 2 @1"]);
}

#[test]
fn streams_see_rows_at_once_and_downstream_tables_are_passed_on_in_the_same_commit() {
    let mut driver = driver(|topology| {
        let table = topology.table("table", Plain::default()).materialized("t").coalesced();
        let upper = table.map_values(|_, value| value.to_uppercase()).materialized("upper").coalesced();
        upper.to_stream().to("upper-out");
        topology.stream("in", Plain::default()).join(&table, |_, _, row| row.clone()).to("joined");
    });
    pipe(&mut driver, "table", &[("a", Some("x")), ("a", Some("y"))]);
    pipe(&mut driver, "in", &[("a", Some(""))]);
    assert_eq!(written(&mut driver, "joined"), ["a y @0"]);
    driver.commit().expect("committed");
    assert_eq!(written(&mut driver, "upper-out"), ["a Y @1"]);
}

#[test]
fn an_update_that_fails_is_judged_by_its_last_record() {
    let write = |topology: &TopologyBuilder| {
        let counts = topology.stream("in", Plain::default()).group_by_key().count().materialized("counts").coalesced();
        let bad = |_: &String, n: &Option<i64>| match n {
            Some(3) => Err("three"),
            n => Ok(n.map(|n| n.to_string())),
        };
        counts.to_stream().try_map_values(bad).to("out");
    };
    let records = [("a", Some("")), ("b", Some("")), ("a", Some("")), ("a", Some(""))];
    for (answer, expected) in [(OnError::Continue, ["b 1 @1", "a 2 @2"].as_slice()), (OnError::SkipNode, &["b 1 @1"])] {
        let handlers = Handlers::default().on_processing_error(move |_| answer);
        let mut driver = driver(write).with_handlers(handlers);
        pipe(&mut driver, "in", &records);
        driver.commit().expect("committed");
        assert_eq!(written(&mut driver, "out"), expected, "{answer}");
        assert_eq!(driver.dropped(), 1);
    }
    let mut driver = driver(write);
    pipe(&mut driver, "in", &records);
    assert!(driver.commit().expect_err("three").to_string().contains("map-values"));
}

#[test]
fn a_table_that_was_suppressed_cannot_be_coalesced() {
    let topology = Topology::builder("test");
    let table = topology.table("in", Plain::default()).suppress_for(std::time::Duration::ZERO, Buffer::unbounded());
    table.materialized("t").coalesced();
    let error = topology.build().expect_err("updates wait twice");
    assert!(error.to_string().contains("suppress"), "{error}");
}

/// What happens to a table, or to all.
#[derive(Debug, Clone)]
enum Step {
    Left(u8, Option<i64>),
    Right(u8, Option<i64>),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = || (0..2_u8, prop::option::of(0..5_i64));
    let step = prop_oneof![
        3 => row().prop_map(|(key, value)| Step::Left(key, value)),
        3 => row().prop_map(|(key, value)| Step::Right(key, value)),
        1 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn groups_of_joined_tables_are_right_after_each_commit(steps in steps(), left in any::<bool>(), right in any::<bool>()) {
        let mut driver = driver(|topology| {
            let tables = [("left", left), ("right", right)].map(|(topic, coalesced)| {
                let table = topology.table(topic, Serdes::<String, i64>::default()).materialized(topic);
                if coalesced { table.coalesced() } else { table }
            });
            tables[0]
                .outer_join(&tables[1], |_, left, right| (left.copied(), right.copied()))
                .group_by(|_, joined| (format!("{joined:?}"), 1_i64))
                .reduce(|a, b| a + b, |a, b| Some(a - b).filter(|rest| *rest != 0))
                .materialized("groups");
        });
        let mut tables = [BTreeMap::new(), BTreeMap::new()];
        for step in steps.into_iter().chain([Step::Commit]) {
            let (side, topic, key, value) = match step {
                Step::Left(key, value) => (0, "left", key, value),
                Step::Right(key, value) => (1, "right", key, value),
                Step::Commit => {
                    driver.commit().expect("committed");
                    let rows = driver.rows("groups", &Serdes::<String, i64>::default()).expect("the store of the groups");
                    let found: BTreeMap<_, _> = rows.into_iter().map(|(key, count, _)| (key, count)).collect();
                    let mut expected = BTreeMap::<String, i64>::new();
                    for key in 0..2_u8 {
                        let row: (Option<i64>, Option<i64>) = (tables[0].get(&key).copied(), tables[1].get(&key).copied());
                        if row != (None, None) {
                            *expected.entry(format!("{row:?}")).or_default() += 1;
                        }
                    }
                    prop_assert_eq!(found, expected);
                    continue;
                }
            };
            let topic = TestTopic::new(topic, Serdes::<String, Option<i64>>::default());
            driver.pipe(&topic, &format!("k{key}"), &value, 0).expect("processed");
            match value {
                Some(value) => tables[side].insert(key, value),
                None => tables[side].remove(&key),
            };
        }
    }
}
