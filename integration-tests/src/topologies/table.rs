//! Tables.

use millpond::dsl::TopologyBuilder;

use super::{Cases, plain, text};

pub(super) const ALL: Cases = &[
    ("table_source", source),
    ("table_source_not_materialized", source_not_materialized),
    ("table_filter_semantics", filter_semantics),
    ("table_filter_with_old_values", filter_with_old_values),
    ("table_map_values", map_values),
    ("table_to_stream_rekey", to_stream_rekey),
];

fn source(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table.to_stream().to("all");
    table.filter(|_, value| !value.starts_with('x')).to_stream().to("filtered");
    table.map_values(|_, value| value.to_uppercase()).to_stream().to("mapped");
}

fn source_not_materialized(topology: &TopologyBuilder) {
    let table = topology.table("in", plain());
    table.to_stream().to("all");
    table.filter_not(|_, value| value.starts_with('x')).to_stream().to("filtered");
}

fn filter_semantics(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    table.filter(|_, value| !value.starts_with('x')).to_stream().to("virtual");
    table.filter(|_, value| !value.starts_with('x')).materialized("f").to_stream().to("materialized");
    table
        .filter(|_, value| !value.starts_with('x'))
        .filter(|_, value| text::length(value).is_multiple_of(2))
        .to_stream()
        .to("chain");
    table
        .filter_not(|_, value| value.starts_with('x'))
        .map_values(|_, value| format!("{value}!"))
        .to_stream()
        .to("not");
}

fn filter_with_old_values(topology: &TopologyBuilder) {
    let filtered = topology.table("in", plain()).materialized("t").filter(|_, value| !value.starts_with('x'));
    filtered.to_stream().to("filtered");
    let by_first = filtered.group_by(|_, value| (text::first(Some(value)), value.clone()));
    by_first.count().materialized("counts-store").to_stream().to("counts");
}

fn map_values(topology: &TopologyBuilder) {
    let table = topology.table("in", plain());
    table
        .filter_map_values(|_, value| (!value.starts_with('x')).then(|| text::length(value) as i64))
        .materialized("m")
        .to_stream()
        .to("mapped");
    table.map_values(|key, value| format!("{key}={value}")).to_stream().to("withkey");
    table
        .filter_map_values(|_, value| (!value.starts_with('x')).then(|| value.clone()))
        .map_values(|_, value| value.to_uppercase())
        .to_stream()
        .to("then");
}

fn to_stream_rekey(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).materialized("t");
    let by_first = || {
        table.to_stream().select_key(|_, value| match value {
            Some(_) => text::first(value.as_ref()).unwrap_or_default(),
            None => "gone".to_owned(),
        })
    };
    by_first().to("rekeyed");
    by_first().skip_null_values().group_by_key().count().materialized("c").to_stream().to("counts");
}
