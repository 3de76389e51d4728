//! How long nothing came.

use std::{ops::Range, time::Duration};

/// The longest time without any of these, which are in order, that lies at least partly within a time; before the first and after the last of all nothing
/// is said to have come.
pub(super) fn longest(times: &[Duration], within: Range<Duration>) -> Duration {
    let from = times.partition_point(|time| *time < within.start).saturating_sub(1);
    let to = times.partition_point(|time| *time <= within.end);
    let inside = times.get(from..to).unwrap_or_default();
    let first = inside.first().map_or(within.start, |first| within.start.min(*first));
    let ends = inside.iter().copied().chain([within.end.max(inside.last().copied().unwrap_or_default())]);
    let mut longest = (Duration::ZERO, first);
    for time in ends {
        longest = (longest.0.max(time.saturating_sub(longest.1)), time);
    }
    longest.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(times: &[u64], within: Range<u64>) -> u64 {
        let times: Vec<_> = times.iter().copied().map(Duration::from_secs).collect();
        longest(&times, Duration::from_secs(within.start)..Duration::from_secs(within.end)).as_secs()
    }

    #[test]
    fn a_gap_begins_with_what_came_before_it() {
        assert_eq!(gap(&[1, 2, 3, 9, 10], 4..11), 6);
        assert_eq!(gap(&[1, 9, 10, 11, 30], 8..11), 8, "it lies partly within");
        assert_eq!(gap(&[5, 6], 5..20), 14, "nothing came any more");
        assert_eq!(gap(&[9], 5..10), 4);
        assert_eq!(gap(&[], 5..10), 5);
        assert_eq!(gap(&[20], 5..10), 5);
    }
}
