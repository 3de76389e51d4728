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
    /// Topic settings by their Kafka names.
    pub config: BTreeMap<String, String>,
}

/// How long a topic keeps records, in ms.
const RETENTION: &str = "retention.ms";

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
                Self::new(name, partitions, &[("cleanup.policy", "compact,delete"), (RETENTION, &retention_ms)])
            }
        }
    }

    fn new(name: Arc<str>, partitions: i32, own: &[(&str, &str)]) -> Self {
        // The timestamps of records are event time: the broker must not replace them.
        let settings = own.iter().chain(&[("message.timestamp.type", "CreateTime")]);
        let config = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name, partitions, config }
    }
}
