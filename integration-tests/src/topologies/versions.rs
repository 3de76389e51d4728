//! Tables and stores that keep versions.

use millpond::{
    dsl::{Materialized, StoreBuilder, Table, TopologyBuilder},
    processor::{Processor, ProcessorContext, ProcessorResult, Record, VersionedStore},
    state::Written,
};

use super::{Cases, ms, nullable, plain, text};

pub(super) const ALL: Cases = &[
    ("versioned_store_reads", reads),
    ("versioned_stream_to_table", stream_to_table),
    ("versioned_table", table),
    ("versioned_table_aggregate", aggregate),
    ("versioned_table_changes_to_old", changes_to_old),
    ("stream_table_join_versioned_inner", stream_inner),
    ("stream_table_join_versioned_left", stream_left),
    ("stream_table_join_grace_inner", grace_inner),
    ("stream_table_join_grace_left", grace_left),
    ("table_table_join_versioned_inner", inner),
    ("table_table_join_versioned_left", left),
    ("table_table_join_versioned_outer", outer),
];

type Text = Option<String>;
type Texts<'t> = Table<'t, String, String>;

/// Writes to a store, and says what it reads.
struct Reads(VersionedStore<String, String>);

fn reads(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::versioned("v", plain(), ms(200)));
    topology.stream("in", nullable()).process(store, Reads).to("out");
}

fn stream_to_table(topology: &TopologyBuilder) {
    topology
        .stream("in", nullable())
        .filter(|_, value| value.as_ref().is_none_or(|value| !value.starts_with('x')))
        .to_table()
        .versioned("v", ms(150))
        .to_stream()
        .to("out");
}

fn table(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).versioned("v", ms(200));
    let filtered = || table.filter(|_, value| !value.starts_with('x'));
    table.to_stream().to("all");
    filtered().to_stream().to("filtered");
    table.map_values(|_, value| value.to_uppercase()).to_stream().to("mapped");
    filtered().materialized("fm").to_stream().to("filtermat");
}

fn aggregate(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).versioned("v", ms(300));
    table
        .group_by(|_, value| (text::first(Some(value)).unwrap_or_default(), value.clone()))
        .count()
        .materialized("c")
        .to_stream()
        .to("counts");
    table
        .group_by(|_, value| ("all".to_owned(), value.clone()))
        .aggregate(
            String::new,
            |_, value, text| text::keep(&format!("{text}+{value}")),
            |_, value, text| text::keep(&format!("{text}-{value}")),
        )
        .materialized("a")
        .to_stream()
        .to("text");
    table.filter(|_, value| !value.starts_with('x')).to_stream().to("filtered");
}

fn changes_to_old(topology: &TopologyBuilder) {
    let table = topology.table("in", plain()).versioned("v", ms(200));
    table.map_values(|_, value| value.to_uppercase()).versioned("m", ms(80)).to_stream().to("out");
}

fn stream_inner(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).versioned("t-store", ms(200));
    stream.join(&table, |_, value, row| text::plus(value.as_ref(), Some(row))).to("out");
}

fn stream_left(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).versioned("t-store", ms(200));
    stream.left_join(&table, |_, value, row| text::plus(value.as_ref(), row)).to("out");
}

fn grace_inner(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).versioned("t-store", ms(500));
    let joined = stream.join_with_grace(&table, ms(50), |_, value, row| text::plus(value.as_ref(), Some(row)));
    joined.named("grace-join").to("out");
}

fn grace_left(topology: &TopologyBuilder) {
    let stream = topology.stream("s", nullable());
    let table = topology.table("t", plain()).versioned("t-store", ms(500));
    stream.left_join_with_grace(&table, ms(50), |_, value, row| text::plus(value.as_ref(), row)).to("out");
}

fn both(topology: &TopologyBuilder) -> [Materialized<'_, String, String>; 2] {
    [("left", "l"), ("right", "r")].map(|(topic, store)| topology.table(topic, plain()).versioned(store, ms(300)))
}

fn inner(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    write(&left.join(&right, |_, l, r| text::plus(Some(l), Some(r))));
}

fn left(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    write(&left.left_join(&right, |_, l, r| text::plus(Some(l), r)));
}

fn outer(topology: &TopologyBuilder) {
    let [left, right] = both(topology);
    write(&left.outer_join(&right, |_, l, r| text::plus(l, r)));
}

fn write(joined: &Texts<'_>) {
    joined.to_stream().to("out");
}

// === impl Reads ===

impl Reads {
    fn answer(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, command: &str) -> Result<String, Error> {
        let words: Vec<&str> = command.split(' ').collect();
        let row = |row: Option<(String, i64)>| {
            row.map_or_else(|| "null".to_owned(), |(value, timestamp_ms)| format!("{value}@{timestamp_ms}"))
        };
        Ok(match words.as_slice() {
            ["put", key, value, at] => {
                let value = (*value != "~").then(|| (*value).to_owned());
                match self.0.put(ctx, &(*key).to_owned(), value.as_ref(), at.parse()?)? {
                    Written::Latest => "-1".to_owned(),
                    Written::OutOfOrder { valid_to_ms } => valid_to_ms.to_string(),
                    Written::Refused => i64::MIN.to_string(),
                }
            }
            ["del", key, at] => row(self.0.delete(ctx, &(*key).to_owned(), at.parse()?)?),
            ["get", key] => row(self.0.get(ctx, &(*key).to_owned())?),
            ["asof", key, at] => row(self.0.get_as_of(ctx, &(*key).to_owned(), at.parse()?)?),
            _ => return Err(format!("there is no command `{command}`").into()),
        })
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Processor<Text, Text> for Reads {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        let answer = self.answer(ctx, record.value.as_deref().unwrap_or_default())?;
        Ok(ctx.forward(record.with_value(Some(answer)))?)
    }
}
