//! The answer to a point lookup.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::Position;

/// In what role an instance answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServedAs {
    /// From the active task: the latest committed state.
    Active,
    /// From a standby's copy, which follows the active task: see `staleness_ms`.
    Standby,
    /// From a global table, which every instance holds whole.
    Global,
}

/// An entry that was found, as it goes into the body.
#[derive(Debug, Serialize)]
pub(super) struct Found<'a> {
    pub(super) key: &'a RawValue,
    pub(super) value: &'a RawValue,
    /// Event time of the entry, ms since the epoch; `null` for stores that keep none.
    pub(super) timestamp: Option<i64>,
    /// `null` for a global table: it is not divided.
    pub(super) partition: Option<i32>,
    /// `null` when the one who answers does not know it: a standby.
    pub(super) position: Option<PositionJson<'a>>,
    pub(super) role: ServedAs,
    /// How old the answer may be: what was committed longer ago is in it.
    pub(super) staleness_ms: u64,
    pub(super) served_by: &'a str,
}

/// Which copies of a key may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// The active task's: the latest committed state. A request waits for an owner that is changing, for 2 s at the most.
    #[default]
    Active,
    /// A standby's if there is one that has caught up, else the active task's.
    Standby,
    /// The active task's, or a standby's if that one does not answer soon.
    Any,
}

/// A position as JSON: topic -> partition -> offset of the next record. Everything below is in the answer.
#[derive(Debug)]
pub(super) struct PositionJson<'a>(pub(super) &'a Position);

// === impl Consistency ===

impl Consistency {
    /// As the parameter says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Any => "any",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Standby, Self::Any].into_iter().find(|consistency| consistency.as_str() == text)
    }
}

// === impl PositionJson ===

impl Serialize for PositionJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut topics: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
        for (source, next_offset) in self.0 {
            topics.entry(&source.topic).or_default().insert(source.partition, *next_offset);
        }
        let mut map = serializer.serialize_map(Some(topics.len()))?;
        for (topic, partitions) in &topics {
            map.serialize_entry(topic, partitions)?;
        }
        map.end()
    }
}
