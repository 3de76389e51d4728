//! The stores of processors: each record is a command, and what is written is the answer to it.

use std::ops::Bound;

use millpond::{
    Windowed,
    dsl::{StoreBuilder, TopologyBuilder},
    processor::{
        LruMap, PlainKeyValueStore, PlainWindowStore, Processor, ProcessorContext, ProcessorResult, Record,
        SessionStore,
    },
};

use super::{Cases, ms, nullable, plain, text::or_null};

pub(super) const ALL: Cases = &[
    ("store_kv_operations", key_values),
    ("store_lru_map", recent),
    ("store_session_operations", sessions),
    ("store_window_operations", windows),
];

type Text = Option<String>;
type Context<'a> = ProcessorContext<'a, Text, String>;
type Answer = Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// What does as it is told.
trait Obey: 'static {
    fn obey(&mut self, ctx: &mut Context<'_>, words: &[&str]) -> Answer;
}

/// Passes on what its store answers.
struct Clerk<S>(S);

/// As many as there are.
const ALL_ROWS: usize = usize::MAX;

fn key_values(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::plain_key_value("kv", plain()));
    topology.stream("in", nullable()).process(store, Clerk).to("out");
}

fn recent(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::lru_map("lru", plain(), 3));
    topology.stream("in", nullable()).process(store, Clerk).to("out");
}

fn sessions(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::session("s", plain(), ms(400)));
    topology.stream("in", nullable()).process(store, Clerk).to("out");
}

fn windows(topology: &TopologyBuilder) {
    let store = topology.add_store(StoreBuilder::plain_window("w", plain(), ms(50)).retention(ms(300)));
    topology.stream("in", nullable()).process(store, Clerk).to("out");
}

fn unknown(words: &[&str]) -> Answer {
    Err(format!("there is no command {words:?}").into())
}

fn time(word: &str) -> Result<i64, std::num::ParseIntError> {
    word.parse()
}

/// Both ends of a range of keys, where `~` stands for none.
fn keys(first: &str, last: &str) -> (Bound<String>, Bound<String>) {
    let bound = |word: &str| if word == "~" { Bound::Unbounded } else { Bound::Included(word.to_owned()) };
    (bound(first), bound(last))
}

fn list(rows: impl IntoIterator<Item = String>) -> String {
    rows.into_iter().collect::<Vec<_>>().join(",")
}

fn entries(rows: Vec<(String, String)>) -> String {
    list(rows.into_iter().map(|(key, value)| format!("{key}={value}")))
}

fn windowed((window, value): (Windowed<String>, String)) -> String {
    format!("{}@{}-{}={value}", window.key, window.start_ms, window.end_ms)
}

// === impl Clerk ===

impl<S: Obey> Processor<Text, Text> for Clerk<S> {
    type Key = Text;
    type Value = String;

    fn process(&mut self, ctx: &mut Context<'_>, record: Record<Text, Text>) -> ProcessorResult {
        let command = record.value.clone().ok_or("a record without a command")?;
        let answer = self.0.obey(ctx, &command.split(' ').collect::<Vec<_>>())?;
        Ok(ctx.forward(record.with_value(answer))?)
    }
}

// === impl Obey ===

impl Obey for PlainKeyValueStore<String, String> {
    fn obey(&mut self, ctx: &mut Context<'_>, words: &[&str]) -> Answer {
        Ok(match *words {
            ["put", key, value] => {
                self.put(ctx, &key.to_owned(), &value.to_owned())?;
                "ok".to_owned()
            }
            ["del", key] => or_null(self.remove(ctx, &key.to_owned())?.as_ref()),
            ["putIfAbsent", key, value] => {
                or_null(self.put_if_absent(ctx, &key.to_owned(), &value.to_owned())?.as_ref())
            }
            ["get", key] => or_null(self.get(ctx, &key.to_owned())?.as_ref()),
            ["range", first, last] => entries(self.range(ctx, keys(first, last), ALL_ROWS)?),
            ["reverseRange", first, last] => entries(self.reverse_range(ctx, keys(first, last), ALL_ROWS)?),
            ["all"] => entries(self.all(ctx, ALL_ROWS)?),
            ["reverseAll"] => entries(self.reverse_range(ctx, .., ALL_ROWS)?),
            ["prefix", prefix] => entries(self.prefix(ctx, prefix.as_bytes(), ALL_ROWS)?),
            _ => return unknown(words),
        })
    }
}

impl Obey for LruMap<String, String> {
    fn obey(&mut self, ctx: &mut Context<'_>, words: &[&str]) -> Answer {
        Ok(match *words {
            ["put", key, value] => {
                self.put(ctx, &key.to_owned(), &value.to_owned())?;
                "ok".to_owned()
            }
            ["del", key] => or_null(self.remove(ctx, &key.to_owned())?.as_ref()),
            ["get", key] => or_null(self.get(ctx, &key.to_owned())?.as_ref()),
            _ => return unknown(words),
        })
    }
}

impl Obey for SessionStore<String, String> {
    fn obey(&mut self, ctx: &mut Context<'_>, words: &[&str]) -> Answer {
        let of = |key: &str, rows: Vec<(i64, i64, String)>| {
            list(rows.into_iter().map(|(start, end, value)| format!("{key}@{start}-{end}={value}")))
        };
        Ok(match *words {
            ["put", key, start, end, "~"] | ["remove", key, start, end] => {
                self.delete(ctx, &key.to_owned(), time(start)?, time(end)?)?;
                "ok".to_owned()
            }
            ["put", key, start, end, value] => {
                self.put(ctx, &key.to_owned(), time(start)?, time(end)?, &value.to_owned())?;
                "ok".to_owned()
            }
            ["one", key, start, end] => or_null(self.get(ctx, &key.to_owned(), time(start)?, time(end)?)?.as_ref()),
            ["find", key, from, to] => of(key, self.find(ctx, &key.to_owned(), time(from)?, time(to)?, ALL_ROWS)?),
            ["findBack", key, from, to] => {
                of(key, self.reverse_find(ctx, &key.to_owned(), time(from)?, time(to)?, ALL_ROWS)?)
            }
            ["fetch", key] => of(key, self.fetch(ctx, &key.to_owned(), ALL_ROWS)?),
            ["backFetch", key] => of(key, self.reverse_fetch(ctx, &key.to_owned(), ALL_ROWS)?),
            ["range", first, last] => {
                list(self.fetch_keys(ctx, keys(first, last), ALL_ROWS)?.into_iter().map(windowed))
            }
            _ => return unknown(words),
        })
    }
}

impl Obey for PlainWindowStore<String, String> {
    fn obey(&mut self, ctx: &mut Context<'_>, words: &[&str]) -> Answer {
        let of_key = |rows: Vec<(i64, String)>| list(rows.into_iter().map(|(start, value)| format!("{start}={value}")));
        Ok(match *words {
            ["put", key, "~", start] => {
                self.delete(ctx, &key.to_owned(), time(start)?)?;
                "ok".to_owned()
            }
            ["put", key, value, start] => {
                self.put(ctx, &key.to_owned(), time(start)?, &value.to_owned())?;
                "ok".to_owned()
            }
            ["get", key, start] => or_null(self.get(ctx, &key.to_owned(), time(start)?)?.as_ref()),
            ["fetch", key, from, to] => of_key(self.fetch(ctx, &key.to_owned(), time(from)?..=time(to)?, ALL_ROWS)?),
            ["backward", key, from, to] => {
                of_key(self.reverse_fetch(ctx, &key.to_owned(), time(from)?..=time(to)?, ALL_ROWS)?)
            }
            ["range", first, last, from, to] => {
                let rows = self.fetch_keys(ctx, keys(first, last), time(from)?..=time(to)?, ALL_ROWS)?;
                list(rows.into_iter().map(windowed))
            }
            ["fetchAll", from, to] => {
                let rows = self.fetch_keys(ctx, .., time(from)?..=time(to)?, ALL_ROWS)?;
                list(rows.into_iter().map(windowed))
            }
            ["all"] => list(self.fetch_keys(ctx, .., .., ALL_ROWS)?.into_iter().map(windowed)),
            _ => return unknown(words),
        })
    }
}
