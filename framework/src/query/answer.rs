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
    pub(super) position: PositionJson<'a>,
    pub(super) role: ServedAs,
    pub(super) served_by: &'a str,
}

/// A position as JSON: topic -> partition -> offset of the next record. Everything below is in the answer.
#[derive(Debug)]
pub(super) struct PositionJson<'a>(pub(super) &'a Position);

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
