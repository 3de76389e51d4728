//! Aggregations within tumbling, hopping and unlimited windows, and tables made of them.

use millpond::{
    Windowed,
    dsl::{Table, TimeWindows, TopologyBuilder, UnlimitedWindows},
};

use super::{Cases, HOUR, Nullable, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("tumbling_count_grace", tumbling_count_grace),
    ("tumbling_count_default_retention", tumbling_count_default_retention),
    ("tumbling_realistic_epoch", tumbling_realistic_epoch),
    ("tumbling_reduce_no_grace", tumbling_reduce_no_grace),
    ("hopping_aggregate", hopping_aggregate),
    ("hopping_count_wide", hopping_count_wide),
    ("unlimited_count", unlimited_count),
    ("windowed_table_filter", table_filter),
    ("windowed_table_join_inner", table_join_inner),
    ("windowed_table_join_outer", table_join_outer),
];

fn tumbling_count_grace(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn tumbling_count_default_retention(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn tumbling_realistic_epoch(topology: &TopologyBuilder) {
    topology
        .stream("in", Nullable::<String, i64>::default())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(60_000)).grace(ms(10_000)))
        .aggregate(|| 0, |_, value, sum: i64| sum + value.unwrap_or(0))
        .materialized("sums")
        .to_stream()
        .to("out");
}

fn tumbling_reduce_no_grace(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(50)))
        .retention(HOUR)
        .reduce(|old, new| match new.as_deref() {
            Some("kill") => None,
            new => Some(Some(format!("{}{}", old.unwrap_or_default(), new.unwrap_or_default()))),
        })
        .materialized("reduced")
        .to_stream()
        .to("out");
}

fn hopping_aggregate(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).advance_by(ms(30)).grace(ms(20)))
        .retention(HOUR)
        .aggregate(String::new, |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn hopping_count_wide(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by(|_, value| text::first(value.as_ref()))
        .windowed_by(TimeWindows::tumbling(ms(60)).advance_by(ms(20)).grace(ms(60)))
        .retention(HOUR)
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn unlimited_count(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(UnlimitedWindows::start_on(200))
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
}

fn table_filter(topology: &TopologyBuilder) {
    let counts = topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(40)))
        .retention(HOUR)
        .count()
        .materialized("w");
    counts.filter(|_, n| *n < 3 || n % 2 == 0).to_stream().to("out");
    counts
        .map_values(|window, n| format!("{}x{n}@{}", text::or_null(window.key.as_ref()), window.start_ms))
        .to_stream()
        .to("text");
}

type WindowedTable<'t, V> = Table<'t, Windowed<Option<String>>, V>;

/// The two sides of the joins.
fn sides(topology: &TopologyBuilder) -> (WindowedTable<'_, i64>, WindowedTable<'_, Option<String>>) {
    let windows = TimeWindows::tumbling(ms(100)).grace(ms(60));
    let a = topology.stream("a", nullable()).group_by_key().windowed_by(windows).retention(HOUR);
    let b = topology.stream("b", nullable()).group_by_key().windowed_by(windows).retention(HOUR);
    let values = b.reduce(|old, new| Some(format!("{}{}", text::or_null(old.as_ref()), text::or_null(new.as_ref()))));
    (a.count().materialized("a-w").into(), values.materialized("b-w").into())
}

fn side(value: Option<&Option<String>>) -> String {
    text::or_null(value.and_then(Option::as_ref))
}

fn table_join_inner(topology: &TopologyBuilder) {
    let (a, b) = sides(topology);
    a.join(&b, |_, n, value| format!("{n}:{}", side(Some(value)))).to_stream().to("out");
}

fn table_join_outer(topology: &TopologyBuilder) {
    let (a, b) = sides(topology);
    a.outer_join(&b, |_, n, value| format!("{}:{}", text::or_null(n), side(value))).to_stream().to("out");
}
