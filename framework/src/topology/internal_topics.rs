//! The topics that belong to the application, and their settings.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::state::{Retention, StoreKind};

/// A topic that the application creates for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopic {
    /// The full name.
    pub name: Arc<str>,
    /// How many partitions.
    pub partitions: i32,
    /// Topic settings by their Kafka names. Records of a window's changelog are kept as long as its rows, which leaves no room for
    /// clocks: see [`InternalTopic::config_with_additional_retention`].
    pub config: BTreeMap<String, String>,
    /// Settings that the topology asks for beside or in place of those: the topic has to have them.
    pub asked: BTreeMap<String, String>,
}

/// The least that a setting of a topic may be for the application to work. More is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// The setting, by its Kafka name.
    pub setting: &'static str,
    /// The least value, in the unit of the setting; -1 when there may be no limit.
    pub value: i64,
    /// What it is good for.
    pub reason: &'static str,
}

/// The value by which a retention says that nothing is ever deleted.
const NO_LIMIT: i64 = -1;

/// For how long a compacted topic has to remember that a key was deleted: a day, which is also Kafka's default.
const DELETE_RETENTION_MS: i64 = 86_400_000;

/// How long a topic remembers that a key was deleted, in ms.
const DELETE_RETENTION: &str = "delete.retention.ms";

/// How long a topic keeps records, in ms.
const RETENTION: &str = "retention.ms";

/// How many bytes of records a topic keeps in a partition.
const RETENTION_BYTES: &str = "retention.bytes";

/// How long a topic keeps all records of a key, in ms.
const COMPACTION_LAG: &str = "min.compaction.lag.ms";

/// For how much longer than its history the changelog of a versioned store keeps all records of a key: clocks differ.
const VERSIONS_LAG_MS: i64 = 86_400_000;

/// The policy of windows' changelogs: the latest record of each window, and none that is too old.
const COMPACT_AND_DELETE: &str = "compact,delete";

/// The policy of the changelogs of windows that keep all values: no record replaces another.
const DELETE: &str = "delete";

/// What is part of how the application works.
const FIXED: [&str; 2] = ["cleanup.policy", "message.timestamp.type"];

/// Bytes of a segment of a repartition topic: small, so that what was processed is deleted soon.
const REPARTITION_SEGMENT_BYTES: &str = "52428800";

// === impl InternalTopic ===

impl InternalTopic {
    /// A repartition topic. Its records are deleted by the application when they are processed, never by age.
    pub(super) fn repartition(name: Arc<str>, partitions: i32) -> Self {
        let own = [("cleanup.policy", DELETE), (RETENTION, "-1"), ("segment.bytes", REPARTITION_SEGMENT_BYTES)];
        Self::new(name, partitions, &own)
    }

    /// The changelog of a store.
    pub(super) fn changelog(name: Arc<str>, partitions: i32, kind: StoreKind) -> Self {
        match kind {
            StoreKind::KeyValue
            | StoreKind::TimestampedKeyValue
            | StoreKind::Buffer
            | StoreKind::TimeOrderedBuffer
            | StoreKind::List
            | StoreKind::LruMap(_) => Self::new(name, partitions, &[("cleanup.policy", "compact")]),
            StoreKind::Versioned(retention) => {
                let lag_ms = retention.retention_ms.saturating_add(VERSIONS_LAG_MS).to_string();
                Self::new(name, partitions, &[("cleanup.policy", "compact"), (COMPACTION_LAG, &lag_ms)])
            }
            StoreKind::Window(retention) | StoreKind::TimestampedWindow(retention) | StoreKind::Session(retention) => {
                Self::windows(name, partitions, COMPACT_AND_DELETE, retention)
            }
            StoreKind::DuplicateWindow(retention) => Self::windows(name, partitions, DELETE, retention),
        }
    }

    fn windows(name: Arc<str>, partitions: i32, policy: &str, retention: Retention) -> Self {
        let retention_ms = retention.retention_ms.to_string();
        Self::new(name, partitions, &[("cleanup.policy", policy), (RETENTION, &retention_ms)])
    }

    /// What settings have to be at the least, whether they are asked for or found.
    #[must_use]
    pub fn least(&self) -> Vec<Least> {
        let own = |setting: &str| self.config.get(setting)?.parse::<i64>().ok();
        let mut least = Vec::new();
        if self.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            let reason = "a changelog has to remember deletions for a day";
            least.push(Least { setting: DELETE_RETENTION, value: DELETE_RETENTION_MS, reason });
        }
        if let Some(value) = own(COMPACTION_LAG) {
            let reason = "the changelog has to keep all versions that its store keeps";
            least.push(Least { setting: COMPACTION_LAG, value, reason });
        }
        if let Some(value) = own(RETENTION) {
            let reason = match value {
                NO_LIMIT => "a repartition topic has to keep what is not processed, however old and of any size",
                _ => "the changelog has to keep what its store keeps, of any size",
            };
            least.push(Least { setting: RETENTION, value, reason });
            least.push(Least { setting: RETENTION_BYTES, value: NO_LIMIT, reason });
        }
        least
    }

    /// The settings to create the topic with: none is left to the brokers' defaults that has to be something at the least, and a changelog
    /// of windows keeps records for so many ms longer than its store keeps rows.
    #[must_use]
    pub fn config_with_additional_retention(&self, additional_ms: i64) -> BTreeMap<String, String> {
        let setting = |least: Least| {
            let is_window = least.setting == RETENTION && least.value != NO_LIMIT;
            let value = least.value.saturating_add(if is_window { additional_ms } else { 0 });
            (least.setting.to_owned(), value.to_string())
        };
        let mut config = self.config.clone();
        config.extend(self.least().into_iter().map(setting));
        config.extend(self.asked.clone());
        config
    }

    /// Why the topic cannot have a setting, if it cannot.
    #[must_use]
    pub fn refuses(&self, setting: &str, value: &str) -> Option<String> {
        if FIXED.contains(&setting) {
            return Some("how records are cleaned up and stamped is part of how the application works".into());
        }
        let least = self.least().into_iter().find(|least| least.setting == setting && !least.allows(value))?;
        Some(format!("{}: {least}", least.reason))
    }

    fn new(name: Arc<str>, partitions: i32, own: &[(&str, &str)]) -> Self {
        // The timestamps of records are event time: the broker must not replace them.
        let settings = own.iter().chain(&[("message.timestamp.type", "CreateTime")]);
        let config = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name, partitions, config, asked: BTreeMap::new() }
    }
}

// === impl Least ===

impl Least {
    /// Whether the setting may have this value.
    #[must_use]
    pub fn allows(&self, value: &str) -> bool {
        let is_unlimited = self.setting == RETENTION && value == "-1";
        let is_enough = |value: i64| if self.value == NO_LIMIT { value == NO_LIMIT } else { value >= self.value };
        is_unlimited || value.parse().is_ok_and(is_enough)
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            NO_LIMIT => write!(f, "{NO_LIMIT}"),
            least => write!(f, "{least} or more"),
        }
    }
}
