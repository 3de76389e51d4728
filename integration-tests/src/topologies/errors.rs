//! Records that fail, and what is done about them.

use millpond::dsl::TopologyBuilder;

use super::{Cases, Nullable, nullable};

pub(super) const ALL: Cases = &[
    ("dead_letter_queue", dead_letter_queue),
    ("processing_exception_continue", failing_mapper),
    ("processing_exception_in_aggregator_continue", failing_aggregator),
];

#[expect(clippy::ref_option, reason = "as streams give it")]
fn upper_case(_: &Option<String>, value: &Option<String>) -> Result<Option<String>, &'static str> {
    match value.as_deref() {
        Some(value) if value.starts_with("boom") => Err("bad value"),
        value => Ok(value.map(str::to_uppercase)),
    }
}

fn dead_letter_queue(topology: &TopologyBuilder) {
    topology.stream("in", nullable()).select_key(|_, _| Some("k".to_owned())).try_map_values(upper_case).to("out");
    topology
        .stream("num", Nullable::<String, i64>::default())
        .group_by_key()
        .aggregate(|| 0, |_, value, sum: i64| sum + value.unwrap_or(0))
        .materialized("sum-store")
        .to_stream()
        .to("sum");
}

fn failing_mapper(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.to("before");
    stream.try_map_values(upper_case).group_by_key().count().materialized("n").to_stream().to("out");
    stream.to("after");
}

fn failing_aggregator(topology: &TopologyBuilder) {
    topology
        .stream("in", Nullable::<String, i64>::default())
        .group_by_key()
        .try_aggregate(
            || 0,
            |_, value, sum: i64| match sum + value.unwrap_or(0) {
                sum if sum != 0 && sum % 7 == 0 => Err(format!("{sum} is a multiple of 7")),
                sum => Ok(sum),
            },
        )
        .materialized("sum")
        .to_stream()
        .to("out");
}
