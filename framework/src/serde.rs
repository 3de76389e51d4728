//! Between values and bytes: [`Serde`], the serdes of the basic types and of JSON, and [`Serdes`], the pair for keys and
//! values.
//!
//! Nulls are in the types: `Option<T>` is a key or value that may be null (a Kafka null, not empty bytes), every other
//! type is one that may not. [`is_null`] tells of any value whether it is one.
//!
//! Each type has a default serde ([`default_serde`]), the one its users would expect: text is UTF-8, integers are
//! big-endian as Java's serializers write them, `Vec<u8>` is taken as it is, everything else is JSON.

mod basic;
mod defaults;
mod error;
mod format;
mod json;
mod null;
mod nullable;
mod pair;
mod windowed;

#[cfg(test)]
mod tests;

use std::any::Any;

use ::serde::{Serialize, de::DeserializeOwned};

pub use self::{
    basic::{BigEndian, Raw, Utf8},
    defaults::default_serde,
    error::SerdeError,
    format::Format,
    json::Json,
    null::is_null,
    nullable::{Nullable, Present},
    pair::Serdes,
    windowed::{SessionWindowed, TimeWindowed, Windowed},
};

/// A type of keys or values: whatever serde can write and read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key or a value: it cannot be written and read",
    note = "derive `Clone`, `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// Writes and reads the values of one type.
///
/// What it writes must be the same for equal values: bytes of keys decide about the partition and about the row.
pub trait Serde<T>: Any + Send + Sync {
    /// Appends the bytes of `value` to `out`, or appends nothing and says that the value is null.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Presence, SerdeError>;

    /// Reads a value; `None` is null.
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError>;

    /// What the bytes are, for those who do not know `T`: the query layer, tools.
    fn format(&self) -> Format;
}

/// Whether a value has bytes or is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has bytes, which may be none at all.
    Value,
    /// It is null.
    Null,
}

// === impl Presence ===

impl Presence {
    /// The bytes that were written, or null.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Value => Some(bytes),
            Self::Null => None,
        }
    }
}
