//! JSON, for everything.

use std::any::type_name;

use super::{Data, Format, Presence, Serde, SerdeError, is_null};

/// JSON text of any type. A `None` is a null without bytes; the JSON text `null` is read as one.
///
/// Keys must be types whose JSON is always the same for equal values: structs and enums are, `HashMap` is not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

// === impl Json ===

impl<T: Data> Serde<T> for Json {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        if is_null(value) {
            return Ok(Presence::Null);
        }
        let start = out.len();
        serde_json::to_writer(&mut *out, value).map_err(|source| {
            out.truncate(start);
            SerdeError::Json { type_name: type_name::<T>(), source }
        })?;
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let Some(bytes) = bytes else {
            return serde_json::from_slice(b"null").map_err(|_| SerdeError::Null { type_name: type_name::<T>() });
        };
        serde_json::from_slice(bytes).map_err(|source| SerdeError::Json { type_name: type_name::<T>(), source })
    }

    fn format(&self) -> Format {
        Format::Json
    }
}
