//! From the records of a global table's topic to its rows.

use std::{fmt, sync::Arc};

use crate::{
    log::RecordRef,
    processor::{ProcessError, RecordPart},
    serde::{SerdeError, Serdes},
};

/// Whether key and value can be read.
pub(crate) type Check = Arc<dyn Fn(&[u8], Option<&[u8]>) -> Result<(), (RecordPart, SerdeError)> + Send + Sync>;

/// Turns the records of one global table's topic into rows.
pub struct GlobalProcessor {
    topic: Arc<str>,
    check: Check,
}

/// What a record does to a global table: key and value are those of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalRow<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` deletes the row.
    pub value: Option<&'a [u8]>,
    /// The timestamp in ms since the epoch.
    pub timestamp_ms: i64,
}

/// The check that the serdes of a global table make.
pub(crate) fn check_by<K: 'static, V: 'static>(serdes: Serdes<K, V>) -> Check {
    Arc::new(move |key, value| {
        serdes.key().deserialize(Some(key)).map_err(|error| (RecordPart::Key, error))?;
        match value {
            Some(value) => {
                serdes.value().deserialize(Some(value)).map(drop).map_err(|error| (RecordPart::Value, error))
            }
            None => Ok(()),
        }
    })
}

// === impl GlobalProcessor ===

impl GlobalProcessor {
    pub(super) fn new(topic: Arc<str>, check: Check) -> Self {
        Self { topic, check }
    }

    /// The row that a record stands for; `None` for a record without a key, which is left out.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deserialization`] when key or value cannot be read.
    pub fn row<'a>(&self, partition: i32, record: &RecordRef<'a>) -> Result<Option<GlobalRow<'a>>, ProcessError> {
        let Some(key) = record.key else { return Ok(None) };
        (self.check)(key, record.value).map_err(|(part, source)| ProcessError::Deserialization {
            part,
            topic: Arc::clone(&self.topic),
            partition,
            offset: record.offset,
            source,
        })?;
        Ok(Some(GlobalRow { key, value: record.value, timestamp_ms: record.timestamp_ms }))
    }
}

impl fmt::Debug for GlobalProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalProcessor").field("topic", &self.topic).finish_non_exhaustive()
    }
}
