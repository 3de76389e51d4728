//! Streams joined with streams.

use millpond::dsl::{JoinWindows, TopologyBuilder};

use super::{Cases, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("stream_stream_join_inner", |topology| inner(topology, JoinWindows::of(ms(50)).grace(ms(30)))),
    ("stream_stream_join_inner_asymmetric", |topology| {
        inner(topology, JoinWindows::of(ms(20)).after(ms(70)).grace(ms(20)));
    }),
    ("stream_stream_join_only_after", |topology| inner(topology, JoinWindows::of(ms(60)).later_by(ms(10)))),
    ("stream_stream_join_left", |topology| left(topology, JoinWindows::of(ms(50)).grace(ms(30)))),
    ("stream_stream_join_left_asymmetric", |topology| {
        left(topology, JoinWindows::of(ms(20)).after(ms(70)).grace(ms(20)));
    }),
    ("stream_stream_join_left_no_grace", |topology| left(topology, JoinWindows::of(ms(40)))),
    ("stream_stream_join_left_throttled", |topology| left(topology, JoinWindows::of(ms(50)).grace(ms(30)))),
    ("stream_stream_join_outer", |topology| outer(topology, JoinWindows::of(ms(50)).grace(ms(30)))),
    ("stream_stream_join_outer_asymmetric", |topology| {
        outer(topology, JoinWindows::of(ms(70)).after(ms(10)).grace(ms(20)));
    }),
    ("stream_stream_join_duplicates", |topology| outer(topology, JoinWindows::of(ms(20)).grace(ms(10)))),
    ("stream_stream_join_rekeyed", rekeyed),
    ("stream_stream_join_three", three),
    ("stream_stream_self_join", self_join),
    ("stream_stream_self_join_optimized", self_join_optimized),
];

type Text = Option<String>;

fn plus(_: &Text, left: &Text, right: &Text) -> String {
    text::plus(left.as_ref(), right.as_ref())
}

fn left_plus(_: &Text, left: &Text, right: Option<&Text>) -> String {
    text::plus(left.as_ref(), right.and_then(Option::as_ref))
}

fn inner(topology: &TopologyBuilder, windows: JoinWindows) {
    let (left, right) = (topology.stream("left", nullable()), topology.stream("right", nullable()));
    left.join_within(&right, windows, plus).to("out");
}

fn left(topology: &TopologyBuilder, windows: JoinWindows) {
    let (left, right) = (topology.stream("left", nullable()), topology.stream("right", nullable()));
    left.left_join_within(&right, windows, left_plus).to("out");
}

fn outer(topology: &TopologyBuilder, windows: JoinWindows) {
    let (left, right) = (topology.stream("left", nullable()), topology.stream("right", nullable()));
    let joiner = |_: &Text, left: Option<&Text>, right: Option<&Text>| {
        text::plus(left.and_then(Option::as_ref), right.and_then(Option::as_ref))
    };
    left.outer_join_within(&right, windows, joiner).to("out");
}

fn rekeyed(topology: &TopologyBuilder) {
    let left = topology.stream("left", nullable()).select_key(|_, value| text::before(value.as_ref(), ':'));
    let right = topology.stream("right", nullable());
    left.left_join_within(&right, JoinWindows::of(ms(40)).grace(ms(20)), left_plus)
        .map_values(|key, joined| format!("{}={joined}", text::or_null(key.as_ref())))
        .to("out");
}

fn three(topology: &TopologyBuilder) {
    let [a, b, c] = ["a", "b", "c"].map(|topic| topology.stream(topic, nullable()));
    a.join_within(&b, JoinWindows::of(ms(40)).grace(ms(40)), plus)
        .left_join_within(&c, JoinWindows::of(ms(60)).grace(ms(20)), |_, left, right| {
            text::plus(Some(left), right.and_then(Option::as_ref))
        })
        .to("out");
}

fn self_join(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.join_within(&stream, JoinWindows::of(ms(30)).grace(ms(20)), plus).to("out");
}

fn self_join_optimized(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.self_join_within(JoinWindows::of(ms(30)).grace(ms(20)), plus).to("out");
}
