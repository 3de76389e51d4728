//! Records and changes of tables.

use crate::log::Headers;

/// A record between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers.
    pub headers: Headers,
}

/// An update of a table's row: the value of records between the nodes of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<V> {
    /// The row's new value; `None` when the row was deleted.
    pub new: Option<V>,
    /// Its value before; `None` when there was none, and when no node downstream asks for old values.
    pub old: Option<V>,
    /// Whether the row is like this now. It is not where the table keeps versions and has a later one of the key already: then this is
    /// a change of the past.
    pub is_latest: bool,
}

// === impl Change ===

impl<V> Change<V> {
    /// A change of the row as it is now.
    #[must_use]
    pub const fn latest(new: Option<V>, old: Option<V>) -> Self {
        Self { new, old, is_latest: true }
    }
}

// === impl Record ===

impl<K, V> Record<K, V> {
    /// The same record with another value.
    pub fn with_value<W>(self, value: W) -> Record<K, W> {
        Record { key: self.key, value, timestamp_ms: self.timestamp_ms, headers: self.headers }
    }

    /// The same record with another key.
    pub fn with_key<L>(self, key: L) -> Record<L, V> {
        Record { key, value: self.value, timestamp_ms: self.timestamp_ms, headers: self.headers }
    }

    /// The same record at another time, in ms since the epoch.
    #[must_use]
    pub fn at(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..self }
    }
}
