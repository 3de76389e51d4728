//! Headers, which go with their records.

use millpond::{
    Serdes,
    dsl::{Buffer, JoinWindows, Repartitioned, SessionWindows, TimeWindows, TopologyBuilder},
    processor::{Processor, ProcessorContext, ProcessorResult, Record},
};

use super::{Cases, HOUR, ms, nullable, text};

pub(super) const ALL: Cases =
    &[("headers_aggregates", aggregates), ("headers_joins", joins), ("headers_stateless", stateless)];

type Text = Option<String>;

/// Adds a header to each record.
struct Stamp;

fn stateless(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    stream.map_values(|_, value| value.as_ref().map(|value| value.to_uppercase())).to("copy");
    stream.flat_map_values(|_, value| value.as_deref().map(halves).unwrap_or_default()).to("words");
    stream.select_key(|_, _| "k".to_owned()).repartition(Repartitioned::named("mid")).to("rekeyed");
    stream.process((), |()| Stamp).to("added");
}

fn aggregates(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    let counts = stream.group_by_key().count().materialized("n");
    counts.to_stream().to("count");
    let windows = stream.group_by_key().windowed_by(TimeWindows::tumbling(ms(50))).retention(HOUR).emit_on_close();
    windows.count().materialized("w").to_stream().to("final");
    let sessions = stream.group_by_key().windowed_by(SessionWindows::with_gap(ms(20)).grace(ms(100))).retention(HOUR);
    sessions.count().materialized("se").to_stream().to("session");
    counts.suppress_for(ms(30), Buffer::unbounded()).to_stream().to("suppressed");
    counts
        .group_by(|_, count| ("all".to_owned(), *count))
        .aggregate(|| 0, |_, count, sum: i64| sum + count, |_, count, sum: i64| sum - count)
        .materialized("re")
        .to_stream()
        .to("regrouped");
}

fn joins(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", Serdes::<Text, String>::default()).materialized("t-store");
    let rows = stream.to_table().materialized("u-store");
    stream.left_join(&table, |_, value, row| text::plus(value.as_ref(), row)).to("table");
    let updates = table.to_stream().filter(|_, value| value.is_some());
    stream
        .left_join_within(&updates, JoinWindows::of(ms(40)), |_, left, right| {
            text::plus(left.as_ref(), right.and_then(Option::as_ref))
        })
        .to("streams");
    rows.outer_join(&table, |_, left, right| text::plus(left, right)).to_stream().to("tables");
    rows.left_join_on(
        &table,
        |_, value| text::first(Some(value)).map(Some),
        |_, left, right| text::plus(Some(left), right),
    )
    .to_stream()
    .to("fk");
}

/// The characters of the first half, and the others.
fn halves(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let (first, second) = characters.split_at(characters.len() / 2);
    vec![first.iter().collect(), second.iter().collect()]
}

// === impl Stamp ===

impl Processor<Text, Text> for Stamp {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        let key = record.key.as_deref().unwrap_or("none");
        let headers = record.headers.with("added", Some(key.as_bytes()));
        Ok(ctx.forward(Record { headers, ..record })?)
    }
}
