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
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), kept: kept.max(1) }
    }

    /// A loop has its turn.
    pub(super) fn turn(&mut self, now: Duration, actor: u64) {
        self.hash = mixed(mixed(self.hash, now.as_micros() as u64), actor);
    }

    /// Something happened that is worth a line.
    pub(super) fn note(&mut self, now: Duration, event: impl fmt::Display) {
        let hash = self.hash;
        self.hash = self.tell(now, event).bytes().fold(hash, |hash, byte| mixed(hash, byte.into()));
    }

    /// A line that does not count as something that happened.
    pub(super) fn tell(&mut self, now: Duration, what: impl fmt::Display) -> &str {
        let is_full = self.lines.len() >= self.kept;
        let mut line = if is_full { self.lines.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        let _ = write!(line, "{:>10.3} {what}", now.as_secs_f64());
        self.lines.push_back(line);
        self.lines.back().map_or("", |line| line)
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// FNV-1a, by words.
fn mixed(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0100_0000_01b3)
}
