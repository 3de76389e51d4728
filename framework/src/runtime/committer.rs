//! The thread that carries a worker's commits out, while the worker goes on.

use std::{sync::Arc, thread::Builder, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::production::Client;
use crate::log::{Epoch, Group, LogError, TopicPartition};

/// Carries out one commit at a time.
#[derive(Debug)]
pub(super) struct Committer {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

/// A commit to carry out. The client comes back with the result.
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
    pub(super) client: Client,
    pub(super) result: Result<(), LogError>,
}

// === impl Committer ===

impl Committer {
    /// Starts the thread. It ends when the value is dropped, after the commit that is in flight then.
    pub(super) fn start(name: String) -> Result<Self, LogError> {
        let (jobs, waiting) = bounded::<Job>(1);
        let (finished, done) = bounded(1);
        let run = move || {
            for Job { mut client, positions, group, epoch, timeout } in waiting {
                let result = client.commit(&positions, &*group, &epoch, timeout);
                // Nobody waits for it any more.
                if finished.send(Done { client, result }).is_err() {
                    return;
                }
            }
        };
        let failed = |error| LogError::Fatal { reason: format!("cannot start a thread for commits: {error}") };
        Builder::new().name(name).spawn(run).map_err(failed)?;
        Ok(Self { jobs, done })
    }

    /// Begins a commit; there must be none in flight.
    pub(super) fn begin(&self, job: Job) -> Result<(), LogError> {
        self.jobs.send(job).map_err(|_| Self::ended())
    }

    /// Waits up to `patience` for the commit in flight; `None` when it still is.
    pub(super) fn wait(&self, patience: Duration) -> Option<Result<Done, LogError>> {
        match self.done.recv_timeout(patience) {
            Ok(done) => Some(Ok(done)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Self::ended())),
        }
    }

    fn ended() -> LogError {
        LogError::Fatal { reason: "the thread for commits panicked; the message is on standard error".into() }
    }
}
