//! Aggregations within sliding windows.

use millpond::dsl::{SlidingWindows, TopologyBuilder};

use super::{Cases, HOUR, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("sliding_count", count),
    ("sliding_aggregate", aggregate),
    ("sliding_early_records", early_records),
    ("sliding_reduce_default_retention", reduce_default_retention),
];

fn count(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SlidingWindows::of(ms(50)).grace(ms(20)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn aggregate(topology: &TopologyBuilder) {
    concatenate(topology, SlidingWindows::of(ms(50)).grace(ms(20)));
}

fn early_records(topology: &TopologyBuilder) {
    concatenate(topology, SlidingWindows::of(ms(100)).grace(ms(150)));
}

fn concatenate(topology: &TopologyBuilder, windows: SlidingWindows) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(windows)
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn reduce_default_retention(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SlidingWindows::of(ms(30)))
        .reduce(|old, new| Some(format!("{}{}", old.unwrap_or_default(), text::or_null(new.as_ref()))))
        .materialized("red")
        .to_stream()
        .to("out");
}
