//! What topics say at their end, by key.

use std::{collections::BTreeMap, sync::Arc};

use millpond::testing::TestRecord;

/// The last value of each key of each topic, and its timestamp. Deleted keys are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View(BTreeMap<Place, Row>);

/// Topic and key.
type Place = (Arc<str>, Vec<u8>);

/// Value and timestamp.
type Row = (Vec<u8>, i64);

// === impl View ===

impl View {
    /// Adds a record behind those of its key. Records without a key have no last one.
    pub(crate) fn add(&mut self, record: TestRecord) {
        let Some(key) = record.key else { return };
        match record.value {
            Some(value) => self.0.insert((record.topic, key), (value, record.timestamp_ms)),
            None => self.0.remove(&(record.topic, key)),
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows that are not as here; "" when all are.
    pub(crate) fn difference(&self, found: &Self) -> String {
        let mut lines = Vec::new();
        for key in self.0.keys().chain(found.0.keys().filter(|key| !self.0.contains_key(*key))) {
            let (expected, found) = (self.0.get(key), found.0.get(key));
            if expected != found {
                let text = |row: Option<&(Vec<u8>, i64)>| match row {
                    Some((value, time_ms)) => format!("{:?} at {time_ms}", String::from_utf8_lossy(value)),
                    None => "nothing".to_owned(),
                };
                let (expected, found) = (text(expected), text(found));
                lines.push(format!("{} {:?}: {found}, not {expected}", key.0, String::from_utf8_lossy(&key.1)));
            }
        }
        lines.join("\n")
    }
}
