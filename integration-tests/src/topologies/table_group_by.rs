//! Tables grouped by new keys, and repartition topics that were asked for.

use std::cmp::Reverse;

use millpond::{
    Serdes,
    dsl::{Buffer, Repartitioned, SessionWindows, SlidingWindows, TimeWindows, TopologyBuilder},
};

use super::{Cases, HOUR, Nullable, ms, nullable, plain, text};

pub(super) const ALL: Cases = &[
    ("ktable_group_by_aggregate", aggregate),
    ("ktable_group_by_aggregate_null", aggregate_null),
    ("ktable_group_by_chain", chain),
    ("ktable_group_by_count", count),
    ("ktable_group_by_reduce", reduce),
    ("table_join_then_aggregate", join_then_aggregate),
    ("session_regroup", session_regroup),
    ("windowed_regroup", windowed_regroup),
    ("sliding_regroup", sliding_regroup),
    ("suppress_then_regroup", suppress_then_regroup),
    ("two_phase_top3", two_phase_top3),
    ("two_phase_totals", two_phase_totals),
    ("stream_to_table", stream_to_table),
    ("repartition_explicit", repartition_explicit),
];

fn aggregate(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table
        .group_by(|_, value| {
            let (color, payload) = match value.split_once(':') {
                Some((color, payload)) => (color, Some(payload.to_owned())),
                None => (value.as_str(), None),
            };
            ((color != "none").then(|| color.to_owned()), payload)
        })
        .aggregate(
            || "|".to_owned(),
            |_, payload, so_far| text::keep(&format!("{so_far}+{}", text::or_null(payload.as_ref()))),
            |_, payload, so_far| text::keep(&format!("{so_far}-{}", text::or_null(payload.as_ref()))),
        )
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn aggregate_null(topology: &TopologyBuilder) {
    let table = topology.table("in", Serdes::<String, i64>::default()).materialized("t");
    table
        .group_by(|key, value| (text::first(Some(key)), *value))
        .aggregate(
            || 0,
            |_, value, sum: i64| sum + value,
            |_, value, sum: i64| Some(sum - value).filter(|rest| *rest != 0),
        )
        .materialized("agg")
        .to_stream()
        .to("out");
}

fn chain(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    let colors = table.group_by(|_, color| (color.clone(), color.clone())).count().materialized("colors");
    colors.to_stream().to("per_color");
    colors
        .group_by(|color, n| (format!("c{n}"), color.clone()))
        .count()
        .materialized("hist")
        .to_stream()
        .to("histogram");
}

fn count(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table.group_by(|_, value| (value.clone(), value.clone())).count().materialized("counts").to_stream().to("out");
}

fn reduce(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table
        .group_by(|_, value| (text::first(Some(value)), value.clone()))
        .reduce(
            |so_far, value| text::keep(&format!("{so_far}+{value}")),
            |so_far, value| (!value.ends_with('z')).then(|| text::keep(&format!("{so_far}-{value}"))),
        )
        .materialized("red")
        .to_stream()
        .to("out");
}

fn join_then_aggregate(topology: &TopologyBuilder) {
    let orders = topology.table("orders", plain()).materialized("o");
    let customers = topology.table("customers", plain()).materialized("c");
    orders
        .left_join(&customers, |_, order, customer| text::plus(Some(order), customer))
        .group_by(|_, joined| {
            let customer = joined.split_once('+').map_or("", |(_, customer)| customer);
            (customer.to_owned(), joined.clone())
        })
        .count()
        .materialized("n")
        .to_stream()
        .to("out");
}

fn session_regroup(topology: &TopologyBuilder) {
    let sessions = topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SessionWindows::with_gap(ms(30)).grace(ms(200)))
        .retention(HOUR)
        .count()
        .materialized("se");
    sessions
        .group_by(|session, _| (session.key.clone(), 1))
        .reduce(|a: i64, b| a + b, |a, b| a - b)
        .materialized("per-key")
        .to_stream()
        .to("sessions_per_key");
    sessions
        .to_stream()
        .skip_null_values()
        .map(|session, n| (session.key.clone(), format!("{}-{}/{n}", session.start_ms, session.end_ms)))
        .nullable_values()
        .to_table()
        .materialized("latest")
        .to_stream()
        .to("longest");
}

fn windowed_regroup(topology: &TopologyBuilder) {
    let windows = topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(50)).grace(ms(20)))
        .retention(HOUR)
        .count()
        .materialized("w");
    let add = |_: &_, n: &i64, sum: i64| sum + n;
    let subtract = |_: &_, n: &i64, sum: i64| sum - n;
    let by_start = windows.group_by(|window, n| (format!("s{}", window.start_ms), *n));
    by_start.aggregate(|| 0, add, subtract).materialized("by-start").to_stream().to("by_start");
    let add = |_: &_, n: &i64, sum: i64| sum + n;
    let subtract = |_: &_, n: &i64, sum: i64| sum - n;
    let by_key = windows.group_by(|window, n| (window.key.clone(), *n));
    by_key.aggregate(|| 0, add, subtract).materialized("by-key").to_stream().to("by_key");
    windows
        .to_stream()
        .map(|window, _| (window.key.clone(), "u".to_owned()))
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(200)))
        .retention(HOUR)
        .count()
        .materialized("wide-store")
        .to_stream()
        .to("wide");
}

fn sliding_regroup(topology: &TopologyBuilder) {
    let last_40 = |text: String| {
        let skipped = text::length(&text).saturating_sub(40);
        text.chars().skip(skipped).collect::<String>()
    };
    topology
        .stream("in", nullable())
        .group_by_key()
        .windowed_by(SlidingWindows::of(ms(40)).grace(ms(40)))
        .retention(HOUR)
        .aggregate(|| ".".to_owned(), |_, value, so_far| text::append(&so_far, value.as_ref()))
        .materialized("sl")
        .group_by(|window, value| (window.key.clone(), value.clone()))
        .aggregate(
            String::new,
            move |_, value, so_far| last_40(format!("{so_far}+{value}")),
            move |_, value, so_far| last_40(format!("{so_far}-{value}")),
        )
        .materialized("re")
        .to_stream()
        .to("out");
}

fn suppress_then_regroup(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("src");
    table
        .suppress_for(ms(50), Buffer::unbounded())
        .group_by(|_, value| (value.clone(), 1))
        .reduce(|a: i64, b| a + b, |a, b| a - b)
        .materialized("totals")
        .to_stream()
        .to("out");
}

fn two_phase_top3(topology: &TopologyBuilder) {
    fn entries(board: &str) -> Vec<&str> {
        board.split(';').filter(|entry| !entry.is_empty()).collect()
    }
    let sums = topology
        .stream("in", Nullable::<String, i64>::default())
        .group_by_key()
        .aggregate(|| 0, |_, value, sum: i64| sum + value.unwrap_or(0))
        .materialized("sums");
    sums.group_by(|key, sum| ("board".to_owned(), format!("{}:{sum}", text::or_null(key.as_ref()))))
        .aggregate(
            String::new,
            |_, entry, board| {
                let mut entries = entries(&board);
                entries.push(entry);
                entries.sort_by_key(|entry| {
                    let (name, sum) = entry.rsplit_once(':').unwrap_or((entry, "0"));
                    (Reverse(sum.parse::<i64>().unwrap_or(0)), name.to_owned())
                });
                entries.join(";")
            },
            |_, entry, board| {
                let mut entries = entries(&board);
                if let Some(at) = entries.iter().position(|found| found == entry) {
                    entries.remove(at);
                }
                entries.join(";")
            },
        )
        .materialized("board")
        .to_stream()
        .skip_null_values()
        .map_values(|_, board| entries(board).into_iter().take(3).collect::<Vec<_>>().join(";"))
        .to("top");
}

fn two_phase_totals(topology: &TopologyBuilder) {
    let counts = topology.stream("in", nullable()).group_by_key().count().materialized("per-key");
    counts.to_stream().to("per_key");
    counts
        .group_by(|_, n| ("total".to_owned(), *n))
        .aggregate(|| 0, |_, n, sum: i64| sum + n, |_, n, sum: i64| sum - n)
        .materialized("totals-store")
        .to_stream()
        .to("totals");
    counts
        .group_by(|_, n| (format!("n{n}"), 1))
        .reduce(|a: i64, b| a + b, |a, b| a - b)
        .materialized("how-many")
        .to_stream()
        .to("how_many");
}

fn stream_to_table(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.to_table().materialized("t").to_stream().to("out");
    stream
        .select_key(|_, value| match value {
            None => Some("gone".to_owned()),
            value => text::first(value.as_ref()),
        })
        .to_table()
        .materialized("u")
        .to_stream()
        .to("rekeyed");
}

fn repartition_explicit(topology: &TopologyBuilder) {
    let stream = topology
        .stream("in", nullable())
        .select_key(|_, value| text::first(value.as_ref()))
        .repartition(Repartitioned::named("mid").partitions(3));
    stream.to("direct");
    stream.group_by_key().count().materialized("counts-store").to_stream().to("counts");
}
