//! Operators without state.

use millpond::dsl::TopologyBuilder;

use super::{Cases, Nullable, nullable, text};

pub(super) const ALL: Cases = &[
    ("stateless_filter", filter),
    ("stateless_i64", numbers),
    ("stateless_map", map),
    ("stateless_multi_source_merge", multi_source_merge),
    ("stateless_one_stream_many_uses", one_stream_many_uses),
    ("stateless_same_topics_twice", same_topics_twice),
    ("stateless_split_merge", split_merge),
    ("stateless_dynamic_routing", dynamic_routing),
];

fn filter(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.filter(|_, value| value.as_deref().is_some_and(|value| text::length(value).is_multiple_of(2))).to("even");
    stream.filter_not(|_, value| value.is_none()).to("nonnull");
    stream
        .filter(|key, _| key.is_some())
        .filter_not(|_, value| value.as_deref().is_some_and(|value| value.starts_with('x')))
        .to("chain");
}

fn numbers(topology: &TopologyBuilder) {
    let stream = topology.stream("in", Nullable::<i64, i64>::default());
    stream
        .filter(|key, value| matches!((key, value), (Some(k), Some(v)) if k.wrapping_add(*v).rem_euclid(2) == 0))
        .map(|key, value| match (key, value) {
            (Some(k), Some(v)) => (Some(k.wrapping_add(*v)), Some(v.wrapping_sub(*k))),
            _ => (None, None),
        })
        .to("out");
    stream
        .filter(|_, value| matches!(value, Some(i64::MIN | i64::MAX)))
        .map(|key, value| (text::or_null(key.as_ref()), value.map(|value| value.to_string())))
        .to("text");
}

fn map(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.map(|key, value| (value.clone(), key.clone())).to("swapped");
    stream
        .map_values(|key, value| format!("{}:{}", text::or_null(key.as_ref()), text::or_null(value.as_ref())))
        .to("mapped");
    stream
        .flat_map(|key, value| {
            text::words(value.as_ref()).into_iter().map(|word| (word, key.clone())).collect::<Vec<_>>()
        })
        .to("flat");
    stream.flat_map_values(|_, value| text::words(value.as_ref())).to("flatvalues");
    stream.peek(|_, _| {}).select_key(|_, value| text::first(value.as_ref())).to("rekeyed");
    stream.skip_null_values().map_values(|_, value| text::length(value) as i64).to("length");
}

fn multi_source_merge(topology: &TopologyBuilder) {
    let one = topology.stream(["in1", "in2"], nullable());
    let three = topology.stream("in3", nullable());
    one.to("both");
    one.map_values(|_, value| Some(format!("m:{}", text::or_null(value.as_ref())))).merge(&three).to("all");
}

fn one_stream_many_uses(topology: &TopologyBuilder) {
    let words = topology.stream("in", nullable()).flat_map(|key, value| {
        text::words(value.as_ref()).into_iter().map(|word| (word, key.clone())).collect::<Vec<_>>()
    });
    words.to("words");
    words.group_by_key().count().materialized("word-counts").to_stream().to("counts");
    words.map_values(|word, _| text::length(word) as i64).to("lens");
}

fn same_topics_twice(topology: &TopologyBuilder) {
    let a = topology.stream(["ev.one", "ev.two"], nullable());
    a.filter(|key, _| key.is_some()).to("out");
    let b = topology.stream(["ev.one", "ev.two"], nullable());
    b.filter(|_, value| value.is_none()).map_values(|_, _| "gone".to_owned()).to("out");
}

fn split_merge(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    let mut first = stream.split();
    first.branch("nulls", |_, value| value.is_none()).to("nulls");
    let a = first.branch("a", |_, value| value.as_deref().is_some_and(|value| value.starts_with('a')));
    let long = first.branch("long", |_, value| value.as_deref().is_some_and(|value| text::length(value) > 4));
    a.merge(&long).to("a_or_long");
    first.default_branch("rest").to("rest");

    let mut second = stream.split();
    let short = |_: &_, value: &Option<String>| value.as_deref().is_some_and(|value| text::length(value) <= 3);
    second.branch("short", short).to("second_short");
    let upper = |_: &_, value: &Option<String>| {
        value.as_deref().is_some_and(|value| value.starts_with(|first: char| first.is_ascii_uppercase()))
    };
    let upper = second.branch("upper", upper);
    upper.map_values(|_, value| value.as_ref().map(|value| value.to_lowercase())).to("second_upper");
}

fn dynamic_routing(topology: &TopologyBuilder) {
    fn route(value: &Option<String>) -> &'static str {
        match value.as_deref().map(|value| text::length(value) % 2) {
            None => "route-none",
            Some(0) => "route-even",
            Some(_) => "route-odd",
        }
    }

    let stream = topology.stream("in", nullable());
    for topic in ["route-none", "route-even", "route-odd"] {
        stream.filter(move |_, value| route(value) == topic).to(topic);
    }
}
