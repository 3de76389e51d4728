//! The topics that belong to the application, and their settings.

use std::{collections::BTreeMap, sync::Arc};

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

/// For how long a compacted topic has to remember that a key was deleted: a day, which is also Kafka's default.
pub(crate) const DELETE_RETENTION_MS: i64 = 86_400_000;

/// How long a topic keeps records, in ms.
const RETENTION: &str = "retention.ms";

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

    /// For how long a store of windows or sessions keeps rows, in ms; `None` when this is not the changelog of one.
    fn kept_ms(&self) -> Option<i64> {
        self.config.get(RETENTION)?.parse().ok().filter(|ms| *ms >= 0)
    }

    /// The topic's settings, with which a changelog of windows keeps records for so many ms longer than its store keeps rows.
    #[must_use]
    pub fn config_with_additional_retention(&self, additional_ms: i64) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        if let Some(kept_ms) = self.kept_ms() {
            config.insert(RETENTION.to_owned(), kept_ms.saturating_add(additional_ms).to_string());
        }
        config.extend(self.asked.clone());
        config
    }

    /// Why the topic cannot have a setting, if it cannot.
    #[must_use]
    pub fn refuses(&self, setting: &str, value: &str) -> Option<String> {
        if FIXED.contains(&setting) {
            return Some("how records are cleaned up and stamped is part of how the application works".into());
        }
        let policy = self.config.get("cleanup.policy").map_or("", String::as_str);
        let number = value.parse::<i64>().ok();
        if setting == "delete.retention.ms"
            && policy.contains("compact")
            && number.is_none_or(|ms| ms < DELETE_RETENTION_MS)
        {
            return Some(format!("a changelog has to remember deletions for a day: {DELETE_RETENTION_MS} or more"));
        }
        let lag_ms = self.config.get(COMPACTION_LAG).and_then(|ms| ms.parse::<i64>().ok());
        if let Some(lag_ms) = lag_ms.filter(|lag_ms| setting == COMPACTION_LAG && number.is_none_or(|ms| ms < *lag_ms))
        {
            return Some(format!(
                "the changelog has to keep all versions that its store keeps: for {lag_ms} ms or more"
            ));
        }
        let kept = self.kept_ms()?;
        let too_soon = setting == RETENTION && number.is_none_or(|ms| ms < kept && ms != -1);
        let too_large = setting == "retention.bytes" && number != Some(-1);
        (too_soon || too_large)
            .then(|| format!("the changelog has to keep what its store keeps: for {kept} ms, of any size"))
    }

    fn new(name: Arc<str>, partitions: i32, own: &[(&str, &str)]) -> Self {
        // The timestamps of records are event time: the broker must not replace them.
        let settings = own.iter().chain(&[("message.timestamp.type", "CreateTime")]);
        let config = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name, partitions, config, asked: BTreeMap::new() }
    }
}
