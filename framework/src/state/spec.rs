//! What a store is, as the topology declares it.

use std::sync::Arc;

use crate::serde::Format;

/// A store of a sub-topology.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    /// The name, unique within the application.
    pub name: Arc<str>,
    /// The kind.
    pub kind: StoreKind,
    /// The full name of its changelog topic; `None` for a store that is not logged.
    pub changelog: Option<Arc<str>>,
    /// How the bytes of its keys are read.
    pub key_format: Format,
    /// How the bytes of its values are read.
    pub value_format: Format,
    /// Whether the REST interface may read it.
    pub queryable: bool,
    /// Whether it lives on disk; else in memory, and is restored from the beginning of its changelog at each start.
    pub persistent: bool,
}

/// The kinds of stores. A kind fixes how a row lies on disk and how it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// Latest value and its timestamp per key. On disk: [`formats::value_and_timestamp`](super::formats); logged: the
    /// plain value, under the timestamp.
    TimestampedKeyValue,
}

/// A store by its place in the `Vec<StoreSpec>` of its sub-topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(usize);

// === impl StoreKind ===

impl StoreKind {
    /// The name on disk. It never changes: it is part of the name of the column family.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::TimestampedKeyValue => "timestamped-key-value",
        }
    }
}

// === impl StoreId ===

impl StoreId {
    /// The store at `index` of its sub-topology.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place in the sub-topology's `Vec<StoreSpec>`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}
