//! What librdkafka tells beside results: its logs, and the trouble it has with brokers.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};

use super::{lines::Lines, options::Settings};

/// The context of every client.
#[derive(Debug)]
pub(super) struct Context {
    /// The bootstrap servers, for messages.
    bootstrap: String,
    lines: Arc<Lines>,
    /// Trouble with brokers. Written by whoever serves the client's events, taken by the client's owner.
    troubles: Mutex<Troubles>,
    /// Bytes in the client's queues of fetched records. Written by whoever serves the client's events.
    fetched_bytes: AtomicUsize,
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
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            bootstrap: settings.options.bootstrap.clone(),
            lines: Arc::clone(&settings.lines),
            troubles: Mutex::default(),
            fetched_bytes: AtomicUsize::new(0),
        }
    }

    /// The bootstrap servers.
    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Bytes that were fetched and that nobody has asked for, as the client said last.
    pub(super) fn fetched_bytes(&self) -> usize {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// Takes what is needed of the client's statistics, a JSON object (librdkafka's STATISTICS.md).
    pub(super) fn statistics(&self, json: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<serde_json::Value>(json) else {
            return tracing::debug!("statistics of a client that are no JSON");
        };
        let members = |value: &serde_json::Value, name| value[name].as_object().cloned().unwrap_or_default();
        let topics = members(&statistics, "topics");
        let partitions = topics.values().flat_map(|topic| members(topic, "partitions"));
        let bytes: u64 = partitions.filter_map(|(_, partition)| partition["fetchq_size"].as_u64()).sum();
        self.fetched_bytes.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
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
        let is_of_trouble =
            matches!(level, RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice);
        if !is_of_trouble || facility == UNUSED_PROPERTY {
            log(level, facility, message);
        } else if let Some(message) = self.lines.sift(facility, message) {
            log(level, facility, &message);
        }
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

/// Tells of a property of consumers that is given to a producer, or the other way round: users give one set for all clients.
const UNUSED_PROPERTY: &str = "CONFWARN";

/// A line of librdkafka's log. It calls a broken connection an error; but it goes on trying, so it is a warning here.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    const TARGET: &str = "millpond::log::kafka";
    if facility == UNUSED_PROPERTY {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::KafkaOptions;

    #[test]
    fn the_fetch_queues_of_all_partitions_are_summed() {
        let context = Context::new(&Settings::new(KafkaOptions::default()).expect("the defaults are legal"));
        let topic =
            |bytes: u64| serde_json::json!({"partitions": {"0": {"fetchq_size": bytes}, "-1": {"fetchq_size": 1}}});
        let statistics = serde_json::json!({"type": "consumer", "topics": {"a": topic(20), "b": topic(300)}});
        context.statistics(statistics.to_string().as_bytes());
        assert_eq!(context.fetched_bytes(), 322);
        context.statistics(b"{");
        assert_eq!(context.fetched_bytes(), 322, "what cannot be read changes nothing");
        context.statistics(b"{}");
        assert_eq!(context.fetched_bytes(), 0);
    }
}
