//! Rows that belong to a time: where they lie, and which of them are there still.
//!
//! ```text
//! key on disk   bucket (8 bytes, in the order of time), key as it is logged
//! bucket        time / bucket_ms
//! time          of a window its start, of a session its end
//! ```
//!
//! So what expires together lies together: it is removed as a range, whole files at once, and later rows are never written into the
//! files of earlier ones. The price is a seek per bucket when a range of times of one key is read; buckets are half a retention
//! long, unless a store is read in the order of time.

use std::ops::{Bound, RangeInclusive};

use super::{Direction, Retention, StoreId, StoreKind, formats};

/// The stream time of a store that was never written to.
pub(super) const NO_STREAM_TIME: i64 = -1;

/// Where a store keeps up to which time its windows were closed and passed on: behind all buckets. As it is logged (`closed`) it is
/// too short for the key of a row.
pub(super) const CLOSED_KEY: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xffclosed";

/// Bytes of the bucket.
pub(super) const BUCKET_BYTES: usize = 8;

/// The key of a row of a window or session store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedKey<'a> {
    /// The serialized key.
    pub key: &'a [u8],
    /// Where the window or session starts, in ms since the epoch.
    pub start_ms: i64,
    /// Where the session ends, in ms since the epoch. Rows of windows do not know their end: their start again.
    pub end_ms: i64,
    /// Which of the rows of this key and start it is, in the order in which they came; 0 where there is one only.
    pub sequence: u32,
}

/// How the rows of a store lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    retention: Retention,
    sessions: bool,
    /// Whether there may be several rows of one key and start.
    numbered: bool,
}

/// The rows of a range of times that can be seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible {
    layout: Layout,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// How far a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Its stream time in ms: the latest time of any row written.
    pub(super) stream_time_ms: i64,
    /// The number of the last row that was numbered.
    pub(super) sequence: u32,
}

/// How far a task's stores have come.
#[derive(Debug)]
pub(super) struct StreamTimes {
    live: Box<[Progress]>,
    /// As of the last freeze, or of the last commit when nothing waits for one.
    frozen: Box<[Progress]>,
    committed: Box<[Progress]>,
}

/// How a store has moved on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advance {
    pub(super) store: StoreId,
    pub(super) to: Progress,
    /// When this has moved on too: keys on disk below this one are to be removed.
    pub(super) keep_from: Option<[u8; BUCKET_BYTES]>,
}

// === impl TimedKey ===

impl<'a> TimedKey<'a> {
    /// The row of a key's window.
    #[must_use]
    pub const fn window(key: &'a [u8], start_ms: i64) -> Self {
        Self::numbered(key, start_ms, 0)
    }

    /// One of the rows of a key's window.
    #[must_use]
    pub const fn numbered(key: &'a [u8], start_ms: i64, sequence: u32) -> Self {
        Self { key, start_ms, end_ms: start_ms, sequence }
    }

    /// The row of a key's session.
    #[must_use]
    pub const fn session(key: &'a [u8], start_ms: i64, end_ms: i64) -> Self {
        Self { key, start_ms, end_ms, sequence: 0 }
    }
}

// === impl Layout ===

impl Layout {
    /// That of a kind of stores; `None` when its rows do not belong to a time.
    pub(super) fn of(kind: StoreKind) -> Option<Self> {
        (!matches!(kind, StoreKind::Versioned(_))).then(|| Self::expiring(kind))?
    }

    /// How the rows of a kind of stores expire; `None` when they do not.
    pub(super) fn expiring(kind: StoreKind) -> Option<Self> {
        let retention = kind.retention()?;
        let (sessions, numbered) = match kind {
            StoreKind::Session(_) => (true, false),
            StoreKind::DuplicateWindow(_) => (false, true),
            _ => (false, false),
        };
        Some(Self { retention, sessions, numbered })
    }

    pub(super) fn retention(self) -> Retention {
        self.retention
    }

    /// Whether no row is ever looked for by its own key: nobody knows its number. Nor is one deleted.
    pub(super) fn has_rows_for_scans_only(self) -> bool {
        self.numbered
    }

    /// The time that a row belongs to.
    pub(super) fn time(self, key: TimedKey<'_>) -> i64 {
        if self.sessions { key.end_ms } else { key.start_ms }
    }

    /// The time of a row by its key as it is logged, or on disk; `None` when that is too short.
    pub(super) fn time_of(self, logged: &[u8]) -> Option<i64> {
        let suffix = if self.sessions { formats::SESSION_SUFFIX } else { formats::WINDOW_SUFFIX };
        let at = logged.len().checked_sub(suffix)?;
        Some(i64::from_be_bytes(*logged[at..].first_chunk()?))
    }

    /// The number of a row by its key as it is logged; `None` when rows are not numbered.
    pub(super) fn sequence_of(self, logged: &[u8]) -> Option<u32> {
        let (_, _, sequence) = formats::window_key(logged).filter(|_| self.numbered)?;
        Some(sequence)
    }

    /// Writes the key on disk.
    pub(super) fn put_key(self, out: &mut Vec<u8>, key: TimedKey<'_>) {
        out.clear();
        out.extend_from_slice(&self.bucket_of(self.time(key)));
        out.extend_from_slice(key.key);
        if self.sessions {
            formats::put_session_suffix(out, key.start_ms, key.end_ms);
        } else {
            formats::put_window_suffix(out, key.start_ms, key.sequence);
        }
    }

    /// Writes the key on disk of a key as it is logged; `None` when it is not one of such a store.
    pub(super) fn put_logged(self, out: &mut Vec<u8>, logged: &[u8]) -> Option<()> {
        out.clear();
        if logged == Self::logged(CLOSED_KEY) {
            out.extend_from_slice(CLOSED_KEY);
            return Some(());
        }
        out.extend_from_slice(&self.bucket_of(self.time_of(logged)?));
        out.extend_from_slice(logged);
        Some(())
    }

    /// Writes the key on disk of a key as the store's format of keys says: without the sequence number. Gives its time; `None` when
    /// it is not of this form.
    pub(super) fn put_formatted(self, out: &mut Vec<u8>, formatted: &[u8]) -> Option<i64> {
        if self.sessions {
            self.put_logged(out, formatted)?;
            return self.time_of(formatted);
        }
        let (key, start_ms) = formatted.split_last_chunk().map(|(key, start)| (key, i64::from_be_bytes(*start)))?;
        self.put_key(out, TimedKey::window(key, start_ms));
        Some(start_ms)
    }

    /// The key as it is logged, of one on disk.
    pub(super) fn logged(stored: &[u8]) -> &[u8] {
        stored.get(BUCKET_BYTES..).unwrap_or_default()
    }

    /// Reads a key on disk; `None` when it is not of this form.
    pub(super) fn key(self, stored: &[u8]) -> Option<TimedKey<'_>> {
        let logged = Self::logged(stored);
        if self.sessions {
            formats::session_key(logged).map(|(key, start_ms, end_ms)| TimedKey::session(key, start_ms, end_ms))
        } else {
            formats::window_key(logged).map(|(key, start_ms, sequence)| TimedKey::numbered(key, start_ms, sequence))
        }
    }

    /// The number of a time's bucket.
    fn bucket(self, time: i64) -> i64 {
        time.div_euclid(self.retention.bucket_ms)
    }

    /// Writes the bounds, both inclusive, between which the rows of a key lie in a bucket, with times from `from` to `to`. Rows of
    /// other keys may lie between them too.
    pub(super) fn put_bounds(bounds: &mut (Vec<u8>, Vec<u8>), bucket: i64, key: &[u8], from: i64, to: i64) {
        for (bound, time) in [(&mut bounds.0, from), (&mut bounds.1, to)] {
            bound.clear();
            bound.extend_from_slice(&bucket_bytes(bucket));
            bound.extend_from_slice(key);
            bound.extend_from_slice(&time.to_be_bytes());
        }
        bounds.1.extend_from_slice(&[0xff; formats::SESSION_SUFFIX - size_of::<i64>()]);
    }

    /// Writes the bounds, the upper one exclusive, between which the rows of a range of keys lie in a bucket, with times up to `to`.
    /// Other rows may lie between them too.
    pub(super) fn put_bounds_of_keys(
        bounds: &mut (Vec<u8>, Vec<u8>),
        bucket: i64,
        (first, last): (Bound<&[u8]>, Bound<&[u8]>),
        to: i64,
    ) {
        let (lower, upper) = bounds;
        lower.clear();
        lower.extend_from_slice(&bucket_bytes(bucket));
        upper.clear();
        if let Bound::Included(first) | Bound::Excluded(first) = first {
            lower.extend_from_slice(first);
        }
        let (Bound::Included(last) | Bound::Excluded(last)) = last else {
            return upper.extend_from_slice(&bucket_bytes(bucket.saturating_add(1)));
        };
        // A key that `last` begins with comes before it, but its row may lie behind those of `last`: the bytes of its time are compared with
        // the rest of `last`. So the bound is behind the last row that any of them may have.
        let behind = [&to.to_be_bytes()[..], &[0xff; formats::SESSION_SUFFIX]].concat();
        let last_rows = (0..=last.len()).map(|length| last[..length].iter().chain(&behind));
        let highest = last_rows.max_by(|a, b| a.clone().cmp(b.clone()));
        upper.extend_from_slice(&bucket_bytes(bucket));
        upper.extend(highest.into_iter().flatten());
    }

    fn bucket_of(self, time: i64) -> [u8; BUCKET_BYTES] {
        bucket_bytes(self.bucket(time))
    }
}

/// A number so that the order of the bytes is that of the numbers.
pub(super) fn bucket_bytes(bucket: i64) -> [u8; BUCKET_BYTES] {
    (bucket.cast_unsigned() ^ 1 << 63).to_be_bytes()
}

// === impl Visible ===

impl Visible {
    /// `None` when there can be none.
    pub(super) fn new(layout: Layout, stream_time_ms: i64, times: RangeInclusive<i64>) -> Option<Self> {
        Self::since(layout, layout.retention.visible_from(stream_time_ms), stream_time_ms, times)
    }

    /// Those too that cannot be read any more, and are not removed yet.
    pub(super) fn kept(layout: Layout, stream_time_ms: i64, times: RangeInclusive<i64>) -> Option<Self> {
        Self::since(layout, layout.retention.accepted_from(stream_time_ms), stream_time_ms, times)
    }

    fn since(layout: Layout, first_ms: i64, stream_time_ms: i64, times: RangeInclusive<i64>) -> Option<Self> {
        let (from, to) = (first_ms.max(*times.start()).max(0), stream_time_ms.min(*times.end()));
        (from <= to).then_some(Self { layout, from, to })
    }

    /// The buckets that they lie in.
    pub(super) fn buckets(self, direction: Direction) -> impl Iterator<Item = i64> {
        let (first, last) = (self.layout.bucket(self.from), self.layout.bucket(self.to));
        (0..=last - first).map(move |n| match direction {
            Direction::Forward => first + n,
            Direction::Backward => last - n,
        })
    }

    /// The first key on disk, and the first one behind them.
    pub(super) fn bounds(self) -> ([u8; BUCKET_BYTES], [u8; BUCKET_BYTES]) {
        let behind = self.layout.bucket(self.to).saturating_add(1);
        (bucket_bytes(self.layout.bucket(self.from)), bucket_bytes(behind))
    }

    /// A key as the store's format of keys says.
    pub(super) fn formatted(self, key: TimedKey<'_>) -> Vec<u8> {
        let mut formatted = key.key.to_vec();
        if self.layout.sessions {
            formats::put_session_suffix(&mut formatted, key.start_ms, key.end_ms);
        } else {
            formatted.extend_from_slice(&key.start_ms.to_be_bytes());
        }
        formatted
    }

    /// The key of a row, when it is among them.
    pub(super) fn key(self, stored: &[u8]) -> Option<TimedKey<'_>> {
        let key = self.layout.key(stored)?;
        (self.from..=self.to).contains(&self.layout.time(key)).then_some(key)
    }
}

// === impl Progress ===

impl Progress {
    /// That of a store that was never written to.
    pub(super) const NONE: Self = Self { stream_time_ms: NO_STREAM_TIME, sequence: 0 };

    /// Numbers go from 1 to this, and then from 1 on again: those of Kafka Streams are never negative.
    const LAST_SEQUENCE: u32 = i32::MAX.cast_unsigned();

    fn next_sequence(self) -> u32 {
        self.sequence % Self::LAST_SEQUENCE + 1
    }

    /// Whether a number came after the last one: by the shorter way around.
    fn is_before(self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.sequence) & Self::LAST_SEQUENCE;
        (1..Self::LAST_SEQUENCE / 2).contains(&ahead)
    }
}

// === impl StreamTimes ===

impl StreamTimes {
    /// As they were committed.
    pub(super) fn new(committed: Box<[Progress]>) -> Self {
        Self { live: committed.clone(), frozen: committed.clone(), committed }
    }

    /// The time of a store as the task sees it.
    pub(super) fn live(&self, store: StoreId) -> i64 {
        self.live[store.index()].stream_time_ms
    }

    pub(super) fn committed(&self, store: StoreId) -> i64 {
        self.committed[store.index()].stream_time_ms
    }

    /// A row of this time is written.
    pub(super) fn observe(&mut self, store: StoreId, time: i64) {
        let live = &mut self.live[store.index()].stream_time_ms;
        *live = time.max(*live);
    }

    /// The number of the next row of a store whose rows are numbered.
    pub(super) fn next_sequence(&mut self, store: StoreId) -> u32 {
        let live = &mut self.live[store.index()];
        live.sequence = live.next_sequence();
        live.sequence
    }

    /// A row with this key, as it is logged, is restored; or the lack of one.
    pub(super) fn observe_logged(&mut self, store: StoreId, layout: Layout, logged: &[u8], is_row: bool) {
        // Where nothing is deleted, a record without a value was none of a row, and has not moved the time.
        let moves_time = is_row || !layout.has_rows_for_scans_only();
        if let Some(time) = layout.time_of(logged).filter(|_| moves_time) {
            self.observe(store, time);
        }
        let live = &mut self.live[store.index()];
        if let Some(sequence) = layout.sequence_of(logged).filter(|sequence| live.is_before(*sequence)) {
            live.sequence = sequence;
        }
    }

    /// Ends the interval: how a store has moved on since the last one.
    pub(super) fn freeze(&mut self, store: StoreId, layout: Layout) -> Option<Advance> {
        let (before, now) = (&mut self.frozen[store.index()], self.live[store.index()]);
        let kept_before = layout.retention.kept_from(before.stream_time_ms);
        if std::mem::replace(before, now) == now {
            return None;
        }
        let kept = layout.retention.kept_from(now.stream_time_ms);
        let keep_from = (kept > kept_before).then(|| bucket_bytes(kept));
        Some(Advance { store, to: now, keep_from })
    }

    /// The first key on disk that is not removed, as of the last freeze.
    pub(super) fn kept_from(&self, store: StoreId, layout: Layout) -> [u8; BUCKET_BYTES] {
        bucket_bytes(layout.retention.kept_from(self.frozen[store.index()].stream_time_ms))
    }

    /// The frozen interval is committed.
    pub(super) fn commit(&mut self) {
        self.committed.copy_from_slice(&self.frozen);
    }

    /// What is not committed is forgotten.
    pub(super) fn discard(&mut self) {
        self.live.copy_from_slice(&self.committed);
        self.frozen.copy_from_slice(&self.committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_anew_at_their_end_and_go_on_behind_the_latest_that_was_restored() {
        let store = StoreId::new(0);
        let mut times =
            StreamTimes::new(Box::new([Progress { sequence: Progress::LAST_SEQUENCE - 1, ..Progress::NONE }]));
        let numbers: Vec<_> = (0..3).map(|_| times.next_sequence(store)).collect();
        assert_eq!(numbers, [Progress::LAST_SEQUENCE, 1, 2]);
        let layout = Layout::of(StoreKind::DuplicateWindow(Retention::new(1))).expect("rows belong to a time");
        for sequence in [Progress::LAST_SEQUENCE, 7, 3] {
            let mut logged = b"key".to_vec();
            formats::put_window_suffix(&mut logged, 5, sequence);
            times.observe_logged(store, layout, &logged, true);
        }
        assert_eq!((times.next_sequence(store), times.live(store)), (8, 5));
    }
}
