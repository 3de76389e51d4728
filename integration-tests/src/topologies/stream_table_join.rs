//! Streams joined with tables.

use millpond::dsl::TopologyBuilder;

use super::{Cases, nullable, plain, text};

pub(super) const ALL: Cases = &[
    ("stream_table_join_inner", inner),
    ("stream_table_join_left", left),
    ("stream_table_join_rekeyed", rekeyed),
    ("stream_table_join_aggregated_table", aggregated_table),
    ("stream_table_join_with_key_and_aggregate", with_key_and_aggregate),
];

fn inner(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).materialized("t-store");
    stream.join(&table, |_, value, row| text::plus(value.as_ref(), Some(row))).to("out");
}

fn left(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).materialized("t-store");
    stream.left_join(&table, |_, value, row| text::plus(value.as_ref(), row)).to("out");
}

fn rekeyed(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable()).select_key(|_, value| text::before(value.as_ref(), ':'));
    let table = topology.table("t", plain()).materialized("t-store");
    stream
        .left_join(&table, |_, value, row| text::plus(value.as_ref(), row))
        .map_values(|key, joined| format!("{}={joined}", text::or_null(key.as_ref())))
        .to("out");
}

fn aggregated_table(topology: &TopologyBuilder) {
    let counts = topology.stream("e", nullable()).group_by_key().count().materialized("n");
    let texts = counts.filter(|_, n| *n > 1).map_values(|_, n| n.to_string());
    let stream = topology.stream("s", nullable());
    stream.join(&texts, |_, value, n| text::plus(value.as_ref(), Some(n))).to("out");
}

fn with_key_and_aggregate(topology: &TopologyBuilder) {
    let clicks = topology.stream("clicks", nullable());
    let users = topology.table("users", plain()).materialized("u");
    clicks
        .left_join(&users, |_, _, region| region.cloned().unwrap_or_else(|| "unknown".to_owned()))
        .group_by(|_, region| region.clone())
        .count()
        .materialized("n")
        .to_stream()
        .to("out");
}
