//! Streams joined with global tables.

use millpond::dsl::TopologyBuilder;

use super::{Cases, nullable, plain, text};

pub(super) const ALL: Cases = &[("stream_globaltable_join_inner", inner), ("stream_globaltable_join_left", left)];

fn inner(topology: &TopologyBuilder) {
    let global = topology.global_table("g", plain()).materialized("g-store");
    topology
        .stream("s", nullable())
        .join_global(
            &global,
            |_, value| text::before(value.as_ref(), ':'),
            |_, value, row| text::plus(value.as_ref(), Some(row)),
        )
        .to("out");
}

fn left(topology: &TopologyBuilder) {
    let global = topology.global_table("g", plain()).materialized("g-store");
    topology
        .stream("s", nullable())
        .left_join_global(
            &global,
            |_, value| text::before(value.as_ref(), ':'),
            |_, value, row| text::plus(value.as_ref(), row),
        )
        .to("out");
}
