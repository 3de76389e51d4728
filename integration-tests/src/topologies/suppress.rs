//! Tables whose changes wait.

use millpond::dsl::{Buffer, SessionWindows, SlidingWindows, TimeWindows, TopologyBuilder};

use super::{Cases, HOUR, ms, nullable, plain, text};

pub(super) const ALL: Cases = &[
    ("suppress_time_limit", time_limit),
    ("suppress_zero_time_limit", zero_time_limit),
    ("suppress_max_records", max_records),
    ("suppress_table_tombstones", table_tombstones),
    ("suppress_window_tumbling", window_tumbling),
    ("suppress_window_hopping", window_hopping),
    ("suppress_window_session", window_session),
    ("suppress_window_sliding", window_sliding),
    ("suppress_window_early", window_early),
];

fn time_limit(topology: &TopologyBuilder) {
    let counts = topology.stream("in", nullable()).group_by_key().count().materialized("counts");
    counts.suppress_for(ms(60), Buffer::unbounded()).to_stream().to("out");
}

fn zero_time_limit(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table.suppress_for(ms(0), Buffer::unbounded()).to_stream().to("out");
}

fn max_records(topology: &TopologyBuilder) {
    let counts = topology.stream("in", nullable()).group_by_key().count().materialized("counts");
    let buffer = Buffer::unbounded().max_records(3).emit_early_when_full();
    counts.suppress_for(ms(1000), buffer).to_stream().to("out");
}

fn table_tombstones(topology: &TopologyBuilder) {
    topology
        .table("in", plain())
        .materialized("t")
        .filter(|_, value| !value.starts_with('x'))
        .suppress_for(ms(40), Buffer::unbounded())
        .map_values(|_, value| value.to_uppercase())
        .to_stream()
        .to("out");
}

fn window_tumbling(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .suppress_until_windows_close(Buffer::unbounded())
        .to_stream()
        .to("out");
}

fn window_hopping(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).advance_by(ms(50)).grace(ms(10)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .suppress_until_windows_close(Buffer::unbounded())
        .to_stream()
        .to("out");
}

fn window_session(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(40)).grace(ms(20)))
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()), |_, a, b| a + &b)
        .materialized("agg")
        .suppress_until_windows_close(Buffer::unbounded())
        .to_stream()
        .to("out");
}

fn window_sliding(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SlidingWindows::of(ms(50)).grace(ms(20)))
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .suppress_until_windows_close(Buffer::unbounded())
        .to_stream()
        .to("out");
}

fn window_early(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(50)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .suppress_for(ms(40), Buffer::unbounded().max_records(4).emit_early_when_full())
        .to_stream()
        .to("out");
}
