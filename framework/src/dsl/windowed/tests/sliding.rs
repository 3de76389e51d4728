//! Sliding windows, by their definition: for each record one that ends with it, and one that begins behind it, if anything is in it.
//!
//! Records come in time here for the windows that end with them, or too late for any. In between, as in Kafka Streams, they are held by
//! those windows that are there already and are open: nobody knows of them otherwise, so windows that begin later may miss them.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::{
    history::{Emit, Input, LONG_MS, Looks, Model, Row, Step, Text, agrees, durations, lines, many, steps, text},
    ms,
};
use crate::{
    dsl::SlidingWindows,
    serde::{TimeWindowed, default_serde},
};

#[derive(Debug, Clone, Copy)]
struct Shape {
    difference_ms: i64,
    grace_ms: i64,
}

/// All records that came in time.
struct Windows {
    shape: Shape,
    emit: Emit,
    looks: Looks,
    stream_time: i64,
    came: Vec<Input>,
    /// Keys and starts of windows that were passed on when they had closed.
    passed_on: BTreeSet<(i64, Text)>,
    dropped: u64,
    results: Vec<String>,
}

// === impl Shape ===

impl Shape {
    fn any() -> impl Strategy<Value = Self> {
        (durations(1..90), durations(0..90)).prop_map(|(difference_ms, grace_ms)| Self { difference_ms, grace_ms })
    }

    fn holds(self, start: i64, at: i64) -> bool {
        (start..=start + self.difference_ms).contains(&at)
    }

    /// The start of the window that ends with a time. None begins before 0.
    fn left(self, at: i64) -> i64 {
        (at - self.difference_ms).max(0)
    }
}

// === impl Windows ===

impl Windows {
    /// The windows that there are when these records have come.
    fn starts(&self, came: &[Input], key: &Text) -> BTreeSet<i64> {
        let times: Vec<_> = came.iter().filter(|input| input.key == *key).map(|input| input.at).collect();
        let right = |at: &i64| times.iter().any(|other| self.shape.holds(at + 1, *other)).then_some(at + 1);
        let left = times.iter().map(|at| self.shape.left(*at));
        left.chain(times.iter().filter_map(right)).collect()
    }

    /// What a window would hold of these records, sorted, as in which order they were added is not defined; and the latest time.
    fn row(&self, came: &[Input], key: &Text, start: i64) -> (String, i64) {
        let held = came.iter().filter(|input| input.key == *key && self.shape.holds(start, input.at));
        (sorted(held.clone().map(Input::text)), held.map(|input| input.at).max().unwrap_or(-1))
    }

    /// The windows that a record changes, in the order in which they are passed on: those that are there, from the latest one on, then
    /// those that begin with it. Early records go the other way round, and end with the window that they share.
    fn changed(&self, Input { key, at, .. }: &Input, before: &BTreeSet<i64>, after: &BTreeSet<i64>) -> Vec<i64> {
        let (at, difference) = (*at, self.shape.difference_ms);
        let mut held: Vec<_> = before.iter().copied().filter(|start| self.shape.holds(*start, at)).collect();
        let is_early = at < difference;
        let (right, left) = (at + 1, self.shape.left(at));
        let is_new = |start: &i64| !before.contains(start);
        let mut of_previous = after.iter().copied().filter(|start| is_new(start) && ![left, right].contains(start));
        let (of_previous, none) = (of_previous.next(), of_previous.next());
        assert_eq!(none, None, "only the latest record before it has nothing behind it yet");
        let new_right = after.contains(&right).then_some(right).filter(is_new);
        if is_early {
            held.retain(|start| *start != left);
            return held.into_iter().chain(new_right).chain(of_previous).chain([left]).collect();
        }
        held.reverse();
        let new_left = Some(left).filter(is_new);
        // As in Kafka Streams, it is passed on twice when it begins behind the previous record, if that is found in another window.
        let has_previous = self.came.iter().any(|input| input.key == *key && input.at == left - 1);
        let is_found = before.range(at - 2 * difference..).any(|start| self.shape.holds(*start, left - 1));
        let behind_previous = new_left.filter(|_| has_previous && is_found);
        held.into_iter().chain(of_previous).chain(behind_previous).chain(new_left).chain(new_right).collect()
    }

    fn add(&mut self, input: &Input) {
        let before = self.starts(&self.came, &input.key);
        self.came.push(input.clone());
        let after = self.starts(&self.came, &input.key);
        if self.emit.on_close() {
            return;
        }
        for start in self.changed(input, &before, &after) {
            // The old value of a new window is what it begins with, though it was never told; but for the one behind the record.
            let (old, _) = self.row(&self.came[..self.came.len() - 1], &input.key, start);
            let old = (start <= input.at || before.contains(&start)).then_some(old.as_str());
            let (new, at) = self.row(&self.came, &input.key, start);
            self.results.extend(lines(&input.key, self.bounds(start), [old, Some(&new)], at));
        }
    }

    fn all_rows(&self) -> BTreeSet<(i64, Text)> {
        let of_key = |key: &Text| {
            let starts = self.starts(&self.came, key).into_iter();
            starts.map(|start| (start, key.clone())).collect::<Vec<_>>()
        };
        self.came.iter().flat_map(|input| of_key(&input.key)).collect()
    }

    fn bounds(&self, start: i64) -> (i64, i64) {
        (start, start + self.shape.difference_ms)
    }

    fn close_ms(&self) -> i64 {
        self.stream_time - self.shape.grace_ms
    }
}

impl Model for Windows {
    fn record(&mut self, input: &Input, now_ms: i64) {
        if input.key.is_none() || input.value.is_none() {
            self.dropped += 1;
            return;
        }
        self.stream_time = self.stream_time.max(input.at);
        if input.at + self.shape.difference_ms < self.close_ms() {
            self.dropped += 1;
            return;
        }
        self.add(input);
        // As in Kafka Streams, early records do not make windows close.
        if input.at < self.shape.difference_ms || !self.looks.now(now_ms) {
            return;
        }
        for (start, key) in self.all_rows() {
            let bounds = self.bounds(start);
            if bounds.1 < self.close_ms() && self.passed_on.insert((start, key.clone())) {
                let (value, at) = self.row(&self.came, &key, start);
                self.results.extend(lines(&key, bounds, [None, Some(&value)], at));
            }
        }
    }

    fn take_results(&mut self) -> Vec<String> {
        std::mem::take(&mut self.results)
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(start, key): (i64, Text)| {
            let (value, at) = self.row(&self.came, &key, start);
            (key, start, start + self.shape.difference_ms, value, at)
        };
        self.all_rows().into_iter().map(row).collect()
    }
}

/// The letters of some values.
fn sorted<'v>(values: impl IntoIterator<Item = &'v str>) -> String {
    let mut letters: Vec<_> = values.into_iter().flat_map(str::chars).collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// The same steps, but with records at the time of the first open window where they came too late for some of their windows only.
fn in_time(shape: Shape, mut steps: Vec<Step>) -> Vec<Step> {
    let mut stream_time = -1;
    for step in &mut steps {
        if let Step::Record(Input { key: Some(_), value: Some(_), at }) = step {
            stream_time = stream_time.max(*at);
            let close_ms = stream_time - shape.grace_ms;
            if *at + shape.difference_ms >= close_ms {
                *at = close_ms.max(*at);
            }
        }
    }
    steps
}

fn windows_agree(shape: Shape, emit: Emit, steps: &[Step]) -> Result<(), TestCaseError> {
    let Shape { difference_ms, grace_ms } = shape;
    let windows = SlidingWindows::of(ms(difference_ms)).grace(ms(grace_ms));
    let (came, passed_on, results) = Default::default();
    let model = Windows { shape, emit, looks: Looks::new(emit), stream_time: -1, came, passed_on, dropped: 0, results };
    let keys = Arc::new(TimeWindowed::new(default_serde(), difference_ms));
    let add = |_: &Text, value: &Text, all: String| sorted([all.as_str(), text(value)]);
    agrees(
        |grouped| {
            let windowed = grouped.windowed_by(windows).retention(ms(LONG_MS));
            let windowed = if emit.on_close() { windowed.emit_on_close() } else { windowed };
            windowed.aggregate(String::new, add)
        },
        keys,
        emit,
        steps,
        model,
    )
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn sliding_windows_are_as_defined(
        (shape, steps) in (Shape::any(), steps()).prop_map(|(shape, steps)| (shape, in_time(shape, steps))),
        emit in Emit::any(),
    ) {
        windows_agree(shape, emit, &steps)?;
    }
}
