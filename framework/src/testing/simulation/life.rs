//! One start of an instance: what ails it, and the time as it knows it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::here;
use crate::{log::Epoch, time::Clock};

/// One start of an instance. All that it is made of has this in hand; written by the world.
#[derive(Debug)]
pub(super) struct Life {
    /// Which start of all, from 1.
    pub(super) number: u64,
    /// The instance.
    pub(super) name: String,
    pub(super) time: VirtualTime,
    /// A crash was: whatever is left of it ends at its next call.
    is_dead: AtomicBool,
    /// It stands still until then.
    pub(super) paused: Until,
    /// Its workers are stuck in a function of the topology until then.
    pub(super) stuck: Until,
    /// It does not reach the other instances, nor they it, until then.
    pub(super) alone: Until,
    /// Nothing new is read of the metadata topic until then.
    pub(super) uninformed: Until,
    /// Calls of the log go wrong until then, so many of a thousand.
    pub(super) flaky: Until,
    pub(super) flaky_permille: AtomicU64,
    /// Writing to disk takes up to so many ms, until then.
    pub(super) slow_disk: Until,
    pub(super) slow_disk_ms: AtomicU64,
    /// A crash comes in so many calls; 0: none.
    pub(super) crash_in: AtomicU64,
    /// How far its wall clock is ahead of the log's, in ms.
    pub(super) ahead_ms: AtomicI64,
    /// Up to where the metadata topic was read, and what that was made of was done.
    pub(super) informed: AtomicI64,
    /// The membership as it was told last.
    pub(super) epoch: Mutex<Option<Epoch>>,
    /// How it ended by itself.
    pub(super) ended: Mutex<Option<Result<(), String>>>,
}

/// The time of a simulation. Clones are the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct VirtualTime(Arc<AtomicU64>);

/// The end of a trouble.
#[derive(Debug, Default)]
pub(super) struct Until(AtomicU64);

/// The clock of one life.
#[derive(Debug)]
pub(super) struct LifeClock(pub(super) Arc<Life>);

/// The clock of the log.
#[derive(Debug)]
pub(super) struct LogClock(pub(super) VirtualTime);

/// What the wall clocks show at first, in ms since the epoch.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;

// === impl Life ===

impl Life {
    pub(super) fn new(number: u64, name: &str, time: VirtualTime, ahead_ms: i64) -> Self {
        Self {
            number,
            name: name.to_owned(),
            time,
            is_dead: false.into(),
            paused: Until::default(),
            stuck: Until::default(),
            alone: Until::default(),
            uninformed: Until::default(),
            flaky: Until::default(),
            flaky_permille: 0.into(),
            slow_disk: Until::default(),
            slow_disk_ms: 0.into(),
            crash_in: 0.into(),
            ahead_ms: ahead_ms.into(),
            informed: 0.into(),
            epoch: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    pub(super) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Nothing ails it any more.
    pub(super) fn heal(&self) {
        let troubles = [&self.paused, &self.stuck, &self.alone, &self.uninformed, &self.flaky, &self.slow_disk];
        troubles.into_iter().for_each(|trouble| trouble.set(Duration::ZERO));
        self.crash_in.store(0, Ordering::Relaxed);
    }

    /// A call is made; whether it is the one that a crash comes at.
    pub(super) fn crashes_now(&self) -> bool {
        let left = self.crash_in.load(Ordering::Relaxed);
        if left > 0 {
            self.crash_in.store(left - 1, Ordering::Relaxed);
        }
        left == 1
    }

    pub(super) fn set_epoch(&self, epoch: Option<Epoch>) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_ended(&self, how: Result<(), String>) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }

    pub(super) fn ended(&self) -> Option<Result<(), String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl VirtualTime ===

impl VirtualTime {
    pub(super) fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// It never goes back.
    pub(super) fn move_to(&self, to: Duration) {
        self.0.fetch_max(to.as_micros() as u64, Ordering::Relaxed);
    }
}

// === impl Until ===

impl Until {
    pub(super) fn set(&self, until: Duration) {
        self.0.store(until.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn is_after(&self, now: Duration) -> bool {
        self.get() > now
    }
}

// === impl LifeClock ===

impl Clock for LifeClock {
    fn now_ms(&self) -> i64 {
        LogClock(self.0.time.clone()).now_ms() + self.0.ahead_ms.load(Ordering::Relaxed)
    }

    /// From another moment on in every life, as on another machine.
    fn monotonic(&self) -> Duration {
        self.0.time.now() + Duration::from_secs(self.0.number * 1_000)
    }

    fn sleep(&self, time: Duration) {
        here::sleep(&self.0, time);
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

// === impl LogClock ===

impl Clock for LogClock {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + self.0.now().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.0.now()
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
