//! What was measured, and whether it is good enough.

use std::{fmt::Write as _, time::Duration};

/// Figures with their bars, as they are measured.
#[derive(Debug, Default)]
pub struct Bars {
    text: String,
    missed: Vec<String>,
}

// === impl Bars ===

impl Bars {
    /// A line for people.
    pub fn note(&mut self, line: &str) {
        println!("{line}");
        let _ = writeln!(self.text, "{line}");
    }

    /// Times of which the longest must be shorter than the bar, if there is one.
    pub fn times(&mut self, what: &str, times: &[Duration], bar: Option<Duration>) {
        let mut sorted = times.to_vec();
        sorted.sort();
        let (Some(worst), Some(median)) = (sorted.last(), sorted.get(sorted.len() / 2)) else { return };
        let seconds = |time: &Duration| format!("{:.2} s", time.as_secs_f64());
        let holds = bar.is_none_or(|bar| *worst < bar);
        let bar = bar.map_or(String::new(), |bar| format!(", less than {} is asked for", seconds(&bar)));
        let line = format!("{what}: worst {}, median {} of {}{bar}", seconds(worst), seconds(median), times.len());
        self.line(line, holds);
    }

    /// A count that must not be more than the bar.
    pub fn count(&mut self, what: &str, count: u64, most: u64) {
        self.line(format!("{what}: {count}, at most {most} is asked for"), count <= most);
    }

    /// What was missed.
    #[must_use]
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&mut self, line: String, holds: bool) {
        let verdict = if holds { "" } else { "  <-- MISSED" };
        self.note(&format!("{line}{verdict}"));
        if !holds {
            self.missed.push(line);
        }
    }
}
