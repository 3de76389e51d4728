use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    dsl::{Table, TopologyBuilder},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
    topology::{Resolved, SubTopology, Topology},
};

type Texts<'t> = Table<'t, String, String>;
type Nullable = TestTopic<String, Option<String>>;
type Rows = BTreeMap<String, String>;

/// The part before the point; rows that begin with it refer to none.
fn refers_to(value: &str) -> Option<String> {
    value.split('.').next().filter(|key| !key.is_empty()).map(str::to_owned)
}

fn show(left: &str, right: Option<&str>) -> String {
    format!("{left}+{}", right.unwrap_or("none"))
}

fn inner<'t>(left: &Texts<'t>, right: &Texts<'t>) -> Texts<'t> {
    left.join_on(right, |_, l| refers_to(l), |_, l, r| show(l, Some(r)))
}

fn left<'t>(left: &Texts<'t>, right: &Texts<'t>) -> Texts<'t> {
    left.left_join_on(right, |_, l| refers_to(l), |_, l, r| show(l, r.map(String::as_str)))
}

/// Inner and left joins of two tables, and of tables made of them whose rows are not kept.
fn joins(topology: &TopologyBuilder) {
    let [l, r] = ["left", "right"].map(|topic| topology.table(topic, Serdes::default()));
    let inner_join = inner(&l, &r).materialized("inner");
    inner_join.to_stream().to("out");
    let _kept = left(&l, &r).materialized("left");
    let few = l.filter(|_, value| !value.ends_with('x')).map_values(|_, value| value.to_lowercase());
    let some = r.filter_not(|_, value| value == "q").map_values(|_, value| value.to_uppercase());
    let _kept = inner(&few, &some).materialized("inner-of-some");
    let _kept = left(&few, &some).materialized("left-of-some");
}

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

fn topic(name: &str) -> Nullable {
    TestTopic::new(name, Serdes::default())
}

fn rows(driver: &TopologyTestDriver, store: &str) -> Rows {
    let rows = driver.rows(store, &Serdes::<String, String>::default()).expect("the store");
    rows.into_iter().map(|(key, value, _)| (key, value)).collect()
}

/// The join by its definition.
fn expected(left: &Rows, right: &Rows, all: bool) -> Rows {
    let joined = left.iter().filter_map(|(key, value)| {
        let row = refers_to(value).and_then(|key| right.get(&key));
        (all || row.is_some()).then(|| (key.clone(), show(value, row.map(String::as_str))))
    });
    joined.collect()
}

/// An update of one of the tables: rows of the left one refer to one of two rows, or to none.
fn update() -> impl Strategy<Value = (bool, char, Option<String>, i64)> {
    let left = (prop::char::range('a', 'c'), prop::option::weighted(0.8, "[pq]?\\.[xy]{0,1}"));
    let right = (prop::char::range('p', 'q'), prop::option::weighted(0.7, "[pq]"));
    let left = left.prop_map(|(key, value)| (true, key, value));
    let right = right.prop_map(|(key, value)| (false, key, value));
    (prop_oneof![3 => left, 2 => right], 0_i64..10).prop_map(|((side, key, value), at)| (side, key, value, at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever happens to two tables: after every update, the rows of their joins are those of joining what is in them.
    #[test]
    fn the_rows_are_those_of_joining_the_tables(updates in prop::collection::vec(update(), 1..10)) {
        let mut driver = driver(joins);
        let (of_left, of_right, out) = (topic("left"), topic("right"), topic("out"));
        let (mut left, mut right, mut seen) = (Rows::new(), Rows::new(), Rows::new());
        for (is_left, key, value, at) in updates {
            let (topic, rows_of) = if is_left { (&of_left, &mut left) } else { (&of_right, &mut right) };
            driver.pipe(topic, &key.to_string(), &value, at).expect("processed");
            match value {
                Some(value) => rows_of.insert(key.to_string(), value),
                None => rows_of.remove(&key.to_string()),
            };
            for result in driver.read(&out).expect("results") {
                match result.value {
                    Some(value) => seen.insert(result.key, value),
                    None => seen.remove(&result.key),
                };
            }
            let few: Rows = left.iter().filter(|(_, value)| !value.ends_with('x')).map(|(k, v)| (k.clone(), v.clone())).collect();
            let some: Rows = right.iter().filter(|(_, value)| *value != "q").map(|(k, v)| (k.clone(), v.to_uppercase())).collect();
            prop_assert_eq!(rows(&driver, "inner"), expected(&left, &right, false));
            prop_assert_eq!(rows(&driver, "left"), expected(&left, &right, true));
            prop_assert_eq!(rows(&driver, "inner-of-some"), expected(&few, &some, false));
            prop_assert_eq!(rows(&driver, "left-of-some"), expected(&few, &some, true));
            prop_assert_eq!(&seen, &expected(&left, &right, false));
        }
    }
}

#[test]
fn a_row_may_have_any_number_of_rows_that_refer_to_it() {
    let mut driver = driver(joins);
    let (left, right, out) = (topic("left"), topic("right"), topic("out"));
    let keys: Vec<String> = (0..600).map(|n| format!("{n:03}")).collect();
    for key in keys.iter().rev() {
        driver.pipe(&left, key, &Some("p.y".into()), 7).expect("processed");
    }
    // Others, before and behind.
    for other in ["o.y", "q.y", "pp.y"] {
        driver.pipe(&left, &"other".into(), &Some(other.into()), 7).expect("processed");
    }
    driver.read(&out).expect("nothing yet");
    for value in [Some("r"), None] {
        driver.pipe(&right, &"p".into(), &value.map(str::to_owned), 5).expect("processed");
        let results = driver.read(&out).expect("results");
        let expected = value.map(|value| format!("p.y+{value}"));
        assert!(results.iter().all(|result| result.value == expected && result.timestamp_ms == 5));
        assert_eq!(results.into_iter().map(|result| result.key).collect::<Vec<_>>(), keys);
    }
}

#[test]
fn rows_that_refer_to_none_are_dropped_by_an_inner_join_only() {
    let mut driver = driver(|topology| {
        let [l, r] = ["left", "right"].map(|topic| topology.table(topic, Serdes::default()));
        left(&l, &r).to_stream().to("left-joined");
        inner(&l, &r).to_stream().to("joined");
    });
    for (value, dropped) in [(Some("p.1"), 0), (Some(".2"), 1), (Some(".3"), 2), (None, 2)] {
        driver.pipe(&topic("left"), &"a".into(), &value.map(str::to_owned), 1).expect("processed");
        assert_eq!(driver.dropped(), dropped, "{value:?}");
    }
    let values = |records: Vec<_>| records.into_iter().map(|record: crate::processor::Record<_, _>| record.value);
    let expected = ["p.1+none", ".2+none", ".3+none"].map(|text| Some(text.to_owned()));
    let mut found: Vec<Option<String>> = values(driver.read(&topic("left-joined")).expect("results")).collect();
    assert_eq!(found.pop(), Some(None));
    assert_eq!(found, expected);
    // Told once, though there was no result: only the right side knows.
    assert_eq!(values(driver.read(&topic("joined")).expect("results")).collect::<Vec<_>>(), [None]);
}

fn resolved(write: impl Fn(&TopologyBuilder)) -> Resolved {
    let topology = Topology::builder("test");
    write(&topology);
    topology.build().expect("a correct topology").resolve("app")
}

fn internal_topics(resolved: &Resolved, counts: &[(&str, i32)]) -> Vec<String> {
    let counts = counts.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
    let partitions = resolved.partitions(&counts).expect("co-partitioned by the join's topics");
    partitions.internal_topics().iter().map(|topic| format!("{} {}", topic.name, topic.partitions)).collect()
}

#[test]
fn the_tables_may_have_different_numbers_of_partitions() {
    let named = resolved(|topology| {
        let [l, r] = ["left", "right"].map(|topic| topology.table(topic, Serdes::default()));
        let _joined = inner(&l, &r).materialized("j");
    });
    let found = internal_topics(&named, &[("left", 3), ("right", 5)]);
    let expected = [
        "app-j-subscription-registration-topic 5",
        "app-j-subscription-response-topic 3",
        "app-left-table-changelog 3",
        "app-j-changelog 3",
        "app-right-table-changelog 5",
        "app-j-subscription-store-changelog 5",
    ];
    assert_eq!(found, expected);

    // The right table comes from a repartition topic of its own: the larger number is that of both.
    let aggregated = resolved(|topology| {
        let l = topology.table("left", Serdes::<String, String>::default());
        let stream = topology.stream("right", Serdes::<String, String>::default());
        let counts = stream.group_by(|_, value| value.clone()).count().materialized("n");
        l.left_join_on(&counts, |_, value| refers_to(value), |_, l, n| show(l, n.map(i64::to_string).as_deref()))
            .to_stream()
            .to("out");
    });
    let found = internal_topics(&aggregated, &[("left", 7), ("right", 2), ("out", 1)]);
    let expected = [
        "app-n-repartition 7",
        "app-left-table-left-join-on-subscription-registration-topic 7",
        "app-left-table-left-join-on-subscription-response-topic 7",
    ];
    assert_eq!(found[..3], expected);
}

#[test]
fn sub_topologies_are_cut_at_the_two_topics_of_a_join() {
    let topics = |resolved: &Resolved| -> Vec<Vec<String>> {
        let of = |part: &SubTopology| part.sources.iter().map(ToString::to_string).collect();
        resolved.sub_topologies.iter().map(of).collect()
    };
    let two = resolved(|topology| {
        let [l, r] = ["left", "right"].map(|topic| topology.table(topic, Serdes::default()));
        inner(&l, &r).to_stream().to("out");
    });
    let base = "app-left-table-join-on-subscription";
    let [registration, response] = ["registration", "response"].map(|topic| format!("{base}-{topic}-topic"));
    assert_eq!(topics(&two), [["left".to_owned(), response.clone()], ["right".to_owned(), registration.clone()]]);
    let stores: Vec<Vec<_>> = two
        .sub_topologies
        .iter()
        .map(|part| part.stores.iter().map(|store| store.name.to_string()).collect())
        .collect();
    assert_eq!(stores, [vec!["left-table"], vec!["right-table", "left-table-join-on-subscription-store"]]);

    let with_itself = resolved(|topology| {
        let table = topology.table("left", Serdes::default());
        inner(&table, &table).to_stream().to("out");
    });
    assert_eq!(topics(&with_itself), [["left".to_owned(), registration, response]]);
}
