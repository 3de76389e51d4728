//! What happened: all of it as a number, the last of it as text.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
    time::Duration,
};

/// The events of a simulation.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Of everything that happened, in its order.
    hash: u64,
    lines: VecDeque<String>,
    kept: usize,
}

// === impl Trace ===

impl Trace {
    /// A trace that keeps so many lines.
    pub(super) fn keeping(kept: usize) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), kept }
    }

    /// A loop has its turn.
    pub(super) fn turn(&mut self, now: Duration, actor: u64) {
        self.mix(now.as_micros() as u64);
        self.mix(actor);
    }

    /// Something happened that is worth a line.
    pub(super) fn note(&mut self, now: Duration, event: impl fmt::Display) {
        let mut line =
            if self.lines.len() >= self.kept { self.lines.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        let _ = write!(line, "{:>10.3} {event}", now.as_secs_f64());
        line.bytes().for_each(|byte| self.mix(byte.into()));
        self.lines.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }

    /// FNV-1a, by words.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
    }
}
