//! The configuration of an instance.
//!
//! Every setting has an environment variable `MILLPOND_<NAME>`, so that one image runs everywhere; see [`Config::from_env`].

mod memory;
mod offset_reset;
mod on_error;
mod timestamps;

use std::{collections::BTreeMap, env, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

pub use self::{memory::MemoryShares, offset_reset::OffsetReset, on_error::OnError, timestamps::Timestamps};

/// What an instance is told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kafka's bootstrap servers, `host:port[,host:port]`. `MILLPOND_BOOTSTRAP`.
    pub bootstrap: String,
    /// The application: instances with the same id share the work. Prefix of all internal topics. Default: the name of the
    /// topology. `MILLPOND_APPLICATION_ID`.
    pub application_id: Option<String>,
    /// The name of this instance, unique in the application and stable over restarts. Default: the host's name.
    /// `MILLPOND_INSTANCE_ID`.
    pub instance_id: String,
    /// Where the REST interface listens. Default `0.0.0.0:8080`. `MILLPOND_HTTP`.
    pub http: SocketAddr,
    /// Where other instances reach the REST interface. Default: `http://<instance id>:<port>` when it listens on all
    /// interfaces, else the address it listens on. `MILLPOND_ADVERTISED_URL`.
    pub advertised_url: Option<String>,
    /// The folder for local state. Default `./millpond-state`. `MILLPOND_STATE_DIR`.
    pub state_dir: PathBuf,
    /// Worker threads. Default: the number of processors. `MILLPOND_THREADS`.
    pub threads: usize,
    /// Default [`Guarantee::ExactlyOnce`]. `MILLPOND_GUARANTEE` = `exactly-once` | `at-least-once`.
    pub guarantee: Guarantee,
    /// How often work is committed, and with that becomes visible to queries and to other tasks. Default 100 ms.
    /// `MILLPOND_COMMIT_INTERVAL_MS`.
    pub commit_interval: Duration,
    /// How long the state of a task stays on disk that is not hosted here any more. Default 10 min.
    /// `MILLPOND_STATE_CLEANUP_DELAY_MS`.
    pub state_cleanup_delay: Duration,
    /// Whether the updates of all tables that are read or aggregated, and kept, are coalesced: of each row only the last one of a commit
    /// interval is passed on, as by [`Materialized::coalesced`](crate::dsl::Materialized::coalesced). Default `false`: every update is.
    /// `MILLPOND_COALESCE_UPDATES` = `true` | `false`; `statestore.cache.max.bytes` of Kafka Streams.
    pub coalesce_updates: bool,
    /// Bytes of all that grows with the work, whatever the number of tasks and stores: rows at hand, RocksDB's block cache and write
    /// buffers, queues of records; see [`MemoryShares`]. The process takes up to 60 MB beside, and what stores hold that are declared
    /// `in_memory`: they have nowhere to go. Default 256 MiB.
    /// `MILLPOND_MEMORY_BYTES`.
    pub memory_bytes: usize,
    /// How long a task that has records of some of its inputs waits for others to get some, so that records of all inputs are taken by
    /// their timestamps; `None`: not even for records that are on the log already. Default 0: only for those.
    /// `MILLPOND_MAX_TASK_IDLE_MS`, where -1 stands for `None`; `max.task.idle.ms` of Kafka Streams.
    pub max_task_idle: Option<Duration>,
    /// How many other instances follow the changelogs of each task with state, to take it over (*standbys*). Default 1; 0 for none.
    /// `MILLPOND_NUM_STANDBY_REPLICAS`; `num.standby.replicas` of Kafka Streams.
    pub num_standby_replicas: usize,
    /// How many tasks at a time are warmed up where they shall move to, beside the standbys. Default 2, at least 1.
    /// `MILLPOND_MAX_WARMUP_REPLICAS`; `max.warmup.replicas` of Kafka Streams.
    pub max_warmup_replicas: usize,
    /// How many records of its changelogs a standby or warm-up may lack and still count as caught up: the task may move there. Default
    /// 10,000. `MILLPOND_ACCEPTABLE_RECOVERY_LAG`; `acceptable.recovery.lag` of Kafka Streams.
    pub acceptable_recovery_lag: u64,
    /// How long the places of an instance that is gone, as a standby or to become one, are kept for it, before others are given them and read
    /// changelogs from the beginning. Default 60 s; 0: not at all. `MILLPOND_STANDBY_REPLACEMENT_DELAY_MS`.
    pub standby_replacement_delay: Duration,
    /// How long a cluster that starts again waits for the members that have its state, before those that came first restore it from
    /// changelogs. Default 3 s. `MILLPOND_STATE_WAIT_MS`.
    pub state_wait: Duration,
    /// How long the group waits for a silent instance. Default 6 s, the least that brokers allow by default.
    /// `MILLPOND_SESSION_TIMEOUT_MS`.
    pub session_timeout: Duration,
    /// How long an instance may be silent before the others take its tasks, if that is before the session timeout: instances ask each other five
    /// times a second. Only exactly once, where what is taken is fenced first. 0: never. Default 1.5 s. `MILLPOND_SUSPICION_TIMEOUT_MS`.
    pub suspicion_timeout: Duration,
    /// How long a stop waits for the others to take over what the instance has, before it leaves all the same. 0: it does not wait. Default
    /// 20 s. `MILLPOND_DRAIN_TIMEOUT_MS`.
    pub drain_timeout: Duration,
    /// How long a worker may be stuck in user code before its instance gives its tasks up: it stops to be a member, which the group
    /// notices at most 30 s (or a session timeout, if that is longer) later. Default 5 min. `MILLPOND_MAX_POLL_INTERVAL_MS`.
    pub max_poll_interval: Duration,
    /// How long a broker may leave a transaction open. Default 10 s. `MILLPOND_TRANSACTION_TIMEOUT_MS`.
    pub transaction_timeout: Duration,
    /// What happens to a record that cannot be read. Default [`OnError::Fail`]. `MILLPOND_DESERIALIZATION_ERRORS` = `fail` | `continue` |
    /// `dead-letter`.
    pub deserialization_errors: OnError,
    /// What happens to a record for which a function of the topology fails, or a row cannot be read or written. Default
    /// [`OnError::Fail`]. `MILLPOND_PROCESSING_ERRORS` = `fail` | `continue` | `dead-letter` | `skip-node`.
    pub processing_errors: OnError,
    /// What happens to a record whose results cannot be written: they do not serialize, or the log refuses them. Default
    /// [`OnError::Fail`]. `MILLPOND_PRODUCTION_ERRORS` = `fail` | `continue` | `dead-letter`.
    pub production_errors: OnError,
    /// Where dead letters go: a topic that exists. `MILLPOND_DEAD_LETTER_TOPIC`.
    pub dead_letter_topic: Option<String>,
    /// Which time records have whose source does not say. Default [`Timestamps::Record`]. `MILLPOND_TIMESTAMPS` = `record` |
    /// `skip-invalid` | `partition-time` | `wall-clock`.
    pub timestamps: Timestamps,
    /// Where a task begins in a partition of an input topic for which the group has no position, or one that the log does not have any
    /// more. Default, `None`: without a position at the earliest record; a position that is lost stops the task, since records may
    /// be lost with it. `MILLPOND_OFFSET_RESET` = `earliest` | `latest` | `by-duration:<time>` (e.g. `by-duration:12h`) | `fail`.
    pub offset_reset: Option<OffsetReset>,
    /// Replication factor of internal topics; `None` is the broker's default. `MILLPOND_REPLICATION_FACTOR`.
    pub replication_factor: Option<i32>,
    /// Settings of changelogs and repartition topics by their Kafka names, in place of the framework's and the broker's: by the full name of
    /// the topic, or by a pattern with one `*`; the more exact one counts. A topic that exists with another value is an error.
    /// `cleanup.policy` and `message.timestamp.type` cannot be set, and nothing be less than what the topology needs. For all of them:
    /// `MILLPOND_TOPIC_<SETTING>`, where `_` stands for `.`:
    /// `MILLPOND_TOPIC_MIN_INSYNC_REPLICAS=2`. For some: `MILLPOND_INTERNAL_TOPICS`, JSON:
    /// `{"*-changelog": {"segment.ms": "600000"}}`.
    pub internal_topics: BTreeMap<String, BTreeMap<String, String>>,
    /// How much longer than their stores the changelogs of windows keep records, for event time that is behind the brokers' clock: a
    /// record counts as old by its timestamp. Input of last year is aggregated safely only with more than a year. Default 1 day.
    /// `MILLPOND_WINDOW_CHANGELOG_ADDITIONAL_RETENTION_MS`.
    pub window_changelog_additional_retention: Duration,
    /// The share of tasks this instance takes, relative to the others. Default 1. `MILLPOND_CAPACITY`.
    pub capacity: u32,
    /// The failure zone this instance runs in. `MILLPOND_ZONE`.
    pub zone: Option<String>,
    /// Extra settings of the Kafka client by librdkafka's names, for SASL and TLS. `MILLPOND_KAFKA_<NAME>`, where `_` stands
    /// for `.`: `MILLPOND_KAFKA_SECURITY_PROTOCOL=SASL_SSL`.
    pub kafka: BTreeMap<String, String>,
}

/// What a crash may do to the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// Inputs, state and outputs move on together or not at all.
    #[default]
    ExactlyOnce,
    /// After a crash some inputs are processed again.
    AtLeastOnce,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?} is not {expected}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: String,
    /// Its value.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".into(),
            application_id: None,
            instance_id: host_name(),
            http: SocketAddr::from(([0, 0, 0, 0], 8080)),
            advertised_url: None,
            state_dir: PathBuf::from("millpond-state"),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            guarantee: Guarantee::ExactlyOnce,
            commit_interval: Duration::from_millis(100),
            state_cleanup_delay: Duration::from_secs(600),
            coalesce_updates: false,
            memory_bytes: 256 << 20,
            max_task_idle: Some(Duration::ZERO),
            num_standby_replicas: 1,
            max_warmup_replicas: 2,
            acceptable_recovery_lag: 10_000,
            standby_replacement_delay: Duration::from_secs(60),
            state_wait: Duration::from_secs(3),
            session_timeout: Duration::from_secs(6),
            suspicion_timeout: Duration::from_millis(1500),
            drain_timeout: Duration::from_secs(20),
            max_poll_interval: Duration::from_secs(300),
            transaction_timeout: Duration::from_secs(10),
            deserialization_errors: OnError::Fail,
            processing_errors: OnError::Fail,
            production_errors: OnError::Fail,
            dead_letter_topic: None,
            timestamps: Timestamps::Record,
            offset_reset: None,
            replication_factor: None,
            internal_topics: BTreeMap::new(),
            window_changelog_additional_retention: Duration::from_secs(24 * 3600),
            capacity: 1,
            zone: None,
            kafka: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The defaults, overridden by the environment variables that are set.
    ///
    /// # Errors
    /// Names the variable that does not parse, its value and what was expected.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(env::vars())
    }

    /// As [`Config::from_env`], from the given variables.
    ///
    /// # Errors
    /// Names the variable that does not parse, its value and what was expected.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in variables {
            if let Some(setting) = name.strip_prefix("MILLPOND_") {
                config.set(&name, setting, &value)?;
            }
        }
        Ok(config)
    }

    fn set(&mut self, variable: &str, setting: &str, value: &str) -> Result<(), ConfigError> {
        match setting {
            "BOOTSTRAP" => self.bootstrap = value.into(),
            "APPLICATION_ID" => self.application_id = Some(value.into()),
            "INSTANCE_ID" => self.instance_id = value.into(),
            "HTTP" => self.http = parse(variable, value, "an address such as 0.0.0.0:8080")?,
            "ADVERTISED_URL" => self.advertised_url = Some(value.into()),
            "STATE_DIR" => self.state_dir = value.into(),
            "THREADS" => self.threads = natural(variable, value)?,
            "GUARANTEE" => {
                self.guarantee = match value {
                    "exactly-once" => Guarantee::ExactlyOnce,
                    "at-least-once" => Guarantee::AtLeastOnce,
                    _ => return Err(error(variable, value, "`exactly-once` or `at-least-once`")),
                }
            }
            "COMMIT_INTERVAL_MS" => self.commit_interval = millis(variable, value)?,
            "STATE_WAIT_MS" => {
                self.state_wait = Duration::from_millis(parse(variable, value, "a number of milliseconds, or 0")?);
            }
            "STATE_CLEANUP_DELAY_MS" => self.state_cleanup_delay = millis(variable, value)?,
            "COALESCE_UPDATES" => self.coalesce_updates = parse(variable, value, "`true` or `false`")?,
            "MEMORY_BYTES" => self.memory_bytes = natural(variable, value)?,
            "MAX_TASK_IDLE_MS" => {
                self.max_task_idle = match parse::<i64>(variable, value, IDLE)? {
                    -1 => None,
                    millis => {
                        Some(Duration::from_millis(u64::try_from(millis).map_err(|_| error(variable, value, IDLE))?))
                    }
                }
            }
            "NUM_STANDBY_REPLICAS" => {
                self.num_standby_replicas = parse(variable, value, "a whole number, or 0 for no standbys")?;
            }
            "MAX_WARMUP_REPLICAS" => self.max_warmup_replicas = natural(variable, value)?,
            "ACCEPTABLE_RECOVERY_LAG" => {
                self.acceptable_recovery_lag = parse(variable, value, "a number of records, or 0")?;
            }
            "STANDBY_REPLACEMENT_DELAY_MS" => {
                let ms = parse(variable, value, "a number of milliseconds, or 0")?;
                self.standby_replacement_delay = Duration::from_millis(ms);
            }
            "SESSION_TIMEOUT_MS" => self.session_timeout = millis(variable, value)?,
            "DRAIN_TIMEOUT_MS" => {
                let ms = parse(variable, value, "a number of milliseconds, or 0")?;
                self.drain_timeout = Duration::from_millis(ms);
            }
            "SUSPICION_TIMEOUT_MS" => {
                let ms = parse(variable, value, "a number of milliseconds, or 0")?;
                self.suspicion_timeout = Duration::from_millis(ms);
            }
            "MAX_POLL_INTERVAL_MS" => self.max_poll_interval = millis(variable, value)?,
            "TRANSACTION_TIMEOUT_MS" => self.transaction_timeout = millis(variable, value)?,
            "DESERIALIZATION_ERRORS" => self.deserialization_errors = on_error(variable, value)?,
            "PROCESSING_ERRORS" => self.processing_errors = on_error(variable, value)?,
            "PRODUCTION_ERRORS" => self.production_errors = on_error(variable, value)?,
            "DEAD_LETTER_TOPIC" => self.dead_letter_topic = Some(value.into()),
            "TIMESTAMPS" => self.timestamps = value.parse().map_err(|expected| error(variable, value, expected))?,
            "OFFSET_RESET" => {
                self.offset_reset = Some(value.parse().map_err(|expected| error(variable, value, expected))?);
            }
            "REPLICATION_FACTOR" => self.replication_factor = Some(natural(variable, value)?),
            "INTERNAL_TOPICS" => {
                let given: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(value)
                    .map_err(|_| error(variable, value, r#"JSON like {"*-changelog": {"segment.ms": "600000"}}"#))?;
                for (pattern, settings) in given {
                    self.internal_topics.entry(pattern).or_default().extend(settings);
                }
            }
            "WINDOW_CHANGELOG_ADDITIONAL_RETENTION_MS" => {
                self.window_changelog_additional_retention = millis(variable, value)?;
            }
            "CAPACITY" => self.capacity = natural(variable, value)?,
            "ZONE" => self.zone = (!value.is_empty()).then(|| value.into()),
            _ => {
                if let Some(name) = setting.strip_prefix("TOPIC_") {
                    let name = name.to_ascii_lowercase().replace('_', ".");
                    self.internal_topics.entry("*".into()).or_default().insert(name, value.into());
                } else if let Some(name) = setting.strip_prefix("KAFKA_") {
                    self.kafka.insert(name.to_ascii_lowercase().replace('_', "."), value.into());
                }
            }
        }
        Ok(())
    }

    /// After how long without a poll the group goes on without this instance. It is polled as long as all workers make progress, so this comes
    /// on top of `max_poll_interval`.
    pub(crate) fn unpolled_timeout(&self) -> Duration {
        self.max_poll_interval.min(self.session_timeout.max(UNPOLLED_TIMEOUT))
    }

    /// How long an instance may be silent, where that is looked at.
    pub(crate) fn effective_suspicion_timeout(&self) -> Option<Duration> {
        let timeout = self.suspicion_timeout;
        (self.guarantee == Guarantee::ExactlyOnce && !timeout.is_zero()).then_some(timeout)
    }

    /// Where other instances reach this one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.advertised_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if self.http.ip().is_unspecified() => format!("http://{}:{}", self.instance_id, self.http.port()),
            None => format!("http://{}", self.http),
        }
    }
}

/// Longer than anything the thread does that polls.
const UNPOLLED_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE: &str = "a number of milliseconds, or -1 for no waiting at all";

fn host_name() -> String {
    env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

fn error(variable: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError { variable: variable.into(), value: value.into(), expected }
}

fn parse<T: FromStr>(variable: &str, value: &str, expected: &'static str) -> Result<T, ConfigError> {
    value.parse().map_err(|_| error(variable, value, expected))
}

fn on_error(variable: &str, value: &str) -> Result<OnError, ConfigError> {
    value.parse().map_err(|expected| error(variable, value, expected))
}

fn natural<T: FromStr + Default + PartialEq>(variable: &str, value: &str) -> Result<T, ConfigError> {
    let number: T = parse(variable, value, "a whole number above 0")?;
    if number == T::default() || value.starts_with('-') {
        return Err(error(variable, value, "a whole number above 0"));
    }
    Ok(number)
}

fn millis(variable: &str, value: &str) -> Result<Duration, ConfigError> {
    Ok(Duration::from_millis(natural(variable, value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn variables_override_the_defaults() {
        let config = config(&[
            ("MILLPOND_THREADS", "3"),
            ("MILLPOND_HTTP", "127.0.0.1:81"),
            ("MILLPOND_GUARANTEE", "at-least-once"),
            ("MILLPOND_KAFKA_SASL_USERNAME", "me"),
            ("MILLPOND_PROCESSING_ERRORS", "dead-letter"),
            ("MILLPOND_NUM_STANDBY_REPLICAS", "0"),
            ("MILLPOND_MAX_WARMUP_REPLICAS", "4"),
            ("MILLPOND_ACCEPTABLE_RECOVERY_LAG", "0"),
            ("MILLPOND_TOPIC_SEGMENT_MS", "1"),
            ("MILLPOND_INTERNAL_TOPICS", r#"{"*-changelog": {"segment.ms": "2"}}"#),
            ("HOME", "/"),
        ])
        .expect("all values are valid");
        assert_eq!(config.threads, 3);
        let replicas = (config.num_standby_replicas, config.max_warmup_replicas, config.acceptable_recovery_lag);
        assert_eq!(replicas, (0, 4, 0));
        assert_eq!(config.url(), "http://127.0.0.1:81");
        assert_eq!(config.guarantee, Guarantee::AtLeastOnce);
        assert_eq!(config.kafka["sasl.username"], "me");
        for (value, idle) in [("-1", None), ("0", Some(Duration::ZERO)), ("5", Some(Duration::from_millis(5)))] {
            assert_eq!(
                super::Config::from_variables([("MILLPOND_MAX_TASK_IDLE_MS".into(), value.into())])
                    .map(|config| config.max_task_idle),
                Ok(idle)
            );
        }
        assert_eq!(config.processing_errors, OnError::DeadLetter);
        assert_eq!(config.internal_topics["*"]["segment.ms"], "1");
        assert_eq!(config.internal_topics["*-changelog"]["segment.ms"], "2");
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = config(&[("MILLPOND_THREADS", "many")]).expect_err("not a number");
        assert_eq!(error.to_string(), r#"MILLPOND_THREADS="many" is not a whole number above 0"#);
        for (variable, value) in [
            ("THREADS", "0"),
            ("CAPACITY", "0"),
            ("COMMIT_INTERVAL_MS", "0"),
            ("REPLICATION_FACTOR", "-3"),
            ("MAX_WARMUP_REPLICAS", "0"),
            ("NUM_STANDBY_REPLICAS", "-1"),
        ] {
            assert!(config(&[(&format!("MILLPOND_{variable}"), value)]).is_err(), "{variable}={value}");
        }
    }
}
