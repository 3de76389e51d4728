//! Records of a test, as bytes and typed.

use std::{fmt, sync::Arc};

use crate::{
    log::Headers,
    processor::Record,
    serde::{SerdeError, Serdes},
};

/// A record of a topic, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers.
    pub headers: Headers,
}

/// A topic with the serdes that a test writes and reads it with.
pub struct TestTopic<K, V> {
    name: Arc<str>,
    serdes: Serdes<K, V>,
}

// === impl TestTopic ===

impl<K: 'static, V: 'static> TestTopic<K, V> {
    /// A topic.
    #[must_use]
    pub fn new(name: &str, serdes: Serdes<K, V>) -> Self {
        Self { name: name.into(), serdes }
    }

    /// A record of this topic, as bytes, without headers.
    ///
    /// # Errors
    ///
    /// When key or value cannot be serialized.
    pub fn record(&self, key: &K, value: &V, timestamp_ms: i64) -> Result<TestRecord, SerdeError> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let key = self.serdes.key().serialize(key, &mut key_bytes)?.of(&key_bytes).map(<[u8]>::to_vec);
        let value = self.serdes.value().serialize(value, &mut value_bytes)?.of(&value_bytes).map(<[u8]>::to_vec);
        Ok(TestRecord { topic: Arc::clone(&self.name), key, value, timestamp_ms, headers: Headers::default() })
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn read(&self, record: &TestRecord) -> Result<Record<K, V>, SerdeError> {
        Ok(Record {
            key: self.serdes.key().deserialize(record.key.as_deref())?,
            value: self.serdes.value().deserialize(record.value.as_deref())?,
            timestamp_ms: record.timestamp_ms,
            headers: record.headers.clone(),
        })
    }
}

impl<K, V> fmt::Debug for TestTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestTopic").field("name", &self.name).finish_non_exhaustive()
    }
}
