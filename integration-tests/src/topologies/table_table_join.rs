//! Tables joined with tables.

use millpond::dsl::{Materialized, Table, TopologyBuilder};

use super::{Cases, plain, text};

pub(super) const ALL: Cases = &[
    ("table_table_join_inner", |topology| inner(topology).to_stream().to("out")),
    ("table_table_join_inner_materialized", |topology| inner(topology).materialized("j").to_stream().to("out")),
    ("table_table_join_left", |topology| left(topology).to_stream().to("out")),
    ("table_table_join_left_materialized", |topology| left(topology).materialized("j").to_stream().to("out")),
    ("table_table_join_outer", |topology| outer(topology).to_stream().to("out")),
    ("table_table_join_outer_materialized", |topology| outer(topology).materialized("j").to_stream().to("out")),
    ("table_table_join_three", three),
    ("table_table_join_filtered", filtered),
    ("table_self_join", self_join),
    ("merge_tables_outer_filter", merge),
];

type Texts<'t> = Table<'t, String, String>;

fn both(topology: &TopologyBuilder) -> [Materialized<'_, String, String>; 2] {
    [topology.table("left", plain()).materialized("l"), topology.table("right", plain()).materialized("r")]
}

fn inner(topology: &TopologyBuilder) -> Texts<'_> {
    let [left, right] = both(topology);
    left.join(&right, |_, l, r| text::plus(Some(l), Some(r)))
}

fn left(topology: &TopologyBuilder) -> Texts<'_> {
    let [left, right] = both(topology);
    left.left_join(&right, |_, l, r| text::plus(Some(l), r))
}

fn outer(topology: &TopologyBuilder) -> Texts<'_> {
    let [left, right] = both(topology);
    left.outer_join(&right, |_, l, r| text::plus(l, r))
}

fn three(topology: &TopologyBuilder) {
    let a = topology.table("a", plain()).materialized("a-s");
    let b = topology.table("b", plain()).materialized("b-s");
    let c = topology.table("c", plain()).materialized("c-s");
    a.join(&b, |_, a, b| text::plus(Some(a), Some(b)))
        .outer_join(&c, |_, ab, c| text::plus(ab, c))
        .materialized("j")
        .to_stream()
        .to("out");
}

fn filtered(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    let left = left.filter(|_, value| text::length(value).is_multiple_of(2));
    let right = right.map_values(|_, value| value.to_uppercase());
    left.join(&right, |_, l, r| text::plus(Some(l), Some(r)))
        .filter(|_, value| !value.contains('e'))
        .to_stream()
        .to("out");
}

fn self_join(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    let upper = table.map_values(|_, value| value.to_uppercase());
    table.left_join(&upper, |_, l, r| text::plus(Some(l), r)).to_stream().to("out");
}

fn merge(topology: &TopologyBuilder) {
    let old = topology.table("old", plain()).materialized("o");
    let new = topology.table("new", plain()).materialized("n");
    old.outer_join(&new, |_, old, new| new.or(old).cloned().unwrap_or_default())
        .filter(|_, value| value != "hide")
        .materialized("merged")
        .to_stream()
        .to("out");
}
