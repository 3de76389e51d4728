//! What can go wrong with a record.

use std::{error::Error, fmt, sync::Arc};

use crate::{log::LogError, serde::SerdeError, state::StateError};

/// An error while a record was processed. Each names where; the record's position is in [`Context`](super::Context).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The source record cannot be read with the serdes of its topic. No node has seen it.
    #[error("the {part} of the record at offset {offset} of {topic}-{partition} cannot be read")]
    Deserialization {
        /// Key or value.
        part: RecordPart,
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What is wrong.
        source: SerdeError,
    },
    /// A key or value cannot be written, or a row cannot be read.
    #[error("a key or value of {target} cannot be written or read")]
    Serialization {
        /// Where it goes to or comes from.
        target: Target,
        /// What is wrong.
        source: SerdeError,
    },
    /// The state engine failed: the task must stop.
    #[error("the state failed")]
    State(#[from] StateError),
    /// The log failed.
    #[error("the log failed")]
    Log(#[from] LogError),
    /// A buffer that must not be emptied early is full.
    #[error(
        "buffer `{store}` is full: {records} updates of {bytes} bytes wait; allow it more, or let it pass updates on early"
    )]
    BufferFull {
        /// Its store.
        store: Arc<str>,
        /// How many updates wait.
        records: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A function given by the user failed.
    #[error("the function of node `{node}` failed")]
    User {
        /// The node.
        node: Arc<str>,
        /// What it says.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A part of a record that has a serde of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

// === impl RecordPart ===

impl fmt::Display for RecordPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// Where serialized data goes to or comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A store, by its name.
    Store(Arc<str>),
    /// A topic, by its full name.
    Topic(Arc<str>),
}

// === impl Target ===

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(name) => write!(f, "store `{name}`"),
            Self::Topic(name) => write!(f, "topic `{name}`"),
        }
    }
}
