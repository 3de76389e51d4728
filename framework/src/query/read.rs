//! A point read of committed state, with its bytes turned into JSON by the store's formats.

use serde_json::value::RawValue;

use super::{Position, StoreEntry};
use crate::{
    serde::{Format, SerdeError},
    state::{StateError, TaskView},
};

/// What a read saw: row and position are of one commit.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) row: Option<RowJson>,
    pub(super) position: Position,
}

/// A row as JSON.
#[derive(Debug)]
pub(super) struct RowJson {
    pub(super) key: Box<RawValue>,
    pub(super) value: Box<RawValue>,
    /// `None` when the store keeps none.
    pub(super) timestamp_ms: Option<i64>,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The state was closed: its task moved away, somebody else answers.
    #[error("the task moved away")]
    Closed,
    /// The state cannot be read.
    #[error(transparent)]
    State(StateError),
    /// A stored key or value is not of its declared format.
    #[error("an entry does not decode as {format}")]
    Undecodable {
        /// The declared format.
        format: Format,
        /// What is wrong.
        source: SerdeError,
    },
}

/// Reads a key as it is now, or as it was at some time. It may wait for the disk: see `reads`.
pub(super) fn read(view: &TaskView, store: &StoreEntry, key: &[u8], as_of_ms: Option<i64>) -> Result<Read, ReadError> {
    let read = match as_of_ms {
        Some(as_of_ms) => view.get_as_of(store.id, key, as_of_ms),
        None => view.get_with_position(store.id, key),
    };
    let (row, point) = read.map_err(|error| match error {
        StateError::Closed { .. } => ReadError::Closed,
        error => ReadError::State(error),
    })?;
    let row = match row {
        None => None,
        Some((value, timestamp_ms)) => Some(RowJson {
            key: to_json(&store.spec.key_format, key)?,
            value: to_json(&store.spec.value_format, &value)?,
            timestamp_ms: store.spec.kind.has_timestamps().then_some(timestamp_ms),
        }),
    };
    Ok(Read { row, position: point.positions })
}

fn to_json(format: &Format, bytes: &[u8]) -> Result<Box<RawValue>, ReadError> {
    format.to_json(bytes).map_err(|source| ReadError::Undecodable { format: format.clone(), source })
}
