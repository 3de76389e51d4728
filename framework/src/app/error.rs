//! Why an instance cannot start, or stopped.

use std::net::SocketAddr;

use super::application::PrepareError;
use crate::{cluster::ClusterError, log::LogError, processor::ProcessError, state::StateError};

/// Why an instance cannot start, or stopped. The message names the thing and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The log failed, or cannot be reached.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The topics cannot be used.
    #[error(transparent)]
    Topics(#[from] PrepareError),
    /// Local state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The cluster does not take this instance.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The global tables cannot be read.
    #[error("the global tables cannot be read")]
    Globals(#[from] ProcessError),
    /// The global tables could be read at first, and then no more; the log says why.
    #[error("the global tables cannot be followed any more; the log of this instance says why")]
    GlobalTables,
    /// A worker cannot go on.
    #[error("worker {worker} cannot go on: {error}")]
    Worker {
        /// Which.
        worker: usize,
        /// Why.
        error: String,
    },
    /// Standbys and warm-ups cannot be followed any more.
    #[error("standbys and warm-ups cannot be followed any more: {error}")]
    Followers {
        /// Why.
        error: String,
    },
    /// The REST interface cannot listen.
    #[error("the REST interface cannot listen on {address}; choose another address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A setting is wrong.
    #[error("{setting} {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread ended in a way it never should.
    #[error("{0} panicked; this is a bug of millpond, please report it with the log")]
    Panicked(&'static str),
    /// The metrics could not be registered.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The machine gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}
