//! Aggregations within sessions, and all kinds of windows side by side.

use millpond::dsl::{SessionWindows, SlidingWindows, TimeWindows, TopologyBuilder};

use super::{Cases, HOUR, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("session_count", count),
    ("session_aggregate", aggregate),
    ("session_reduce", reduce),
    ("session_default_retention", default_retention),
    ("session_edges", edges),
    ("window_edges", edges_of_all),
    ("windowed_null_values", null_values),
];

fn count(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(50)).grace(ms(30)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn aggregate(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(40)))
        .retention(HOUR)
        .aggregate(
            || ".".to_owned(),
            |_, value, so_far| text::append(&so_far, value.as_ref()),
            |_, a, b| format!("{a}|{b}"),
        )
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn reduce(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(30)).grace(ms(500)))
        .retention(HOUR)
        .reduce(|old, new| match new.as_deref() {
            Some("kill") => None,
            _ => Some(Some(format!("{}{}", text::or_null(old.as_ref()), text::or_null(new.as_ref())))),
        })
        .materialized("red")
        .to_stream()
        .to("out");
}

fn default_retention(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(10)).grace(ms(5)))
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()), |_, a, b| a + &b)
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn edges(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(10)).grace(ms(1000)))
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()), |_, a, b| a + &b)
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn edges_of_all(topology: &TopologyBuilder) {
    let grouped = || topology.stream("in", nullable()).group_by_key();
    let add = |_: &Option<String>, value: &Option<String>, so_far: String| text::append(&so_far, value.as_ref());
    let tumbling = grouped().windowed_by(TimeWindows::tumbling(ms(10)).grace(ms(5))).retention(HOUR);
    tumbling.aggregate(String::new, add).materialized("t").to_stream().to("tumbling");
    let hopping = TimeWindows::tumbling(ms(10)).advance_by(ms(5)).grace(ms(5));
    let hopping = grouped().windowed_by(hopping).retention(HOUR);
    hopping.aggregate(String::new, add).materialized("h").to_stream().to("hopping");
    let sliding = grouped().windowed_by(SlidingWindows::of(ms(10)).grace(ms(5))).retention(HOUR);
    sliding.aggregate(String::new, add).materialized("sl").to_stream().to("sliding");
    let sessions = grouped().windowed_by(SessionWindows::with_gap(ms(10)).grace(ms(5))).retention(HOUR);
    sessions.aggregate(String::new, add, |_, a, b| a + &b).materialized("se").to_stream().to("session");
}

fn null_values(topology: &TopologyBuilder) {
    let grouped = || topology.stream("in", nullable()).group_by_key();
    let tumbling = grouped().windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(1000))).retention(HOUR);
    tumbling.count().materialized("t").to_stream().to("tumbling");
    let sliding = grouped().windowed_by(SlidingWindows::of(ms(100)).grace(ms(1000))).retention(HOUR);
    sliding.count().materialized("sl").to_stream().to("sliding");
    let sessions = grouped().windowed_by(SessionWindows::with_gap(ms(50)).grace(ms(1000))).retention(HOUR);
    sessions.count().materialized("se").to_stream().to("session");
    grouped().count().materialized("p").to_stream().to("plain");
}
