//! Where to begin when there is no position, or none that exists.

use std::{str::FromStr, time::Duration};

/// Where a task begins in a partition for which the group has no position, or one that the log does not have any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the first record that is there.
    Earliest,
    /// Behind the last record that is there.
    Latest,
    /// At the first record that is not older than this.
    ByDuration(Duration),
    /// Nowhere: the task stops.
    Fail,
}

// === impl OffsetReset ===

impl OffsetReset {
    /// What a setting may say.
    pub(crate) const EXPECTED: &str =
        "`earliest`, `latest`, `fail` or `by-duration:<time>`, where the time is like 90s, 30m, 12h or 7d";
}

impl FromStr for OffsetReset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "fail" => Ok(Self::Fail),
            text => text.strip_prefix("by-duration:").and_then(duration).map(Self::ByDuration).ok_or(Self::EXPECTED),
        }
    }
}

/// A whole number and a unit.
fn duration(text: &str) -> Option<Duration> {
    let seconds_per_unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds_per_unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!("by-duration:12h".parse(), Ok(OffsetReset::ByDuration(Duration::from_secs(43_200))));
        for wrong in ["by-duration:12", "by-duration:h", "by-duration:-1s", "by-duration:1µ", "newest", ""] {
            assert_eq!(wrong.parse::<OffsetReset>(), Err(OffsetReset::EXPECTED), "{wrong}");
        }
    }
}
