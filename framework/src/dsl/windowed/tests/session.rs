//! Sessions, by their definition: a record joins all sessions of its key that are within the gap, and they become one.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    history::{
        Emit, Input, LONG_MS, Looks, Model, Row, Step, Text, agrees, deletes, durations, lines, many, steps, text,
    },
    ms,
};
use crate::{
    dsl::SessionWindows,
    serde::{SessionWindowed, default_serde},
};

#[derive(Debug, Clone, Copy)]
struct Shape {
    gap_ms: i64,
    grace_ms: i64,
}

/// A session that is there.
#[derive(Debug, Clone)]
struct Session {
    end: i64,
    start: i64,
    key: Text,
    value: String,
    is_passed_on: bool,
}

/// All sessions that are there, in the order of end, start and key.
struct Sessions {
    shape: Shape,
    emit: Emit,
    looks: Looks,
    stream_time: i64,
    sessions: Vec<Session>,
    dropped: u64,
    results: Vec<String>,
}

// === impl Shape ===

impl Shape {
    fn any() -> impl Strategy<Value = Self> {
        (durations(1..60), durations(0..90)).prop_map(|(gap_ms, grace_ms)| Self { gap_ms, grace_ms })
    }
}

// === impl Session ===

impl Session {
    fn bounds(&self) -> (i64, i64) {
        (self.start, self.end)
    }
}

// === impl Sessions ===

impl Sessions {
    fn is_closed(&self, end: i64) -> bool {
        end < self.stream_time - self.shape.grace_ms - self.shape.gap_ms
    }

    fn updated(&mut self, key: &Text, bounds: (i64, i64), values: [Option<&str>; 2]) {
        if !self.emit.on_close() {
            self.results.extend(lines(key, bounds, values, bounds.1));
        }
    }

    fn join(&mut self, input: &Input) {
        let (at, gap) = (input.at, self.shape.gap_ms);
        let is_near = |it: &Session| it.key == input.key && it.end >= at - gap && it.start <= at + gap;
        let near: Vec<_> = self.sessions.iter().filter(|it| is_near(it)).cloned().collect();
        let start = near.iter().map(|it| it.start).min().unwrap_or(at).min(at);
        let end = near.iter().map(|it| it.end).max().unwrap_or(at).max(at);
        if self.is_closed(end) {
            self.dropped += 1;
            return;
        }
        // One more record of the only time of a session: it stays the same one.
        if (start, end) != (at, at) {
            for old in &near {
                self.updated(&old.key, old.bounds(), [Some(&old.value), None]);
            }
        }
        self.sessions.retain(|it| !is_near(it));
        let merged = near.iter().fold(".".to_owned(), |merged, it| merged + "|" + &it.value);
        let value = (!input.deletes()).then(|| merged + input.text());
        self.updated(&input.key, (start, end), [None, value.as_deref()]);
        if let Some(value) = value {
            self.sessions.push(Session { end, start, key: input.key.clone(), value, is_passed_on: false });
            self.sessions.sort_by(|a, b| (a.end, a.start, &a.key).cmp(&(b.end, b.start, &b.key)));
        }
    }
}

impl Model for Sessions {
    fn record(&mut self, input: &Input, now_ms: i64) {
        if input.key.is_none() {
            self.dropped += 1;
            return;
        }
        self.stream_time = self.stream_time.max(input.at);
        self.join(input);
        if !self.looks.now(now_ms) {
            return;
        }
        let closed_before = self.stream_time - self.shape.grace_ms - self.shape.gap_ms;
        for it in self.sessions.iter_mut().filter(|it| it.end < closed_before && !it.is_passed_on) {
            self.results.extend(lines(&it.key, it.bounds(), [None, Some(&it.value)], it.end));
            it.is_passed_on = true;
        }
    }

    fn take_results(&mut self) -> Vec<String> {
        std::mem::take(&mut self.results)
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn rows(&self) -> Vec<Row> {
        // They have no timestamp but their end.
        self.sessions.iter().map(|it| (it.key.clone(), it.start, it.end, it.value.clone(), 0)).collect()
    }
}

fn sessions_agree(shape: Shape, emit: Emit, steps: &[Step]) -> Result<(), TestCaseError> {
    let Shape { gap_ms, grace_ms } = shape;
    let windows = SessionWindows::with_gap(ms(gap_ms)).grace(ms(grace_ms));
    let (sessions, results) = Default::default();
    let model = Sessions { shape, emit, looks: Looks::new(emit), stream_time: -1, sessions, dropped: 0, results };
    let keys = Arc::new(SessionWindowed::new(default_serde()));
    let add = |_: &Text, value: &Text, all: String| (!deletes(value)).then(|| all + text(value));
    agrees(
        |grouped| {
            let windowed = grouped.windowed_by(windows).retention(ms(LONG_MS));
            let windowed = if emit.on_close() { windowed.emit_on_close() } else { windowed };
            windowed.aggregate(|| ".".to_owned(), add, |_, merged, other| merged + "|" + &other)
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
    fn sessions_are_as_defined(shape in Shape::any(), emit in Emit::any(), steps in steps()) {
        sessions_agree(shape, emit, &steps)?;
    }
}
