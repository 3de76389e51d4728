//! Joins of streams with tables against what Kafka Streams says they are. Those with tables that keep versions are
//! tested with these tables.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Option<String>;

#[derive(Debug, Clone, Copy)]
struct Shape {
    left: bool,
    /// Whether the table has only the rows that pass a filter.
    filtered: bool,
}

/// A record of the stream, or an update of the table.
#[derive(Debug, Clone)]
struct Input {
    to_stream: bool,
    key: Text,
    value: Text,
    at: i64,
}

fn shapes(left: bool) -> impl Strategy<Value = Shape> {
    any::<bool>().prop_map(move |filtered| Shape { left, filtered })
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let keys = prop_oneof![6 => Just(Some("k")), 3 => Just(Some("l")), 1 => Just(None)];
    let values = prop::option::weighted(0.7, "[a-c]{1,2}");
    let input = (any::<bool>(), keys, values, 0..20_i64).prop_map(|(to_stream, key, value, at)| {
        let key = key.map(str::to_owned);
        Input { to_stream, key, value, at }
    });
    prop::collection::vec(input, 1..20)
}

fn passes(row: &str) -> bool {
    row.contains('a')
}

fn show(value: &Text, row: Option<&String>) -> String {
    format!("{}+{}", value.as_deref().unwrap_or("null"), row.map_or("-", String::as_str))
}

/// Results of the stream's records: each with the last row before it, whatever their times. And how many inputs are left out.
fn expected(shape: Shape, inputs: &[Input]) -> (Vec<(Text, String, i64)>, u64) {
    let (mut rows, mut results, mut dropped) = (BTreeMap::new(), Vec::new(), 0);
    for Input { to_stream, key, value, at } in inputs {
        match (to_stream, key, value) {
            (false, Some(key), Some(row)) => drop(rows.insert(key, row)),
            (false, Some(key), None) => drop(rows.remove(key)),
            (false, None, _) | (true, _, None) => dropped += 1,
            (true, None, Some(_)) if !shape.left => dropped += 1,
            (true, key, value) => {
                let row = key.as_ref().and_then(|key| rows.get(key).copied());
                let row = row.filter(|row| !shape.filtered || passes(row));
                if row.is_some() || shape.left {
                    results.push((key.clone(), show(value, row), *at));
                }
            }
        }
    }
    (results, dropped)
}

fn agrees(shape: Shape, inputs: &[Input]) -> Result<(), TestCaseError> {
    let topology = Topology::builder("test");
    let nullable = Serdes::<Text, Text>::default();
    let table = topology.table("table", Serdes::<String, String>::default());
    let table = if shape.filtered { table.filter(|_, row| passes(row)) } else { table };
    let stream = topology.stream("stream", nullable.clone());
    match shape.left {
        true => stream.left_join(&table, |_, value, row| show(value, row)).to("out"),
        false => stream.join(&table, |_, value, row| show(value, Some(row))).to("out"),
    }
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let topics = ["table", "stream"].map(|topic| TestTopic::new(topic, nullable.clone()));
    for Input { to_stream, key, value, at } in inputs {
        driver.pipe(&topics[usize::from(*to_stream)], key, value, *at).expect("processed");
    }
    let found = driver.read(&TestTopic::<Text, String>::new("out", Serdes::default())).expect("text");
    let found: Vec<_> = found.into_iter().map(|record| (record.key, record.value, record.timestamp_ms)).collect();
    prop_assert_eq!((found, driver.dropped()), expected(shape, inputs));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn inner_joins_are_as_defined(shape in shapes(false), inputs in inputs()) {
        agrees(shape, &inputs)?;
    }

    #[test]
    fn left_joins_are_as_defined(shape in shapes(true), inputs in inputs()) {
        agrees(shape, &inputs)?;
    }
}
