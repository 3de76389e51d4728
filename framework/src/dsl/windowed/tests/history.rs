//! Random histories of a grouping, replayed record by record: what a topology makes of them, and what it should.

use std::{ops::Range, sync::Arc};

use proptest::prelude::*;

use super::{driver, ms};
use crate::{
    Windowed,
    dsl::{FixedWindows, Grouped, Table, TopologyBuilder, WindowedGrouped},
    serde::{Serde, Serdes},
    testing::{TestRecord, TestTopic},
};

/// Deletes the aggregates of its windows.
pub(super) const DELETES: &str = "!";
/// Longer than all histories.
pub(super) const LONG_MS: i64 = 100_000;

pub(super) type Text = Option<String>;

/// A record of the grouping.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) key: Text,
    /// Each record has a value of its own, so that aggregates show of which records they are made.
    pub(super) value: Text,
    pub(super) at: i64,
}

/// A record, or wall-clock time that passes.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Record(Input),
    Wait(i64),
}

/// When windows are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emit {
    OnUpdate,
    /// When they have closed, which is looked for so often.
    OnClose {
        interval_ms: i64,
    },
}

/// A row of a window: key, start, end, value, timestamp.
pub(super) type Row = (Text, i64, i64, String, i64);

/// What a model says: it is told the steps one by one.
pub(super) trait Model {
    /// A record has come at this wall-clock time.
    fn record(&mut self, input: &Input, now_ms: i64);

    /// The results since the last call.
    fn take_results(&mut self) -> Vec<String>;

    /// How many records, and how many windows of records, were left out.
    fn dropped(&self) -> u64;

    /// The rows that can be seen, in any order.
    fn rows(&self) -> Vec<Row>;
}

/// Looking for windows that have closed, not more often than an interval allows.
#[derive(Debug)]
pub(super) struct Looks {
    emit: Emit,
    next_ms: i64,
}

// === impl Input ===

impl Input {
    pub(super) fn deletes(&self) -> bool {
        deletes(&self.value)
    }

    /// What an aggregate gets of it.
    pub(super) fn text(&self) -> &str {
        text(&self.value)
    }
}

// === impl Emit ===

impl Emit {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let on_close = prop_oneof![Just(0), Just(50)].prop_map(|interval_ms| Self::OnClose { interval_ms });
        prop_oneof![Just(Self::OnUpdate), on_close]
    }

    pub(super) fn on_close(self) -> bool {
        self != Self::OnUpdate
    }
}

// === impl Looks ===

impl Looks {
    pub(super) fn new(emit: Emit) -> Self {
        Self { emit, next_ms: 0 }
    }

    /// Whether it is looked now.
    pub(super) fn now(&mut self, now_ms: i64) -> bool {
        let Emit::OnClose { interval_ms } = self.emit else { return false };
        let is_time = now_ms >= self.next_ms;
        if is_time {
            self.next_ms = now_ms + interval_ms;
        }
        is_time
    }
}

/// Durations: often such that they end at the very times of records.
pub(super) fn durations(range: Range<u16>) -> impl Strategy<Value = i64> {
    let exact = (range.start.div_ceil(7)..range.end.div_ceil(7)).prop_map(|n| n * 7);
    prop_oneof![exact, range].prop_map(i64::from)
}

/// Few records, with few keys, of which one is a prefix of another, and few times.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop_oneof![6 => Just(Some("a")), 3 => Just(Some("ab")), 2 => Just(Some("b")), 1 => Just(None)];
    // 1: null, 2: deletes.
    let values = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2)];
    let record = (keys, values, 0..30_i64).prop_map(|(key, value, at)| {
        let value = [Some(""), None, Some(DELETES)][value].map(str::to_owned);
        Step::Record(Input { key: key.map(str::to_owned), value, at: at * 7 })
    });
    let step = prop_oneof![9 => record, 1 => (0..60_i64).prop_map(Step::Wait)];
    prop::collection::vec(step, 1..20).prop_map(|mut steps| {
        for (number, step) in (b'a'..).zip(&mut steps) {
            if let Step::Record(Input { value: Some(value), .. }) = step
                && value.is_empty()
            {
                value.push(char::from(number));
            }
        }
        steps
    })
}

/// What the second output of [`agrees`] passes on.
pub(super) fn passes(value: &str) -> bool {
    value.len().is_multiple_of(2)
}

/// A result, as [`agrees`] compares it.
pub(super) fn line(topic: &str, key: &Text, (start, end): (i64, i64), value: Option<&str>, at: i64) -> String {
    format!("{topic} {}@{start}..{end} {} @{at}", text(key), value.unwrap_or("null"))
}

/// The lines of an update of a table: of all of them, and of the rows that pass a filter, which says nothing when neither the old
/// nor the new value passes.
pub(super) fn lines(key: &Text, bounds: (i64, i64), [old, new]: [Option<&str>; 2], at: i64) -> Vec<String> {
    let mut lines = vec![line("out", key, bounds, new, at)];
    let [had, has] = [old, new].map(|value| value.filter(|value| passes(value)));
    if had.is_some() || has.is_some() {
        lines.push(line("some", key, bounds, has, at));
    }
    lines
}

/// Whether a windowed aggregation says, step by step, what the model says, and has the same rows in the end.
pub(super) fn agrees(
    aggregate: impl for<'t> Fn(Grouped<'t, Text, Text>) -> Table<'t, Windowed<Text>, String>,
    keys: Arc<dyn Serde<Windowed<Text>>>,
    emit: Emit,
    steps: &[Step],
    mut model: impl Model,
) -> Result<(), TestCaseError> {
    let nullable = Serdes::<Text, Text>::default();
    let mut driver = driver(|topology: &TopologyBuilder| {
        let rows = aggregate(topology.stream("in", nullable.clone()).group_by_key()).materialized("rows");
        let shown = |window: &Windowed<Text>, value: &Text| {
            (format!("{}@{}..{}", text(&window.key), window.start_ms, window.end_ms), value.clone())
        };
        rows.to_stream().map(shown).to("out");
        rows.filter(|_, value| passes(value)).to_stream().map(shown).to("some");
    });
    if let Emit::OnClose { interval_ms } = emit {
        driver.set_emit_interval(ms(interval_ms));
    }
    let topic = TestTopic::new("in", nullable);
    let mut now_ms = 0;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Wait(by_ms) => {
                now_ms += by_ms;
                driver.advance_wall_clock(ms(*by_ms)).expect("nothing is due");
            }
            Step::Record(input) => {
                driver.pipe(&topic, &input.key, &input.value, input.at).expect("processed");
                model.record(input, now_ms);
            }
        }
        let found: Vec<_> = driver.outputs().iter().map(shown).collect();
        prop_assert_eq!(found, model.take_results(), "step {} of {:?}", number, steps);
        prop_assert_eq!(driver.dropped(), model.dropped(), "step {} of {:?}", number, steps);
    }
    let rows = driver.rows("rows", &Serdes::of(keys, crate::serde::default_serde())).expect("the store of the rows");
    let row = |(Windowed { key, start_ms, end_ms }, value, at)| (key, start_ms, end_ms, value, at);
    let (mut found, mut expected): (Vec<Row>, _) = (rows.into_iter().map(row).collect(), model.rows());
    found.sort();
    expected.sort();
    prop_assert_eq!(found, expected, "in the end of {:?}", steps);
    Ok(())
}

/// All values of a window, one behind the other.
pub(super) fn concatenated<'t>(
    windowed: WindowedGrouped<'t, Text, Text, impl FixedWindows>,
    retention_ms: Option<i64>,
    emit: Emit,
) -> Table<'t, Windowed<Text>, String> {
    let windowed = if emit.on_close() { windowed.emit_on_close() } else { windowed };
    let windowed = match retention_ms {
        Some(retention_ms) => windowed.retention(ms(retention_ms)),
        None => windowed,
    };
    windowed.aggregate(String::new, |_, value, all| (!deletes(value)).then(|| all + text(value)))
}

pub(super) fn deletes(value: &Text) -> bool {
    value.as_deref() == Some(DELETES)
}

pub(super) fn text(text: &Text) -> &str {
    text.as_deref().unwrap_or("-")
}

fn shown(record: &TestRecord) -> String {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let [key, value] = [&record.key, &record.value].map(|bytes| text(bytes).unwrap_or_else(|| "null".to_owned()));
    format!("{} {key} {value} @{}", record.topic, record.timestamp_ms)
}

/// Small cases, of which many run: what goes wrong goes wrong with few records.
pub(super) fn many() -> ProptestConfig {
    ProptestConfig { cases: 10_000, ..ProptestConfig::default() }
}
