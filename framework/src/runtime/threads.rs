//! Who runs the loops of an instance: threads of the operating system, or a simulation that gives each its turn on one thread.

use std::{
    fmt::Debug,
    io,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::time::Clock;

/// Runs loops.
pub(crate) trait Threads: Send + Sync + Debug {
    /// Makes a loop and gives it its turns until one is the last.
    fn run(&self, name: String, make: MakeTurns) -> io::Result<Box<dyn Thread>>;
}

/// Makes a loop on the thread that runs it, so that it may own what does not go from thread to thread. `None`: there is none to run.
pub(crate) type MakeTurns = Box<dyn FnOnce() -> Option<Box<dyn Turns>> + Send>;

/// A loop.
pub(crate) trait Turns {
    /// One bounded step; `false` when it was the last. For something to do it waits `patience` at the most, and much shorter if there is
    /// something to look after meanwhile.
    fn turn(&mut self, patience: Duration) -> bool;
    /// What is to be done after the last turn.
    fn end(self: Box<Self>) {}
}

/// A loop that runs, or has run.
pub(crate) trait Thread: Send + Debug {
    /// Whether it has ended.
    fn is_finished(&self) -> bool;
    /// Waits for its end; `false` if it panicked.
    fn join(self: Box<Self>) -> bool;
}

/// Threads of the operating system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OsThreads;

/// A loop that has nothing else to look after waits so long.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// How much time a simulation lets pass between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

// === impl OsThreads ===

impl Threads for OsThreads {
    fn run(&self, name: String, make: MakeTurns) -> io::Result<Box<dyn Thread>> {
        let run = move || {
            if let Some(mut turns) = make() {
                while turns.turn(LONG) {}
                turns.end();
            }
        };
        Ok(Box::new(Builder::new().name(name).spawn(run)?))
    }
}

impl Thread for JoinHandle<()> {
    fn is_finished(&self) -> bool {
        JoinHandle::is_finished(self)
    }

    fn join(self: Box<Self>) -> bool {
        JoinHandle::join(*self).is_ok()
    }
}

/// Waits up to `patience` for what another loop sends. Without patience it only looks: the channel would spin and yield for a while first.
pub(crate) fn receive_within<T>(from: &Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    if !patience.is_zero() {
        return from.recv_timeout(patience);
    }
    from.try_recv().map_err(|error| match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    })
}

/// Waits up to `patience` for what another loop sends, by this clock.
pub(crate) fn receive<T>(clock: &dyn Clock, from: &Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    if !clock.is_simulated() {
        return receive_within(from, patience);
    }
    let until = clock.monotonic() + patience;
    loop {
        match from.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if clock.monotonic() >= until => return Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Empty) => clock.sleep(LOOK_AGAIN),
        }
    }
}
