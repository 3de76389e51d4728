//! Tumbling and hopping windows, by their definition: a record is in all windows around its time, and held by those that were not
//! closed when it came.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    history::{
        Emit, Input, LONG_MS, Looks, Model, Row, Step, Text, agrees, concatenated, durations, lines, many, steps,
    },
    ms,
};
use crate::{
    dsl::TimeWindows,
    serde::{TimeWindowed, default_serde},
};

#[derive(Debug, Clone, Copy)]
struct Shape {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
    /// Where it is not as long as windows take records.
    retention_ms: Option<i64>,
}

/// All records that came.
struct Windows {
    shape: Shape,
    emit: Emit,
    looks: Looks,
    came: Vec<Input>,
    /// Keys and starts of windows that were passed on when they had closed.
    passed_on: Vec<(Text, i64)>,
    dropped: u64,
    results: Vec<String>,
}

// === impl Shape ===

impl Shape {
    fn any(tumbling: bool) -> impl Strategy<Value = Self> {
        let parts = if tumbling { 1..2_i64 } else { 1..6 };
        let sizes = (durations(1..90), parts, durations(0..90), prop_oneof![Just(None), Just(Some(LONG_MS))]);
        sizes.prop_map(|(size_ms, parts, grace_ms, retention_ms)| {
            let advance_ms = if parts == 1 { size_ms } else { (size_ms / parts).max(1) };
            Self { size_ms, advance_ms, grace_ms, retention_ms }
        })
    }

    /// The starts of the windows around a time.
    fn around(self, at: i64) -> impl Iterator<Item = i64> {
        (0..=at).filter(move |start| start % self.advance_ms == 0 && start + self.size_ms > at)
    }

    fn is_closed(self, start: i64, stream_time: i64) -> bool {
        start + self.size_ms <= stream_time - self.grace_ms
    }
}

// === impl Windows ===

impl Windows {
    /// What a window holds when some records have come: those since it was last deleted.
    fn row(&self, came: &[Input], key: &Text, start: i64) -> Option<(String, i64)> {
        let (mut row, mut stream_time): (Option<(String, i64)>, i64) = (None, -1);
        for input in came {
            stream_time = stream_time.max(input.at);
            let is_around = self.shape.around(input.at).any(|around| around == start);
            if input.key != *key || !is_around || self.shape.is_closed(start, stream_time) {
                continue;
            }
            let (value, at) = row.unwrap_or_default();
            row = (!input.deletes()).then(|| (value + input.text(), at.max(input.at)));
        }
        row
    }

    /// All rows: key, start, value, timestamp, in the order of start and key.
    fn all_rows(&self) -> Vec<(Text, i64, String, i64)> {
        let windows = self.came.iter().flat_map(|input| self.shape.around(input.at).map(|start| (start, &input.key)));
        let mut windows: Vec<_> = windows.collect();
        windows.sort();
        windows.dedup();
        let row = |(start, key): (i64, &Text)| {
            let (value, at) = self.row(&self.came, key, start)?;
            self.is_kept(start).then(|| (key.clone(), start, value, at))
        };
        windows.into_iter().filter_map(row).collect()
    }

    /// Whether a row can be seen: as long as the store keeps it after the start of the last window that was ever written, and a
    /// millisecond longer where rows are read when their windows close.
    fn is_kept(&self, start: i64) -> bool {
        let retention = self.shape.retention_ms.unwrap_or(self.shape.size_ms + self.shape.grace_ms);
        let (mut last, mut stream_time) = (0, -1);
        for input in &self.came {
            stream_time = stream_time.max(input.at);
            let written = self.shape.around(input.at).filter(|start| !self.shape.is_closed(*start, stream_time));
            last = written.max().unwrap_or(0).max(last);
        }
        if self.emit.on_close() { start >= last - retention } else { start > last - retention }
    }

    fn stream_time(&self) -> i64 {
        self.came.iter().map(|input| input.at).max().unwrap_or(-1)
    }

    fn end(&self, start: i64) -> (i64, i64) {
        (start, start + self.shape.size_ms)
    }
}

impl Model for Windows {
    fn record(&mut self, input: &Input, now_ms: i64) {
        if input.key.is_none() {
            self.dropped += 1;
            return;
        }
        self.came.push(input.clone());
        let before = &self.came[..self.came.len() - 1];
        for start in self.shape.around(input.at) {
            if self.shape.is_closed(start, self.stream_time()) {
                self.dropped += 1;
                continue;
            }
            // The old value of what is new is that of no record.
            let (old, at) = self.row(before, &input.key, start).unwrap_or((String::new(), input.at));
            let new = self.row(&self.came, &input.key, start).map(|(value, _)| value);
            if !self.emit.on_close() {
                let values = [Some(old.as_str()), new.as_deref()];
                self.results.extend(lines(&input.key, self.end(start), values, at.max(input.at)));
            }
        }
        if !self.looks.now(now_ms) {
            return;
        }
        for (key, start, value, at) in self.all_rows() {
            let window = (key, start);
            if self.shape.is_closed(start, self.stream_time()) && !self.passed_on.contains(&window) {
                self.results.extend(lines(&window.0, self.end(start), [None, Some(&value)], at));
                self.passed_on.push(window);
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
        let row = |(key, start, value, at)| (key, start, start + self.shape.size_ms, value, at);
        self.all_rows().into_iter().map(row).collect()
    }
}

fn windows_agree(shape: Shape, emit: Emit, steps: &[Step]) -> Result<(), TestCaseError> {
    let Shape { size_ms, advance_ms, grace_ms, retention_ms } = shape;
    let windows = TimeWindows::tumbling(ms(size_ms)).advance_by(ms(advance_ms)).grace(ms(grace_ms));
    let (came, passed_on, results) = Default::default();
    let model = Windows { shape, emit, looks: Looks::new(emit), came, passed_on, dropped: 0, results };
    let keys = Arc::new(TimeWindowed::new(default_serde(), size_ms));
    agrees(|grouped| concatenated(grouped.windowed_by(windows), retention_ms, emit), keys, emit, steps, model)
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn tumbling_windows_are_as_defined(shape in Shape::any(true), emit in Emit::any(), steps in steps()) {
        windows_agree(shape, emit, &steps)?;
    }

    #[test]
    fn hopping_windows_are_as_defined(shape in Shape::any(false), emit in Emit::any(), steps in steps()) {
        windows_agree(shape, emit, &steps)?;
    }
}
