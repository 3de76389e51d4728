//! Stores of processors that keep all values of each key and window.

use std::ops::{Bound, RangeInclusive};

use millpond::{
    Serdes,
    dsl::{StoreBuilder, TopologyBuilder},
    processor::{DuplicateWindowStore, Processor, ProcessorContext, ProcessorResult, Record},
    state::Direction,
};

use super::{Cases, ms, nullable};

pub(super) const ALL: Cases = &[("store_window_duplicates", commands)];

type Text = Option<String>;
type Context<'c> = ProcessorContext<'c, Text, Text>;
type Error = Box<dyn std::error::Error + Send + Sync>;

/// What the vectors take for the size of the windows, which the store does not know.
const SIZE_MS: i64 = 50;

/// Does what the values say, and answers.
struct Commands(DuplicateWindowStore<String, Text>);

fn commands(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::duplicate_windows("w", Serdes::default(), ms(300)));
    topology.stream("in", nullable()).process(store, Commands).to("out");
}

// === impl Commands ===

impl Commands {
    fn answer(&mut self, ctx: &mut Context<'_>, command: &[&str], now_ms: i64) -> Result<String, Error> {
        Ok(match *command {
            ["put", key, value, start] => {
                let value = (value != "~").then(|| value.to_owned());
                self.0.put(ctx, &key.to_owned(), start.parse()?, &value, now_ms)?;
                "ok".to_owned()
            }
            ["fetch", key, from, to] => self.fetch(ctx, key, from.parse()?..=to.parse()?, Direction::Forward)?,
            ["backward", key, from, to] => self.fetch(ctx, key, from.parse()?..=to.parse()?, Direction::Backward)?,
            ["range", first, last, from, to] => self.range(ctx, (first, last), from.parse()?..=to.parse()?)?,
            ["fetchAll", from, to] => self.range(ctx, ("~", "~"), from.parse()?..=to.parse()?)?,
            ["all"] => self.range(ctx, ("~", "~"), 0..=i64::MAX)?,
            _ => return Err(format!("no such command: {command:?}").into()),
        })
    }

    fn fetch(
        &mut self,
        ctx: &mut Context<'_>,
        key: &str,
        starts: RangeInclusive<i64>,
        direction: Direction,
    ) -> Result<String, Error> {
        let found = self.0.fetch(ctx, &key.to_owned(), starts, direction, usize::MAX)?;
        let rows: Vec<_> = found.iter().map(|(start_ms, value)| format!("{start_ms}={}", shown(value))).collect();
        Ok(rows.join(","))
    }

    fn range(
        &mut self,
        ctx: &mut Context<'_>,
        (first, last): (&str, &str),
        starts: RangeInclusive<i64>,
    ) -> Result<String, Error> {
        let (first, last) = (first.to_owned(), last.to_owned());
        let found = self.0.range(ctx, (bound(&first), bound(&last)), starts, usize::MAX)?;
        let show = |(key, start_ms, value)| format!("{key}@{start_ms}-{}={}", start_ms + SIZE_MS, shown(&value));
        let rows: Vec<_> = found.into_iter().map(show).collect();
        Ok(rows.join(","))
    }
}

/// A value that is kept, so it is not null.
fn shown(value: &Text) -> &str {
    value.as_deref().unwrap_or_default()
}

fn bound(key: &String) -> Bound<&String> {
    if key == "~" { Bound::Unbounded } else { Bound::Included(key) }
}

impl Processor<Text, Text> for Commands {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut Context<'_>, record: Record<Text, Text>) -> ProcessorResult {
        let Some(command) = &record.value else { return Ok(()) };
        let words: Vec<_> = command.split(' ').collect();
        let answer = self.answer(ctx, &words, record.timestamp_ms)?;
        Ok(ctx.forward(record.with_value(Some(answer)))?)
    }
}
