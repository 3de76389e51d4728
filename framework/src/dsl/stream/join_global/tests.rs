//! Joins of streams with global tables against what Kafka Streams says they are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Option<String>;

/// A record of the stream, or an update of the table.
#[derive(Debug, Clone)]
struct Input {
    to_stream: bool,
    key: Text,
    value: Text,
    at: i64,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let keys = prop_oneof![4 => Just(Some("k")), 4 => Just(Some("l")), 1 => Just(None)];
    // The first letter of a stream's value is the key of its row.
    let values = prop::option::weighted(0.8, "[klm-][a-c]");
    let input = (any::<bool>(), keys, values, 0..20_i64).prop_map(|(to_stream, key, value, at)| {
        let key = key.map(str::to_owned);
        Input { to_stream, key, value, at }
    });
    prop::collection::vec(input, 1..20)
}

/// The key of the row that a value refers to.
fn refers_to(value: &Text) -> Text {
    value.as_ref().map(|value| value[..1].to_owned()).filter(|key| key != "-")
}

fn show(value: &Text, row: Option<&String>) -> String {
    format!("{}+{}", value.as_deref().unwrap_or("null"), row.map_or("-", String::as_str))
}

/// Results of the stream's records: each with the last row before it, whatever their times. And how many inputs are left out.
fn expected(left: bool, inputs: &[Input]) -> (Vec<(Text, String, i64)>, u64) {
    let (mut rows, mut results, mut dropped) = (BTreeMap::new(), Vec::new(), 0);
    for Input { to_stream, key, value, at } in inputs {
        match (to_stream, key, value) {
            (false, Some(key), Some(row)) => drop(rows.insert(key.clone(), row)),
            (false, Some(key), None) => drop(rows.remove(key)),
            (false, None, _) | (true, _, None) => dropped += 1,
            (true, _, Some(_)) if !left && refers_to(value).is_none() => dropped += 1,
            // The key of the record itself does not matter.
            (true, ..) => {
                let row = refers_to(value).and_then(|key| rows.get(&key).copied());
                if row.is_some() || left {
                    results.push((key.clone(), show(value, row), *at));
                }
            }
        }
    }
    (results, dropped)
}

fn agrees(left: bool, inputs: &[Input]) -> Result<(), TestCaseError> {
    let topology = Topology::builder("test");
    let nullable = Serdes::<Text, Text>::default();
    let table = topology.global_table("table", Serdes::<String, String>::default()).materialized("rows");
    let stream = topology.stream("stream", nullable.clone());
    let refers_to = |_: &Text, value: &Text| refers_to(value);
    match left {
        true => stream.left_join_global(&table, refers_to, |_, value, row| show(value, row)).to("out"),
        false => stream.join_global(&table, refers_to, |_, value, row| show(value, Some(row))).to("out"),
    }
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let topics = ["table", "stream"].map(|topic| TestTopic::new(topic, nullable.clone()));
    for Input { to_stream, key, value, at } in inputs {
        driver.pipe(&topics[usize::from(*to_stream)], key, value, *at).expect("processed");
    }
    let found = driver.read(&TestTopic::<Text, String>::new("out", Serdes::default())).expect("text");
    let found: Vec<_> = found.into_iter().map(|record| (record.key, record.value, record.timestamp_ms)).collect();
    prop_assert_eq!((found, driver.dropped()), expected(left, inputs));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn inner_joins_are_as_defined(inputs in inputs()) {
        agrees(false, &inputs)?;
    }

    #[test]
    fn left_joins_are_as_defined(inputs in inputs()) {
        agrees(true, &inputs)?;
    }
}
