//! What can go wrong between values and bytes.

use std::{error::Error, str::Utf8Error};

use super::Format;

/// A value that cannot be written, or bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// A null where the type has none.
    #[error("null cannot be read as `{type_name}`: use `Option` where nulls are expected")]
    Null {
        /// The type.
        type_name: &'static str,
    },
    /// The type has another length.
    #[error("{found} bytes cannot be read as {format}, which has {expected}")]
    Length {
        /// How many bytes there are.
        found: usize,
        /// How many there should be.
        expected: usize,
        /// What they should be.
        format: Format,
    },
    /// Bytes of a windowed key that end before its times.
    #[error("{found} bytes are too few for the times of a window: {at_least} at the least")]
    TooShort {
        /// How many bytes there are.
        found: usize,
        /// How many there should be at the least.
        at_least: usize,
    },
    /// The bytes are no text.
    #[error("the bytes are not UTF-8")]
    Utf8(#[from] Utf8Error),
    /// JSON that cannot be written, or read as the type.
    #[error("JSON of `{type_name}`")]
    Json {
        /// The type.
        type_name: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A text that is no key of this format.
    #[error("`{text}` is not a key in the format {format}: {reason}")]
    Key {
        /// The text.
        text: String,
        /// The format.
        format: Format,
        /// What is wrong with it.
        reason: String,
    },
    /// An error of a serde that was written by the user.
    #[error(transparent)]
    Custom(#[from] Box<dyn Error + Send + Sync>),
}
