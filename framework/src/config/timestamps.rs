//! Which time a record has.

use std::str::FromStr;

/// Which time the records of a topic have: they are processed in its order as far as they are at hand, and windows, joins and results
/// go by it. A time before 1970 is invalid: it is how Kafka says that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Timestamps {
    /// The record's timestamp. One whose timestamp is invalid cannot be read, and is dealt with as such.
    #[default]
    Record,
    /// The record's timestamp. One whose timestamp is invalid is left out, and counted.
    SkipInvalid,
    /// The record's timestamp; if it is invalid, the largest time of a record that was processed before in the same partition. While
    /// there is none since the task was started, the record cannot be read.
    PartitionTime,
    /// The wall clock when the record comes to be processed.
    WallClock,
}

// === impl Timestamps ===

impl Timestamps {
    /// What a setting may say.
    pub(crate) const EXPECTED: &str = "`record`, `skip-invalid`, `partition-time` or `wall-clock`";
}

impl FromStr for Timestamps {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "record" => Ok(Self::Record),
            "skip-invalid" => Ok(Self::SkipInvalid),
            "partition-time" => Ok(Self::PartitionTime),
            "wall-clock" => Ok(Self::WallClock),
            _ => Err(Self::EXPECTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_the_name_that_the_error_lists() {
        let names = ["record", "skip-invalid", "partition-time", "wall-clock"];
        let rules = [Timestamps::Record, Timestamps::SkipInvalid, Timestamps::PartitionTime, Timestamps::WallClock];
        assert_eq!(names.map(str::parse), rules.map(Ok));
        assert!(names.iter().all(|name| Timestamps::EXPECTED.contains(&format!("`{name}`"))));
        assert_eq!("-1".parse::<Timestamps>(), Err(Timestamps::EXPECTED));
    }
}
