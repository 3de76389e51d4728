//! Topics and their settings.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::partition::Partition;
use crate::log::{LogError, NewTopic, TopicId, TopicPartition};

/// A topic with its partitions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// `None` for one of a directory that was written before there were ids.
    pub(super) id: Option<TopicId>,
    /// What was set when the topic was created.
    pub(super) config: BTreeMap<String, String>,
    pub(super) settings: Settings,
    pub(super) partitions: Vec<Partition>,
}

/// The settings that this log acts on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Whether `cleanup.policy` names compaction.
    pub(super) compacted: bool,
    /// The biggest record, in bytes of key, value and headers.
    pub(super) max_record_bytes: usize,
    /// How long a tombstone stays readable at least.
    pub(super) tombstone_retention: Duration,
}

/// More partitions a topic cannot have: each may hold a file open.
pub(super) const PARTITIONS_MAX: i32 = 1_000;

/// No topic may allow bigger records, whatever `max.message.bytes` says.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

const TOPIC_NAME_BYTES_MAX: usize = 249;

/// All topic settings of Kafka 4.3 with their defaults. Only those in [`Settings`] have an effect here; the others are
/// kept and read back.
const DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.type", "producer"),
    ("compression.zstd.level", "3"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("follower.replication.throttled.replicas", ""),
    ("index.interval.bytes", "4096"),
    ("leader.replication.throttled.replicas", ""),
    ("local.retention.bytes", "-2"),
    ("local.retention.ms", "-2"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("remote.log.copy.disable", "false"),
    ("remote.log.delete.on.disable", "false"),
    ("remote.storage.enable", "false"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

// === impl Topic ===

impl Topic {
    /// An empty topic, or why it cannot be.
    pub(super) fn new(new: &NewTopic, id: Option<TopicId>) -> Result<Self, LogError> {
        let refuse = |reason: String| LogError::Refused { what: format!("creating topic `{}`", new.name), reason };
        check_name(&new.name).map_err(refuse)?;
        if !(1..=PARTITIONS_MAX).contains(&new.partitions) {
            return Err(refuse(format!("{} partitions: choose 1 to {PARTITIONS_MAX}", new.partitions)));
        }
        let settings = Settings::parse(&new.config).map_err(refuse)?;
        Ok(Self {
            name: new.name.as_str().into(),
            id,
            config: new.config.clone(),
            settings,
            partitions: (0..new.partitions).map(|_| Partition::new()).collect(),
        })
    }

    /// The names of its partitions.
    pub(super) fn sources(&self) -> Vec<TopicPartition> {
        (0..)
            .zip(&self.partitions)
            .map(|(partition, _)| TopicPartition::new(Arc::clone(&self.name), partition))
            .collect()
    }

    /// All settings, defaults included.
    pub(super) fn full_config(&self) -> BTreeMap<String, String> {
        let defaults = DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        defaults.chain(self.config.clone()).collect()
    }
}

// === impl Settings ===

impl Settings {
    fn parse(config: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(unknown) = config.keys().find(|name| default_of(name).is_none()) {
            return Err(format!("no topic setting is called `{unknown}`"));
        }
        let value = |name: &'static str| {
            config.get(name).map(String::as_str).or_else(|| default_of(name)).expect("the setting has a default")
        };
        if value("message.timestamp.type") != "CreateTime" {
            return Err("`message.timestamp.type` can only be `CreateTime` in the embedded log".to_owned());
        }
        let policies: Vec<&str> = value("cleanup.policy").split(',').map(str::trim).collect();
        if let Some(unknown) = policies.iter().find(|policy| !["compact", "delete"].contains(policy)) {
            return Err(format!("`cleanup.policy` can be `compact`, `delete` or both, not `{unknown}`"));
        }
        let max_record_bytes = parse_number(value("max.message.bytes"), "max.message.bytes")?;
        let max_record_bytes = usize::try_from(max_record_bytes)
            .ok()
            .filter(|bytes| *bytes <= RECORD_BYTES_MAX)
            .ok_or(format!("`max.message.bytes` can be at most {RECORD_BYTES_MAX} in the embedded log"))?;
        let retention_ms = parse_number(value("delete.retention.ms"), "delete.retention.ms")?;
        Ok(Self {
            compacted: policies.contains(&"compact"),
            max_record_bytes,
            tombstone_retention: Duration::from_millis(retention_ms),
        })
    }
}

fn default_of(name: &str) -> Option<&'static str> {
    DEFAULTS.iter().find(|(default, _)| *default == name).map(|(_, value)| *value)
}

fn parse_number(value: &str, name: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{name}` must be a number from 0, not `{value}`"))
}

/// Kafka's rule for names; it also makes them safe as names of directories.
fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX || matches!(name, "." | "..") || !name.chars().all(legal) {
        return Err(format!("a topic name has 1 to {TOPIC_NAME_BYTES_MAX} of a-z, A-Z, 0-9, `.`, `_` and `-`"));
    }
    Ok(())
}
