//! Ranges of keys, and the order they are walked in.

use std::ops::{Bound, RangeBounds};

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys (unsigned bytes).
    Forward,
    /// Descending keys.
    Backward,
}

/// A range of keys that is not empty by its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRange<'k> {
    start: Bound<&'k [u8]>,
    end: Bound<&'k [u8]>,
}

// === impl Direction ===

impl Direction {
    /// Whether `a` comes before `b` in this order.
    pub(super) fn precedes(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Forward => a < b,
            Self::Backward => a > b,
        }
    }
}

// === impl KeyRange ===

impl<'k> KeyRange<'k> {
    /// The range of these bounds; `None` when no key can lie in it (which `BTreeMap` would panic about).
    pub(super) fn new(range: &impl RangeBounds<&'k [u8]>) -> Option<Self> {
        let range = Self { start: range.start_bound().cloned(), end: range.end_bound().cloned() };
        let possible = match (range.start, range.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (Bound::Included(start), Bound::Included(end)) => start <= end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start < end
            }
        };
        possible.then_some(range)
    }

    /// The bounds, as `BTreeMap::range` takes them.
    pub(super) fn bounds(&self) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
        (self.start, self.end)
    }

    /// The smallest key of the range, as an inclusive bound.
    pub(super) fn lower(&self) -> Option<Vec<u8>> {
        match self.start {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(key.to_vec()),
            Bound::Excluded(key) => Some(next_key(key)),
        }
    }

    /// The smallest key behind the range, as an exclusive bound.
    pub(super) fn upper(&self) -> Option<Vec<u8>> {
        match self.end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(next_key(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        }
    }
}

/// The next key in the order of unsigned bytes: nothing lies between a key and itself with a zero behind.
fn next_key(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_exclude_every_key_are_no_range() {
        use Bound::{Excluded, Included};
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        for bounds in [(Included(b), Included(a)), (Excluded(a), Excluded(a)), (Included(a), Excluded(a))] {
            assert!(KeyRange::new(&bounds).is_none(), "{bounds:?}");
        }
        assert!(KeyRange::new(&(Included(a), Included(a))).is_some());
        assert!(KeyRange::new(&(a..b)).is_some());
        assert!(KeyRange::new(&(..)).is_some());
    }
}
