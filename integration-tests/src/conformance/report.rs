//! What a replay found.

use std::fmt;

use super::vectors::Difference;

/// What the replay of a folder found.
#[derive(Debug)]
pub struct Report {
    /// By topology, in the order of their names.
    pub topologies: Vec<Verdict>,
}

/// What the files of a topology showed.
#[derive(Debug)]
pub struct Verdict {
    /// The topology.
    pub topology: String,
    /// How many files there were.
    pub files: usize,
    /// How many steps they had.
    pub steps: usize,
    /// The files that differ.
    pub failures: Vec<Failure>,
    /// Why millpond differs on purpose, where it does.
    pub decision: Option<&'static str>,
}

/// A file that differs.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub file: String,
    /// How it differs.
    pub difference: Difference,
}

// === impl Report ===

impl Report {
    /// Whether all topologies passed, or differ by decision.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.topologies.iter().any(Verdict::failed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.topologies.iter().map(|verdict| verdict.topology.len()).max().unwrap_or(0);
        for verdict in &self.topologies {
            writeln!(f, "{verdict:width$}")?;
        }
        let failed = self.topologies.iter().filter(|verdict| verdict.failed()).count();
        let decided = self.topologies.iter().filter(|verdict| verdict.differs_by_decision()).count();
        let count = |of: fn(&Verdict) -> usize| self.topologies.iter().map(of).sum::<usize>();
        let (files, steps) = (count(|verdict| verdict.files), count(|verdict| verdict.steps));
        if decided > 0 {
            writeln!(f, "{decided} differ by decision")?;
        }
        writeln!(f, "{files} files, {steps} inputs")?;
        write!(f, "{} passed, {failed} failed", self.topologies.len() - failed - decided)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether files differ that should not.
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.failures.is_empty() && self.decision.is_none()
    }

    /// Whether files differ that may.
    #[must_use]
    pub fn differs_by_decision(&self) -> bool {
        !self.failures.is_empty() && self.decision.is_some()
    }
}

impl fmt::Display for Verdict {
    /// One line, padded to the width of the topology's name; then what differs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, files, steps, failures, decision } = self;
        write!(f, "{topology:width$}  {files:3} files {steps:6} inputs  ", width = f.width().unwrap_or(0))?;
        match (failures.first(), decision) {
            (None, _) => write!(f, "passed"),
            (Some(_), Some(reason)) => write!(f, "differs by decision: {reason}"),
            (Some(first), None) => {
                write!(f, "FAILED: {} of {files} files, the first {}, {}", failures.len(), first.file, first.difference)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(decision: Option<&'static str>, failures: usize) -> Verdict {
        let difference = || Difference::Step {
            index: 4,
            input: "topic in".to_owned(),
            expected: "a".to_owned(),
            found: "b".to_owned(),
        };
        let failure = |_| Failure { file: "t.2.json".to_owned(), difference: difference() };
        Verdict {
            topology: "t".to_owned(),
            files: 3,
            steps: 20,
            failures: (0..failures).map(failure).collect(),
            decision,
        }
    }

    #[test]
    fn a_topology_is_a_line_and_the_last_line_counts_them() {
        let report = Report { topologies: vec![verdict(None, 0), verdict(Some("an accident"), 1), verdict(None, 2)] };
        assert!(!report.passed());
        let expected = "\
t    3 files     20 inputs  passed
t    3 files     20 inputs  differs by decision: an accident
t    3 files     20 inputs  FAILED: 2 of 3 files, the first t.2.json, step 4: topic in
  expected: a
  got:      b
1 differ by decision
9 files, 60 inputs
1 passed, 1 failed";
        assert_eq!(report.to_string(), expected);
        assert!(Report { topologies: vec![verdict(None, 0), verdict(Some("an accident"), 1)] }.passed());
    }
}
