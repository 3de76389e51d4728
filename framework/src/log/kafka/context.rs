//! What librdkafka tells beside results: its logs, and the trouble it has with brokers.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};

/// The context of every client.
#[derive(Debug)]
pub(super) struct Context {
    /// The bootstrap servers, for messages.
    bootstrap: String,
    /// Trouble with brokers. Written by whoever serves the client's events, taken by the client's owner.
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    /// The last one, until it is taken.
    last: Option<Trouble>,
    /// The last that was about one broker. librdkafka does not repeat it, but goes on to say that all brokers are down.
    broker: Option<Trouble>,
}

/// Why brokers cannot be talked to.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) code: RDKafkaErrorCode,
    pub(super) reason: String,
}

// === impl Context ===

impl Context {
    pub(super) fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.into(), troubles: Mutex::default() }
    }

    /// The bootstrap servers.
    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The trouble since the last call.
    pub(super) fn take_trouble(&self) -> Option<Trouble> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).last.take()
    }

    /// Keeps a trouble for [`Context::take_trouble`].
    pub(super) fn trouble(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = Trouble { code, reason: reason.into() };
        if code == RDKafkaErrorCode::AllBrokersDown {
            troubles.last = troubles.broker.clone().or(Some(trouble));
        } else {
            troubles.broker = Some(trouble.clone());
            troubles.last = Some(trouble);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown), reason);
    }
}

impl ProducerContext for Context {
    /// The index of the partition in its producer's table.
    type DeliveryOpaque = usize;

    // Reports are taken from the event queue by `raw::Deliveries`; here arrive those of a producer that is being dropped.
    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}

/// A line of librdkafka's log. It calls a broken connection an error; but it goes on trying, so it is a warning here.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    const TARGET: &str = "millpond::log::kafka";
    // A property of consumers that is given to a producer, or the other way round: users give one set for all clients.
    if facility == "CONFWARN" {
        return tracing::debug!(target: TARGET, facility, "{message}");
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: TARGET, facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(target: TARGET, facility, "{message}"),
        RDKafkaLogLevel::Notice => tracing::info!(target: TARGET, facility, "{message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: TARGET, facility, "{message}"),
    }
}
