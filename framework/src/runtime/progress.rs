//! How far restores are.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How far the restore of a task is. Written by its worker, read by other threads.
#[derive(Debug)]
pub(crate) struct RestoreProgress {
    begun: Duration,
    records: AtomicU64,
    bytes: AtomicU64,
    remaining: AtomicU64,
    /// Why it does not go on, while that is so for long. Locked for a clone only.
    held_back: Mutex<Option<Arc<str>>>,
}

/// How far one restore, or several together, are at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RestoreReading {
    /// Changelog records applied.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Offsets still to go: at most so many records.
    pub(crate) remaining: u64,
    /// Since the restore began.
    pub(crate) elapsed: Duration,
    /// Why it does not go on, if it does not; of several the first.
    pub(crate) held_back: Option<Arc<str>>,
}

/// Characters of the bar.
const BAR: u64 = 20;

// === impl RestoreProgress ===

impl RestoreProgress {
    /// A restore that begins now (monotonic clock), with so many offsets to go.
    pub(crate) fn new(now: Duration, remaining: u64) -> Self {
        let (records, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: now, records, bytes, remaining: remaining.into(), held_back: Mutex::default() }
    }

    pub(crate) fn applied(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_remaining(&self, remaining: u64) {
        self.remaining.store(remaining, Ordering::Relaxed);
    }

    /// Says why it does not go on, or that it does.
    pub(crate) fn set_held_back(&self, reason: Option<Arc<str>>) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(crate) fn read(&self, now: Duration) -> RestoreReading {
        RestoreReading {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            remaining: self.remaining.load(Ordering::Relaxed),
            elapsed: now.saturating_sub(self.begun),
            held_back: self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

// === impl RestoreReading ===

impl RestoreReading {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            remaining: self.remaining + other.remaining,
            elapsed: self.elapsed.max(other.elapsed),
            held_back: self.held_back.or(other.held_back),
        }
    }

    /// Records per second so far; 0 before the first.
    pub(crate) fn rate(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.records as f64 / self.elapsed.as_secs_f64() }
    }

    /// How long it takes still at this rate; `None` before the first record, and while something holds it back.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        if self.held_back.is_some() {
            return None;
        }
        let seconds = self.remaining as f64 / self.rate();
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl fmt::Display for RestoreReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, bytes, remaining, .. } = *self;
        let total = (records + remaining).max(1);
        let full = (records * BAR / total) as usize;
        let (percent, mebibytes) = (records * 100 / total, bytes as f64 / f64::from(1 << 20));
        write!(f, "[{}{}] {percent} %", "#".repeat(full), "-".repeat(BAR as usize - full))?;
        write!(f, ", {records} of at most {total} records, {mebibytes:.1} MiB, {:.0} records/s", self.rate())?;
        match (&self.held_back, self.time_left()) {
            (Some(_), _) => f.write_str(", held back"),
            (None, Some(left)) => write!(f, ", {:.0} s left", left.as_secs_f64().ceil()),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_says_how_far_how_fast_and_how_long_still() {
        let progress = RestoreProgress::new(Duration::from_secs(10), 1000);
        let at_first = progress.read(Duration::from_secs(10));
        assert_eq!((at_first.rate(), at_first.time_left()), (0.0, None));
        progress.applied(250, 1 << 20);
        progress.set_remaining(750);
        let reading = progress.read(Duration::from_secs(15));
        assert_eq!((reading.rate(), reading.time_left()), (50.0, Some(Duration::from_secs(15))));
        assert_eq!(
            reading.to_string(),
            "[#####---------------] 25 %, 250 of at most 1000 records, 1.0 MiB, 50 records/s, 15 s left"
        );
        let other = || RestoreReading { remaining: 250, ..RestoreReading::default() };
        let both = reading.and(other());
        assert_eq!((both.records, both.remaining, both.elapsed), (250, 1000, Duration::from_secs(5)));

        progress.set_held_back(Some("it waits".into()));
        let held_back = other().and(progress.read(Duration::from_secs(15)));
        assert_eq!((held_back.held_back.as_deref(), held_back.time_left()), (Some("it waits"), None));
        assert!(held_back.to_string().ends_with(" records/s, held back"), "{held_back}");
        progress.set_held_back(None);
        assert_eq!(progress.read(Duration::from_secs(15)).time_left(), Some(Duration::from_secs(15)));
    }
}
