//! Aggregations of streams, without windows.

use millpond::dsl::TopologyBuilder;

use super::{Cases, Nullable, nullable, text};

pub(super) const ALL: Cases = &[
    ("group_by_key_count", group_by_key_count),
    ("group_by_repartition_count", group_by_repartition_count),
    ("reduce", reduce),
    ("reduce_max_i64", reduce_max),
    ("aggregate_sum_with_delete", sum_with_delete),
    ("aggregate_change_type", change_type),
    ("two_aggregates_one_stream", two_aggregates_one_stream),
    ("count_then_table_operators", count_then_table_operators),
    ("deserialization_error_continue", sum),
];

fn group_by_key_count(topology: &TopologyBuilder) {
    topology.stream("in", nullable()).group_by_key().count().materialized("counts").to_stream().to("out");
}

fn group_by_repartition_count(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by(|_, value| match value {
            None => Some("none".to_owned()),
            value => text::before(value.as_ref(), '-'),
        })
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn reduce(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .reduce(|old, new| match (old, new.as_deref()) {
            (_, Some("reset")) => None,
            (old, new) => Some(text::keep(&format!("{},{}", old.unwrap_or_default(), new.unwrap_or_default()))),
        })
        .materialized("reduced")
        .to_stream()
        .to("out");
}

fn reduce_max(topology: &TopologyBuilder) {
    let numbers = topology.stream("in", Nullable::<String, i64>::default());
    numbers.group_by_key().reduce(|a, b| a.max(*b)).materialized("max").to_stream().to("out");
}

fn sum_with_delete(topology: &TopologyBuilder) {
    topology
        .stream("in", Nullable::<String, i64>::default())
        .group_by_key()
        .aggregate(|| 100, |_, value, sum: i64| Some(sum + value.unwrap_or(0)).filter(|sum| (0..=200).contains(sum)))
        .materialized("sums")
        .to_stream()
        .to("out");
}

fn change_type(topology: &TopologyBuilder) {
    topology
        .stream("in", Nullable::<String, i64>::default())
        .skip_null_values()
        .group_by(|_, value| match value.signum() {
            -1 => "neg".to_owned(),
            0 => "zero".to_owned(),
            _ => "pos".to_owned(),
        })
        .aggregate(String::new, |key, value, so_far| text::keep(&format!("{so_far}{}{value}", &key[..1])))
        .materialized("text")
        .to_stream()
        .to("out");
}

fn two_aggregates_one_stream(topology: &TopologyBuilder) {
    let grouped = topology
        .stream("in", Nullable::<String, i64>::default())
        .select_key(|key, _| text::first(key.as_ref()))
        .group_by_key()
        .named("by-first");
    grouped
        .aggregate(|| 0, |_, value, sum: i64| sum + value.unwrap_or(0))
        .materialized("sum-store")
        .to_stream()
        .to("sum");
    grouped.reduce(|a, b| a.max(*b)).materialized("max-store").to_stream().to("max");
}

fn count_then_table_operators(topology: &TopologyBuilder) {
    let counts = topology.stream("in", nullable()).group_by_key().count().materialized("counts");
    counts.filter(|_, n| *n > 2).map_values(|_, n| format!("n={n}")).to_stream().to("big");
    counts.filter(|_, n| n % 2 == 1).materialized("odd-store").to_stream().to("odd");
    counts
        .to_stream()
        .select_key(|_, n| n.map(|n| format!("c{}", n % 3)))
        .map_values(|_, n| n.map(|n| n.to_string()))
        .to("stream");
}

fn sum(topology: &TopologyBuilder) {
    topology
        .stream("in", Nullable::<String, i64>::default())
        .group_by_key()
        .aggregate(|| 0, |_, value, sum: i64| sum + value.unwrap_or(0))
        .materialized("sum")
        .to_stream()
        .to("out");
}
