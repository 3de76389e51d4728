//! The Kafka adapter: the log port on librdkafka, the engine for real work.
//!
//! How the contract of [`crate::log`] is kept:
//!
//! * Every client of an instance is a librdkafka client of its own (its threads, its connections), built from one set of
//!   settings (`options`). What the framework relies on is fixed there and cannot be overridden.
//! * Batch consume, producing by topic handle, delivery reports and the group generation are what rdkafka's safe wrapper
//!   hides or makes dear; they are in `raw`, the one file of this crate with `unsafe` code.
//! * librdkafka's logs go to `tracing`, target `millpond::log::kafka`; what many clients say of one broker, once in 30 s.

mod admin;
mod context;
mod deadline;
mod error;
mod group;
mod lifeline;
mod lines;
mod membership;
mod options;
mod positions;
mod producer;
mod raw;
mod reader;
mod topic;
mod transactional;

use std::{sync::Arc, time::Duration};

pub use self::options::KafkaOptions;
use self::{
    admin::{KafkaAdmin, Link},
    membership::KafkaMembership,
    options::Settings,
    producer::KafkaProducer,
    reader::KafkaReader,
    transactional::KafkaTransactionalProducer,
};
use super::{Admin, Isolation, Log, LogError, Membership, MembershipOptions, Producer, Reader, TransactionalProducer};

/// A Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    settings: Arc<Settings>,
    link: Arc<Link>,
}

// === impl KafkaLog ===

impl KafkaLog {
    /// Checks the options and that the cluster answers, within the request timeout.
    ///
    /// # Errors
    /// [`LogError::Refused`] names the property that is wrong; [`LogError::Unavailable`] names the bootstrap address and
    /// says why the last attempt to connect failed.
    pub fn connect(options: KafkaOptions) -> Result<Self, LogError> {
        let timeout = options.request_timeout;
        let log = Self::open(options)?;
        log.reach(timeout)?;
        Ok(log)
    }

    /// Checks the options alone: the cluster may be away. [`Log::reach`] asks it.
    ///
    /// # Errors
    /// [`LogError::Refused`] names the property that is wrong.
    pub fn open(options: KafkaOptions) -> Result<Self, LogError> {
        let settings = Arc::new(Settings::new(options)?);
        let link = Arc::new(Link::open(Arc::clone(&settings))?);
        Ok(Self { settings, link })
    }
}

impl Log for KafkaLog {
    fn reach(&self, timeout: Duration) -> Result<(), LogError> {
        self.link.reach(timeout)
    }

    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        Ok(Box::new(KafkaAdmin::new(Arc::clone(&self.link))))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open(Arc::clone(&self.settings), isolation)?))
    }

    fn producer(&self) -> Result<Box<dyn Producer>, LogError> {
        Ok(Box::new(KafkaProducer::open(&self.settings)?))
    }

    fn transactional_producer(
        &self,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        Ok(Box::new(KafkaTransactionalProducer::open(&self.settings, transactional_id, transaction_timeout)?))
    }

    fn join(&self, options: MembershipOptions) -> Result<Box<dyn Membership>, LogError> {
        Ok(Box::new(KafkaMembership::join(Arc::clone(&self.settings), options)?))
    }
}
