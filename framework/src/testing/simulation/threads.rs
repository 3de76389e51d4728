//! The threads of an instance, as loops of the scheduler.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    here::{current, sleep},
    life::Life,
    routine::Making,
    scheduler::Kind,
};
use crate::runtime::{MakeTurns, Thread, Threads};

/// Runs the loops of one life.
#[derive(Debug)]
pub(super) struct LifeThreads(pub(super) Arc<Life>);

/// A loop, for who started it.
#[derive(Debug)]
struct Loop {
    life: Arc<Life>,
    is_finished: Arc<AtomicBool>,
}

/// How often to look whether a loop has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

// === impl LifeThreads ===

impl Threads for LifeThreads {
    fn run(&self, name: String, make: MakeTurns) -> io::Result<Box<dyn Thread>> {
        let kind = match name.as_str() {
            name if name.contains("worker") => Kind::Worker,
            name if name.contains("commit") => Kind::Commit,
            _ => Kind::Other,
        };
        let is_finished = current().add(&self.0, kind, Making::By(make));
        Ok(Box::new(Loop { life: Arc::clone(&self.0), is_finished }))
    }
}

// === impl Loop ===

impl Thread for Loop {
    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }

    fn join(self: Box<Self>) -> bool {
        while !self.is_finished() && !std::thread::panicking() {
            sleep(&self.life, LOOK_AGAIN);
        }
        true
    }
}
