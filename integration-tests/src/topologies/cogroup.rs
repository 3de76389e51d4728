//! Several streams aggregated into one table.

use millpond::{
    Serdes,
    dsl::{SessionWindows, SlidingWindows, TimeWindows, TopologyBuilder},
};

use super::{Cases, HOUR, Nullable, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("cogroup_plain", plain),
    ("cogroup_tumbling", tumbling),
    ("cogroup_sliding", sliding),
    ("cogroup_session", session),
];

fn append(so_far: &str, value: Option<&String>) -> String {
    text::append(so_far, value)
}

fn append_upper(so_far: &str, value: Option<&String>) -> String {
    append(so_far, value.map(|value| value.to_uppercase()).as_ref())
}

fn plain(topology: &TopologyBuilder) {
    let a = topology.stream("a", nullable()).group_by_key();
    let b = topology.stream("b", Nullable::<String, i64>::default()).group_by_key();
    a.cogroup(|_, value, so_far: String| text::keep(&append(&so_far, value.as_ref())))
        .cogroup(b, |_, value, so_far| {
            value.filter(|value| *value != 0).map(|value| text::keep(&format!("{so_far}#{value}")))
        })
        .aggregate(|| "|".to_owned())
        .materialized("co")
        .to_stream()
        .to("out");
}

fn tumbling(topology: &TopologyBuilder) {
    let a = topology.stream("a", nullable()).group_by_key();
    let b = topology.stream("b", nullable()).group_by(|key, _| key.as_ref().map(|key| key.to_lowercase()));
    a.cogroup(|_, value, so_far: String| append(&so_far, value.as_ref()))
        .cogroup(b, |_, value, so_far| append_upper(&so_far, value.as_ref()))
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(30)))
        .retention(HOUR)
        .aggregate(String::new)
        .materialized("co")
        .to_stream()
        .to("out");
}

fn sliding(topology: &TopologyBuilder) {
    let input = |topic| topology.stream(topic, Serdes::<Option<String>, Option<String>>::default()).group_by_key();
    input("a")
        .cogroup(|_, _, count: i64| count + 1)
        .cogroup(input("b"), |_, _, count| count + 100)
        .windowed_by(SlidingWindows::of(ms(50)).grace(ms(30)))
        .retention(HOUR)
        .aggregate(|| 0)
        .materialized("co")
        .to_stream()
        .to("out");
}

fn session(topology: &TopologyBuilder) {
    let input = |topic| topology.stream(topic, nullable()).group_by_key();
    input("a")
        .cogroup(|_, value, so_far: String| append(&so_far, value.as_ref()))
        .cogroup(input("b"), |_, value, so_far| append_upper(&so_far, value.as_ref()))
        .windowed_by(SessionWindows::with_gap(ms(40)).grace(ms(20)))
        .retention(HOUR)
        .aggregate(String::new, |_, a, b| a + &b)
        .materialized("co")
        .to_stream()
        .to("out");
}
