//! How clients reach the log: one lock, one condition variable, the clock.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use super::state::State;
use crate::{log::LogError, time::Clock};

/// What a client holds of the log. Clones share the link.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    pub(super) link: LinkId,
}

/// The way to the log, which can be cut for some clients and not for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

struct Shared {
    /// Everything. Held for one operation at a time and never while waiting or copying records to a reader.
    state: Mutex<State>,
    /// Signalled after everything that a waiting client may wait for.
    changed: Condvar,
    clock: Arc<dyn Clock>,
    /// Whether calls may wait in real time.
    waits: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(state: State, clock: Arc<dyn Clock>, waits: bool) -> Self {
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), clock, waits };
        Self { shared: Arc::new(shared), link: LinkId::FIRST }
    }

    /// The same log over a link of its own.
    pub(super) fn over(&self, link: LinkId) -> Self {
        Self { shared: Arc::clone(&self.shared), link }
    }

    /// The log's monotonic time.
    pub(super) fn now(&self) -> Duration {
        self.shared.clock.monotonic()
    }

    /// The log's wall-clock time, in ms since the epoch.
    pub(super) fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Does something with the state as it is now, whether the log can be reached or not.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.lock();
        let now = self.now();
        state.advance(now);
        let result = act(&mut state, now);
        self.signal(&mut state);
        result
    }

    /// Does something if the log can be reached; fails at once if not.
    pub(super) fn call<T>(
        &self,
        what: impl fmt::Display,
        act: impl FnOnce(&mut State, Duration) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.with(|state, now| if state.reachable(self.link) { act(state, now) } else { Err(unavailable(what)) })
    }

    /// Does something as soon as the log can be reached and `act` has a result. `None` when that takes longer than
    /// `timeout`, or at once when this log does not wait.
    pub(super) fn call_within<T>(
        &self,
        timeout: Duration,
        mut act: impl FnMut(&mut State, Duration) -> Option<T>,
    ) -> Option<T> {
        self.wait(timeout, |state, now| if state.reachable(self.link) { act(state, now) } else { None })
    }

    /// Like [`Connection::call_within`], but `act` is tried whether the log can be reached or not.
    pub(super) fn wait<T>(
        &self,
        timeout: Duration,
        mut act: impl FnMut(&mut State, Duration) -> Option<T>,
    ) -> Option<T> {
        let deadline = self.now().saturating_add(timeout);
        let mut state = self.lock();
        loop {
            let now = self.now();
            state.advance(now);
            let result = act(&mut state, now);
            self.signal(&mut state);
            if result.is_some() || now >= deadline || !self.shared.waits {
                return result;
            }
            let until = state.next_due().filter(|due| *due > now).map_or(deadline, |due| due.min(deadline));
            state = self.shared.changed.wait_timeout(state, until - now).expect(NO_PANIC).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect(NO_PANIC)
    }

    fn signal(&self, state: &mut State) {
        if state.take_changed() {
            self.shared.changed.notify_all();
        }
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock of the log";

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("link", &self.link).finish_non_exhaustive()
    }
}

// === impl LinkId ===

impl LinkId {
    /// The link of clients that nobody is on any more.
    pub(super) const DEAD: Self = Self(0);
    /// The link that the log is made with.
    pub(super) const FIRST: Self = Self(1);
}

/// The error of a call that did not reach the log.
pub(super) fn unavailable(what: impl fmt::Display) -> LogError {
    LogError::Unavailable { what: what.to_string(), reason: AWAY.to_owned() }
}

/// Why the log cannot be reached.
pub(super) const AWAY: &str = "the embedded log was made unavailable";
