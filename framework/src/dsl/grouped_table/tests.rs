use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    dsl::TopologyBuilder,
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

/// What a group has: how many rows, and their sum.
type Groups = BTreeMap<String, (i64, i64)>;

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

/// The group of a value; those that begin with 0 belong to none.
fn group(value: i64) -> Option<String> {
    Some(value % 4).filter(|group| *group != 0).map(|group| format!("g{group}"))
}

/// What the groups of a table must have.
fn recomputed(table: &BTreeMap<u8, i64>) -> Groups {
    let mut groups = Groups::new();
    for value in table.values() {
        if let Some(group) = group(*value) {
            let (rows, sum) = groups.entry(group).or_default();
            (*rows, *sum) = (*rows + 1, *sum + value);
        }
    }
    groups
}

fn found(driver: &TopologyTestDriver) -> Groups {
    let rows = driver.rows("groups", &Serdes::<String, (i64, i64)>::default()).expect("the store of the groups");
    rows.into_iter().map(|(key, value, _)| (key, value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn groups_have_what_their_rows_have_after_each_update(
        updates in prop::collection::vec((0..3_u8, prop::option::of(0..9_i64)), 1..8),
    ) {
        let mut driver = driver(|topology| {
            topology
                .table("in", Serdes::<String, i64>::default())
                .group_by(|_, value| (group(*value), *value))
                .aggregate(
                    || (0, 0),
                    |_, value, (rows, sum)| (rows + 1, sum + value),
                    |_, value, (rows, sum)| Some((rows - 1, sum - value)).filter(|(rows, _)| *rows > 0),
                )
                .materialized("groups");
        });
        let topic = TestTopic::new("in", Serdes::<String, Option<i64>>::default());
        let mut table = BTreeMap::new();
        for (key, value) in updates {
            driver.pipe(&topic, &format!("k{key}"), &value, 0).expect("processed");
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
            prop_assert_eq!(found(&driver), recomputed(&table));
        }
    }
}

#[test]
fn one_topic_serves_all_aggregations_of_a_grouping() {
    let topology = Topology::builder("test");
    let grouped = topology.table("in", Serdes::<String, String>::default()).group_by(|_, v| (v.clone(), 1_i64));
    let grouped = grouped.named("by-value").partitions(1);
    grouped.count().materialized("counts");
    grouped.reduce(|a, b| a + b, |a, b| a - b).materialized("sums");
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let partitions = resolved.partitions(&BTreeMap::from([("in".to_owned(), 7)])).expect("the topic is there");
    assert_eq!(partitions.count("app-by-value-repartition"), Some(1));
    assert_eq!((partitions.tasks_of(0), partitions.tasks_of(1)), (7, 1));
    assert_eq!(resolved.sub_topologies.len(), 2);
}

#[test]
fn a_repartition_topic_has_a_number_of_partitions_that_is_possible() {
    let topology = Topology::builder("test");
    topology
        .table("in", Serdes::<String, String>::default())
        .group_by(|k, v| (k.clone(), v.clone()))
        .partitions(0)
        .count();
    let error = topology.build().expect_err("no topic has 0 partitions");
    assert!(error.to_string().contains("0 partitions"), "{error}");
}
