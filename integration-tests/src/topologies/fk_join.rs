//! Tables joined by a foreign key.

use millpond::dsl::{Materialized, Table, TopologyBuilder};

use super::{Cases, ms, plain, text};

pub(super) const ALL: Cases = &[
    ("fk_join_inner", inner),
    ("fk_join_inner_not_materialized", inner_not_materialized),
    ("fk_join_left", |topology| left(topology).to_stream().to("out")),
    ("fk_join_left_key_and_value_extractor", left_by_key_and_value),
    ("fk_join_self", managers),
    ("fk_join_then_group", then_group),
    ("fk_join_versioned_inner", versioned_inner),
    ("fk_join_versioned_left", versioned_left),
];

/// The text before the separator.
fn foreign_key(_: &String, value: &String) -> Option<String> {
    text::before(Some(value), '|')
}

fn both(topology: &TopologyBuilder) -> [Materialized<'_, String, String>; 2] {
    [topology.table("left", plain()).materialized("l"), topology.table("right", plain()).materialized("r")]
}

fn inner(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    let joined = left.join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), Some(r)));
    joined.materialized("j").to_stream().to("out");
}

fn inner_not_materialized(topology: &TopologyBuilder) {
    let [left, right] = ["left", "right"].map(|topic| topology.table(topic, plain()));
    left.join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), Some(r))).to_stream().to("out");
}

fn left(topology: &TopologyBuilder) -> Table<'_, String, String> {
    let [left, right] = both(topology);
    left.left_join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), r)).materialized("j").into()
}

fn left_by_key_and_value(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    let first = |text: &String| text::first(Some(text)).unwrap_or_default();
    let foreign_key = move |key: &String, value: &String| (value != "-").then(|| first(key) + &first(value));
    let joined = left.left_join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), r));
    joined.materialized("j").to_stream().to("out");
}

fn managers(topology: &TopologyBuilder) {
    let employees = topology.table("in", plain()).materialized("t");
    let joined = employees.left_join_on(&employees, foreign_key, |_, l, r| text::plus(Some(l), r));
    joined.materialized("j").to_stream().to("out");
}

fn then_group(topology: &TopologyBuilder) {
    let joined = left(topology);
    joined.to_stream().to("joined");
    let right_of = |_: &String, value: &String| {
        let right = value.split_once('+').map_or("", |(_, right)| right);
        (right.to_owned(), value.clone())
    };
    joined.group_by(right_of).count().materialized("n").to_stream().to("out");
}

fn both_versioned(topology: &TopologyBuilder) -> [Materialized<'_, String, String>; 2] {
    [("left", "l"), ("right", "r")].map(|(topic, store)| topology.table(topic, plain()).versioned(store, ms(300)))
}

fn versioned_inner(topology: &TopologyBuilder) {
    let [left, right] = both_versioned(topology);
    left.join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), Some(r))).to_stream().to("out");
}

fn versioned_left(topology: &TopologyBuilder) {
    let [left, right] = both_versioned(topology);
    left.left_join_on(&right, foreign_key, |_, l, r| text::plus(Some(l), r)).to_stream().to("out");
}
