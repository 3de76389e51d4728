//! What the clients are configured with: the user's options, defaults that were measured, and what cannot be changed.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::lines::Lines;
use crate::{
    log::{Isolation, LogError, MembershipOptions},
    time::SystemClock,
};

/// Which Kafka, and how to talk to it. Its `Debug` leaves out the values of properties, which may be secrets.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Bootstrap servers, `host:port[,host:port]`.
    pub bootstrap: String,
    /// The name of this instance, which brokers show in their logs and quotas.
    pub client_id: String,
    /// More settings by librdkafka's names, for all clients: `security.protocol`, `sasl.*`, `ssl.*`, `compression.type`
    /// (default `none`), `linger.ms`, `fetch.wait.max.ms` (up to 500) and so on. Those that the framework relies on are refused.
    pub properties: BTreeMap<String, String>,
    /// Bytes that a reader may have fetched and not yet been asked for. Default 16 MiB.
    pub fetched_bytes: usize,
    /// Bytes that a producer may hold until they are acknowledged. Default 16 MiB.
    pub sending_bytes: usize,
    /// How long a request may take that has no deadline of its own. Default 10 s.
    pub request_timeout: Duration,
    /// How long a record may wait in the producer, retries included, before it is reported as failed; in a transaction
    /// the transaction's timeout takes its place. Default 2 min.
    pub delivery_timeout: Duration,
}

/// Options that were checked, shared by all clients of an instance.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) options: KafkaOptions,
    pub(super) clock: SystemClock,
    /// What all clients say.
    pub(super) lines: Arc<Lines>,
}

/// Settings of all clients that differ from librdkafka's; users may change them.
const DEFAULTS: &[(&str, &str)] = &[
    // A broker that is back is found within a second, not ten.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("socket.timeout.ms", "30000"),
    ("socket.keepalive.enable", "true"),
    ("enable.metrics.push", "false"),
];

const MEMBERSHIP_DEFAULTS: &[(&str, &str)] = &[
    // How soon the coordination topic is looked for again when a broker did not know it.
    ("topic.metadata.refresh.interval.ms", "10000"),
];

const READER_DEFAULTS: &[(&str, &str)] = &[
    // A fetch that waits for new records also delays two things: the news that the end was reached (restores wait for it)
    // and the first fetch of a partition assigned meanwhile. New records never wait for it.
    ("fetch.wait.max.ms", "50"),
    ("fetch.error.backoff.ms", "100"),
    // Fetched ahead until the reader's bytes are used up.
    ("queued.min.messages", "100000"),
    // How soon fetching goes on when that was full (librdkafka waits a second, in which the reader would run dry).
    ("fetch.queue.backoff.ms", "10"),
    // They say how large the fetch queues are.
    ("statistics.interval.ms", "5000"),
];

const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    // Kafka's own default. A join whose output was compressed by LZ4 took an eighth more CPU time (`bench run join`).
    ("compression.type", "none"),
    // Kafka's own default: half as many requests as with 1 ms. A commit does not wait for it.
    ("linger.ms", "5"),
    // Also waited out at the first produce after a commit, while the markers of the transaction before are still being
    // written: at librdkafka's default of 100 ms it would be most of a commit's time. It grows up to a second.
    ("retry.backoff.ms", "1"),
];

/// What librdkafka needs for a small record that is to be sent, in bytes (measured).
const MESSAGE_BYTES: usize = 256;
/// The most that librdkafka takes for `queued.max.messages.kbytes`, and for the properties of a producer's queue.
const LARGEST_FETCHED_KIB: usize = 2_097_151;
const LARGEST_QUEUE: usize = i32::MAX as usize;

/// What the framework relies on.
const FIXED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "isolation.level",
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "delivery.report.only.error",
    "log.queue",
];

/// How long a fetch may wait for records, and at the most: what standbys answer is as old as they know the ends of changelogs to be.
const FETCH_WAIT: &str = "fetch.wait.max.ms";
const LONGEST_FETCH_WAIT_MS: u32 = 500;

// === impl KafkaOptions ===

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".into(),
            client_id: "millpond".into(),
            properties: BTreeMap::new(),
            fetched_bytes: 16 << 20,
            sending_bytes: 16 << 20,
            request_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("properties", &self.properties.keys())
            .field("fetched_bytes", &self.fetched_bytes)
            .field("sending_bytes", &self.sending_bytes)
            .field("request_timeout", &self.request_timeout)
            .field("delivery_timeout", &self.delivery_timeout)
            .finish()
    }
}

// === impl Settings ===

impl Settings {
    /// Checks what can be checked without a broker.
    pub(super) fn new(options: KafkaOptions) -> Result<Self, LogError> {
        let refused =
            |name: &str, reason: String| Err(LogError::Refused { what: format!("Kafka property `{name}`"), reason });
        if options.bootstrap.trim().is_empty() {
            return refused("bootstrap.servers", "it is empty: give host:port of one broker at least".into());
        }
        if let Some(name) = options.properties.keys().find(|name| FIXED.contains(&name.as_str())) {
            return refused(name, "the framework sets it itself".into());
        }
        if let Some(wait) = options.properties.get(FETCH_WAIT)
            && wait.parse::<u32>().is_ok_and(|wait_ms| wait_ms > LONGEST_FETCH_WAIT_MS)
        {
            let reason = format!(
                "{wait} is more than {LONGEST_FETCH_WAIT_MS}: restores, standbys and idle tasks learn of the ends of partitions by fetches"
            );
            return refused(FETCH_WAIT, reason);
        }
        let clock = SystemClock::new();
        let settings = Self { options, clock, lines: Arc::new(Lines::new(Arc::new(clock))) };
        // One by one, so that the message names the culprit: librdkafka's does not always.
        for (name, value) in &settings.options.properties {
            let checked = ClientConfig::new().set(name, value).create_native_config();
            if let Err(rdkafka::error::KafkaError::ClientConfig(_, reason, ..)) = checked {
                return refused(name, reason);
            }
        }
        Ok(settings)
    }

    /// For a client that asks about topics and changes them.
    pub(super) fn admin(&self) -> ClientConfig {
        self.config(&[])
    }

    /// For a reader of manually assigned partitions. Its group is never joined and nothing is committed to it; librdkafka
    /// needs one to consume at all.
    pub(super) fn reader(&self, isolation: Isolation) -> ClientConfig {
        let isolation = match isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        let mut config = self.config(READER_DEFAULTS);
        // Checked before each fetch, which is as large at the most.
        let fetched_kib = (self.options.fetched_bytes / 2 / 1024).clamp(1, LARGEST_FETCHED_KIB);
        self.set_default(&mut config, "queued.max.messages.kbytes", fetched_kib);
        config
            .set("group.id", format!("{}-reader", self.options.client_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", isolation);
        config
    }

    /// For an idempotent producer: acks of all in-sync replicas, at most 5 requests in flight.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.config(PRODUCER_DEFAULTS);
        let bytes = self.options.sending_bytes;
        self.set_default(&mut config, "queue.buffering.max.kbytes", (bytes / 1024).clamp(1, LARGEST_QUEUE));
        self.set_default(&mut config, "queue.buffering.max.messages", (bytes / MESSAGE_BYTES).clamp(1, LARGEST_QUEUE));
        config.set("enable.idempotence", "true").set("message.timeout.ms", millis(self.options.delivery_timeout));
        config
    }

    /// For a transactional producer.
    pub(super) fn transactional(&self, transactional_id: &str, transaction_timeout: Duration) -> ClientConfig {
        let mut config = self.producer();
        // librdkafka wants no request to outlast the transaction.
        let socket_timeout = config.get("socket.timeout.ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        config
            .set("socket.timeout.ms", millis(socket_timeout.unwrap_or(transaction_timeout).min(transaction_timeout)))
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", millis(transaction_timeout))
            .set("message.timeout.ms", millis(transaction_timeout));
        config
    }

    /// For the member of a group.
    pub(super) fn membership(&self, options: &MembershipOptions) -> ClientConfig {
        // Members hear of a new generation by their next heartbeat: 24 in a session, four a second in one of 6 s.
        let heartbeat = (options.session_timeout / 24).clamp(Duration::from_millis(50), Duration::from_millis(1_000));
        let mut config = self.config(MEMBERSHIP_DEFAULTS);
        config
            .set("group.id", &options.group_id)
            .set("client.id", &options.client_id)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(options.session_timeout))
            .set("heartbeat.interval.ms", millis(heartbeat))
            .set("max.poll.interval.ms", millis(options.max_poll_interval))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        config
    }

    /// For questions about the offsets that a group has committed; it is never joined.
    pub(super) fn positions(&self, group_id: &str) -> ClientConfig {
        let mut config = self.config(&[]);
        config
            .set("group.id", group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Asks for stable offsets: those of a transaction that is being committed are waited for.
            .set("isolation.level", "read_committed");
        config
    }

    /// Sets what the user has not.
    fn set_default(&self, config: &mut ClientConfig, name: &str, value: usize) {
        if !self.options.properties.contains_key(name) {
            config.set(name, value.to_string());
        }
    }

    fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS.iter().chain(defaults) {
            config.set(*name, *value);
        }
        for (name, value) in &self.options.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.options.bootstrap).set("client.id", &self.options.client_id);
        // `tracing` filters; without this rdkafka asks the `log` crate, which is silent.
        let debug = self.options.properties.contains_key("debug");
        config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }
}

/// A duration as librdkafka takes it.
pub(super) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str) -> String {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        match Settings::new(KafkaOptions { properties, ..KafkaOptions::default() }) {
            Ok(_) => "accepted".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn properties_are_checked_by_name() {
        assert_eq!(refusal("compression.type", "zstd"), "accepted");
        assert_eq!(
            refusal("enable.auto.commit", "true"),
            "Kafka property `enable.auto.commit` was refused: the framework sets it itself"
        );
        assert!(refusal("no.such.thing", "1").contains("`no.such.thing`"), "{}", refusal("no.such.thing", "1"));
        assert!(refusal("linger.ms", "soon").contains("`linger.ms`"), "{}", refusal("linger.ms", "soon"));
    }

    #[test]
    fn queues_are_never_larger_or_smaller_than_librdkafka_takes() {
        for bytes in [1, usize::MAX] {
            let options = KafkaOptions { fetched_bytes: bytes, sending_bytes: bytes, ..KafkaOptions::default() };
            let settings = Settings::new(options).expect("valid");
            for config in [settings.reader(Isolation::ReadCommitted), settings.producer()] {
                config.create_native_config().expect("within its limits");
            }
        }
    }

    #[test]
    fn properties_override_defaults() {
        let properties = BTreeMap::from([("compression.type".to_owned(), "zstd".to_owned())]);
        let settings = Settings::new(KafkaOptions { properties, ..KafkaOptions::default() }).expect("valid");
        assert_eq!(settings.producer().get("compression.type"), Some("zstd"));
    }
}
