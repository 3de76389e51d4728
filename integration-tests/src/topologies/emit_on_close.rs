//! Aggregations whose results are passed on when their windows have closed.

use millpond::dsl::{SessionWindows, SlidingWindows, TimeWindows, TopologyBuilder};

use super::{Cases, HOUR, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("emit_final_tumbling", tumbling),
    ("emit_final_tumbling_default_retention", tumbling_default_retention),
    ("emit_final_tumbling_throttled", tumbling_throttled),
    ("emit_final_hopping", hopping),
    ("emit_final_sliding", sliding),
    ("emit_final_session", session),
];

fn tumbling(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .retention(HOUR)
        .emit_on_close()
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn tumbling_default_retention(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .emit_on_close()
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn tumbling_throttled(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)))
        .retention(HOUR)
        .emit_on_close()
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn hopping(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).advance_by(ms(40)).grace(ms(20)))
        .retention(HOUR)
        .emit_on_close()
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn sliding(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SlidingWindows::of(ms(50)).grace(ms(20)))
        .retention(HOUR)
        .emit_on_close()
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn session(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(40)).grace(ms(20)))
        .retention(HOUR)
        .emit_on_close()
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()), |_, a, b| a + &b)
        .materialized("agg")
        .to_stream()
        .to("out");
}
