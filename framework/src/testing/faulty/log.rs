//! The log itself: it wraps every client that it makes.

use std::{sync::Arc, time::Duration};

use super::{
    Faults, Step,
    clients::{FaultyProducer, FaultyReader, FaultyTransactionalProducer},
    group::FaultyMembership,
};
use crate::log::{
    Admin, Isolation, Log, LogError, Membership, MembershipOptions, Producer, Reader, TransactionalProducer,
};

/// Another log, on which calls go wrong as its [`Faults`] say. One for each instance: a crash is of all that use it.
#[derive(Debug)]
pub struct FaultyLog {
    log: Arc<dyn Log>,
    faults: Faults,
}

// === impl FaultyLog ===

impl FaultyLog {
    /// A log on which nothing goes wrong yet; a crash makes its calls stand still.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, faults: Faults::new(false) }
    }

    /// The same, but a crash ends the process at once, as SIGKILL does.
    #[must_use]
    pub fn aborting(log: Arc<dyn Log>) -> Self {
        Self { log, faults: Faults::new(true) }
    }

    /// What says what goes wrong.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

impl Log for FaultyLog {
    fn reach(&self, timeout: Duration) -> Result<(), LogError> {
        self.faults.alive(|| self.log.reach(timeout))
    }

    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        self.faults.alive(|| self.log.admin())
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        let reader = self.faults.alive(|| self.log.reader(isolation))?;
        Ok(Box::new(FaultyReader::new(reader, self.faults.clone())))
    }

    fn producer(&self) -> Result<Box<dyn Producer>, LogError> {
        let producer = self.faults.alive(|| self.log.producer())?;
        Ok(Box::new(FaultyProducer::new(producer, self.faults.clone())))
    }

    fn transactional_producer(
        &self,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        let producer = self.faults.alive(|| self.log.transactional_producer(transactional_id, transaction_timeout))?;
        Ok(Box::new(FaultyTransactionalProducer::new(producer, self.faults.clone())))
    }

    fn join(&self, options: MembershipOptions) -> Result<Box<dyn Membership>, LogError> {
        let membership = self.faults.alive(|| self.log.join(options))?;
        Ok(Box::new(FaultyMembership::new(membership, self.faults.clone())))
    }
}

/// The step that an append to a topic is.
pub(super) fn append_to(topic: &str) -> Step {
    if is_metadata(topic) {
        Step::Publish
    } else if is_changelog(topic) {
        Step::AppendChangelog
    } else {
        Step::AppendOutput
    }
}

/// By the names that the framework gives its internal topics.
pub(super) fn is_changelog(topic: &str) -> bool {
    topic.ends_with("-changelog")
}

pub(super) fn is_metadata(topic: &str) -> bool {
    topic.ends_with("-metadata")
}
