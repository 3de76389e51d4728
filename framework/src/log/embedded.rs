//! An in-process log with the contract of the log port: for demos, development and deterministic simulation.
//!
//! **Not for production.** It lives in one process and dies with it: nobody else can reach it, nothing is replicated,
//! and with a directory what was acknowledged outlives the process but not a loss of power. Everything it holds it
//! holds in memory.
//!
//! What a broker does beyond the contract it does not: no record is deleted for its age (`retention.ms`) or refused for
//! a time in the future (`message.timestamp.after.max.ms`).
//!
//! # Time and determinism
//!
//! The adapter has no threads: everything happens inside calls, one at a time, at the time its [`Clock`] shows. What
//! became due since (a member to vote out, a transaction to abort) is done first. A log made with
//! [`Builder::simulated`] never waits: a call with a timeout returns at once with what there is, so one thread can play
//! all instances, and equal calls have equal results.
//!
//! # Faults
//!
//! [`EmbeddedLog::set_available`] takes the log away from everybody, as a broker that is down. [`EmbeddedLog::connect`]
//! gives a handle with a link of its own, which [`EmbeddedLog::set_connected`] cuts: the instance behind it goes on
//! running, hears nothing, and is voted out by the others. A client that is dropped without a farewell is an instance
//! that died: its open transaction stays open until its timeout, its membership until the session timeout.
//!
//! # Bounds
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | memory of all records | 1 GiB, or [`Builder::memory_max`] | an append is refused |
//! | a compacted partition | twice what the last compaction left, 4 MiB at least | it is compacted |
//! | a record | `max.message.bytes`, 16 MiB at most | refused |
//! | records in a producer that were not sent | 1 MiB or 10,000; while the log is away 32 MiB or 200,000 | sent; then `append` waits 30 s and fails |
//! | one poll of a reader | `max_records`, about 16 MiB | the next poll has the rest |
//! | partitions of a topic | 1,000 | refused |
//! | transactional ids | 10,000 | the one unused for longest is fenced and forgotten |
//! | journal on disk | four times what it has to say, 1 MiB at least | written anew |

mod admin;
mod compaction;
mod connection;
mod disk;
mod group;
mod membership;
mod partition;
mod producer;
mod reader;
mod recovery;
mod state;
#[cfg(test)]
mod tests;
mod topic;
mod transactional_producer;
mod transactions;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{
    admin::EmbeddedAdmin, connection::Connection, membership::EmbeddedMembership, producer::EmbeddedProducer,
    reader::EmbeddedReader, state::State, transactional_producer::EmbeddedTransactionalProducer,
};
use crate::{
    log::{Admin, Isolation, Log, LogError, Membership, MembershipOptions, Producer, Reader, TransactionalProducer},
    time::{Clock, SystemClock},
};

/// A log inside this process. Clones are the same log over the same link.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    connection: Connection,
}

/// How an [`EmbeddedLog`] is made.
#[derive(Debug)]
pub struct Builder {
    directory: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    waits: bool,
    memory_max: usize,
}

// === impl EmbeddedLog ===

impl EmbeddedLog {
    /// An empty log in memory, on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::over(State::new(MEMORY_MAX_DEFAULT), Arc::new(SystemClock::new()), true)
    }

    /// The log that lies in a directory, or a new one there. On the system's clock.
    ///
    /// # Errors
    ///
    /// [`LogError::Refused`] when the directory is in use, cannot be read or written, or is damaged.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::builder().directory(directory.as_ref()).build()
    }

    /// A log with other settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { directory: None, clock: Arc::new(SystemClock::new()), waits: true, memory_max: MEMORY_MAX_DEFAULT }
    }

    /// The same log over a new link, which can be cut by itself.
    #[must_use]
    pub fn connect(&self) -> Self {
        let link = self.connection.with(|state, _| state.new_link());
        Self { connection: self.connection.over(link) }
    }

    /// Takes the log away from everybody, or brings it back.
    pub fn set_available(&self, available: bool) {
        self.connection.with(|state, now| state.set_available(available, now));
    }

    /// Cuts the link of this handle, or mends it.
    pub fn set_connected(&self, connected: bool) {
        self.connection.with(|state, now| state.set_connected(self.connection.link, connected, now));
    }

    /// One compaction pass over a compacted topic: of what is decided, the last value of each key stays. Tombstones
    /// that the pass before left standing go.
    ///
    /// # Errors
    ///
    /// [`LogError::Refused`] when the topic is not compacted; [`LogError::UnknownTopic`].
    pub fn compact(&self, topic: &str) -> Result<(), LogError> {
        EmbeddedAdmin::new(self.connection.clone()).compact(topic)
    }

    fn over(state: State, clock: Arc<dyn Clock>, waits: bool) -> Self {
        Self { connection: Connection::new(state, clock, waits) }
    }
}

const MEMORY_MAX_DEFAULT: usize = 1 << 30;

impl Default for EmbeddedLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for EmbeddedLog {
    fn reach(&self, _timeout: Duration) -> Result<(), LogError> {
        self.admin()?.topics(&[]).map(drop)
    }

    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        Ok(Box::new(EmbeddedAdmin::new(self.connection.clone())))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(self.connection.clone(), isolation)))
    }

    fn producer(&self) -> Result<Box<dyn Producer>, LogError> {
        Ok(Box::new(EmbeddedProducer::new(self.connection.clone())))
    }

    fn transactional_producer(
        &self,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        let connection = self.connection.clone();
        Ok(Box::new(EmbeddedTransactionalProducer::new(connection, transactional_id, transaction_timeout)))
    }

    fn join(&self, options: MembershipOptions) -> Result<Box<dyn Membership>, LogError> {
        Ok(Box::new(EmbeddedMembership::new(self.connection.clone(), options)?))
    }
}

// === impl Builder ===

impl Builder {
    /// Keeps the log in this directory as well.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Takes the time from `clock`, and waits in real time when a call has to.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self.waits = true;
        self
    }

    /// Takes the time from `clock`, and never waits: calls with a timeout return at once.
    #[must_use]
    pub fn simulated(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self.waits = false;
        self
    }

    /// Bounds the memory of all records, in bytes.
    #[must_use]
    pub fn memory_max(mut self, bytes: usize) -> Self {
        self.memory_max = bytes;
        self
    }

    /// Makes the log.
    ///
    /// # Errors
    ///
    /// [`LogError::Refused`] when the directory is in use, cannot be read or written, or is damaged.
    pub fn build(self) -> Result<EmbeddedLog, LogError> {
        let state = match &self.directory {
            Some(directory) => State::open(directory, self.memory_max).map_err(|error| LogError::Refused {
                what: format!("opening the embedded log in {}", directory.display()),
                reason: error.to_string(),
            })?,
            None => State::new(self.memory_max),
        };
        Ok(EmbeddedLog::over(state, self.clock, self.waits))
    }
}
