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
    /// The record has no valid time. No node has seen it.
    #[error(
        "the record at offset {offset} of {topic}-{partition} has the timestamp {timestamp_ms}, which is no time: let `timestamps` say \
         which time such records have"
    )]
    InvalidTimestamp {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// The timestamp.
        timestamp_ms: i64,
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
        /// The type of the error, as Rust names it.
        class: &'static str,
        /// What it says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A function given by the user panicked: the instance stops.
    #[error("the processing of the record at offset {offset} of {topic}-{partition} panicked: {message}")]
    Panicked {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What the panic says.
        message: String,
    },
    /// A handler asked for a dead letter, and there is no topic for it.
    #[error(
        "the record at offset {offset} of {topic}-{partition} is to be a dead letter, and no dead-letter topic is set: \
         set `dead_letter_topic` (MILLPOND_DEAD_LETTER_TOPIC)"
    )]
    NoDeadLetterTopic {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// Why it is to be a dead letter.
        source: Box<ProcessError>,
    },
}

/// At which stage a record failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It could not be read.
    Deserialization,
    /// A node could not process it.
    Processing,
    /// What came of it could not be written.
    Production,
}

/// A part of a record that has a serde of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

// === impl ProcessError ===

impl ProcessError {
    /// The stage at which a record failed; `None` when the error is not a record's fault.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Deserialization { .. } | Self::InvalidTimestamp { .. } => Some(Stage::Deserialization),
            Self::User { .. } | Self::Serialization { target: Target::Store(_), .. } => Some(Stage::Processing),
            Self::Serialization { target: Target::Topic(_), .. } | Self::Log(LogError::RecordRefused { .. }) => {
                Some(Stage::Production)
            }
            Self::State(_)
            | Self::Log(_)
            | Self::BufferFull { .. }
            | Self::Panicked { .. }
            | Self::NoDeadLetterTopic { .. } => None,
        }
    }

    /// The kind of the error in one word, or the type of the user's error.
    #[must_use]
    pub fn class(&self) -> &str {
        match self {
            Self::Deserialization { .. } => "Deserialization",
            Self::InvalidTimestamp { .. } => "InvalidTimestamp",
            Self::Serialization { .. } => "Serialization",
            Self::State(_) => "State",
            Self::Log(LogError::RecordRefused { .. }) => "RecordRefused",
            Self::Log(_) => "Log",
            Self::User { class, .. } => class,
            Self::BufferFull { .. } => "BufferFull",
            Self::Panicked { .. } => "Panicked",
            Self::NoDeadLetterTopic { .. } => "NoDeadLetterTopic",
        }
    }

    /// The node whose function failed.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<str>> {
        match self {
            Self::User { node, .. } => Some(node),
            _ => None,
        }
    }
}

/// An error and its causes in one line.
#[must_use]
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

// === impl Stage ===

impl Stage {
    /// The stage as the value of a header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deserialization => "deserialization",
            Self::Processing => "processing",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
