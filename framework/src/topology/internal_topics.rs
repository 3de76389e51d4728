//! The topics that belong to the application, and their settings.

use std::{collections::BTreeMap, sync::Arc};

use crate::state::StoreKind;

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
}

/// How long a topic keeps records, in ms.
const RETENTION: &str = "retention.ms";

/// The policy of windows' changelogs: the latest record of each window, and none that is too old.
const COMPACT_AND_DELETE: &str = "compact,delete";

/// Bytes of a segment of a repartition topic: small, so that what was processed is deleted soon.
const REPARTITION_SEGMENT_BYTES: &str = "52428800";

// === impl InternalTopic ===

impl InternalTopic {
    /// A repartition topic. Its records are deleted by the application when they are processed, never by age.
    pub(super) fn repartition(name: Arc<str>, partitions: i32) -> Self {
        let own = [("cleanup.policy", "delete"), (RETENTION, "-1"), ("segment.bytes", REPARTITION_SEGMENT_BYTES)];
        Self::new(name, partitions, &own)
    }

    /// The changelog of a store.
    pub(super) fn changelog(name: Arc<str>, partitions: i32, kind: StoreKind) -> Self {
        match kind {
            StoreKind::TimestampedKeyValue => Self::new(name, partitions, &[("cleanup.policy", "compact")]),
            StoreKind::TimestampedWindow(retention) | StoreKind::Session(retention) => {
                let retention_ms = retention.retention_ms.to_string();
                Self::new(name, partitions, &[("cleanup.policy", COMPACT_AND_DELETE), (RETENTION, &retention_ms)])
            }
        }
    }

    /// The topic's settings, with which a changelog of windows keeps records for so many ms longer than its store keeps rows.
    #[must_use]
    pub fn config_with_additional_retention(&self, additional_ms: i64) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        if config.get("cleanup.policy").is_some_and(|policy| policy == COMPACT_AND_DELETE)
            && let Some(retention) = config.get_mut(RETENTION)
            && let Ok(retention_ms) = retention.parse::<i64>()
        {
            *retention = retention_ms.saturating_add(additional_ms).to_string();
        }
        config
    }

    fn new(name: Arc<str>, partitions: i32, own: &[(&str, &str)]) -> Self {
        // The timestamps of records are event time: the broker must not replace them.
        let settings = own.iter().chain(&[("message.timestamp.type", "CreateTime")]);
        let config = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name, partitions, config }
    }
}
