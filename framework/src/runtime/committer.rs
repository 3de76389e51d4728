//! The thread that carries a worker's commits out, while the worker goes on.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    production::{Client, Committed},
    threads::{Threads, Turns, receive, receive_within},
};
use crate::{
    log::{Epoch, Group, LogError, TopicPartition},
    time::Clock,
};

/// Carries out one commit at a time.
#[derive(Debug)]
pub(super) struct Committer {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    clock: Arc<dyn Clock>,
}

/// A commit to carry out. It comes back with the result.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) client: Client,
    pub(super) positions: Vec<(TopicPartition, i64)>,
    pub(super) group: Arc<dyn Group>,
    pub(super) epoch: Epoch,
    /// How long each of its steps may take.
    pub(super) timeout: Duration,
}

/// A commit that was carried out.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) job: Job,
    pub(super) result: Result<Committed, LogError>,
}

/// What the thread runs.
struct Committing {
    jobs: Receiver<Job>,
    done: Sender<Done>,
}

// === impl Committer ===

impl Committer {
    /// Starts the thread. It ends when the value is dropped, after the commit that is in flight then.
    pub(super) fn start(threads: &dyn Threads, name: String, clock: Arc<dyn Clock>) -> Result<Self, LogError> {
        let (jobs, waiting) = bounded::<Job>(1);
        let (finished, done) = bounded(1);
        let failed = |error| LogError::Fatal { reason: format!("cannot start a thread for commits: {error}") };
        let make = move || Some(Box::new(Committing { jobs: waiting, done: finished }) as _);
        threads.run(name, Box::new(make)).map_err(failed)?;
        Ok(Self { jobs, done, clock })
    }

    /// Begins a commit; there must be none in flight.
    pub(super) fn begin(&self, job: Job) -> Result<(), LogError> {
        self.jobs.send(job).map_err(|_| Self::ended())
    }

    /// Waits up to `patience` for the commit in flight; `None` when it still is.
    pub(super) fn wait(&self, patience: Duration) -> Option<Result<Done, LogError>> {
        match receive(&*self.clock, &self.done, patience) {
            Ok(done) => Some(Ok(done)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Self::ended())),
        }
    }

    fn ended() -> LogError {
        LogError::Fatal { reason: "the thread for commits panicked; the message is on standard error".into() }
    }
}

// === impl Committing ===

impl Turns for Committing {
    fn turn(&mut self, patience: Duration) -> bool {
        match receive_within(&self.jobs, patience) {
            Ok(mut job) => {
                let result = job.client.commit(&job.positions, &*job.group, &job.epoch, job.timeout);
                // If nobody waits for it any more, that was the last.
                self.done.send(Done { job, result }).is_ok()
            }
            Err(error) => error == RecvTimeoutError::Timeout,
        }
    }
}
