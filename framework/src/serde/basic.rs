//! The serdes of text, integers and bytes.

use std::any::type_name;

use super::{Format, Presence, Serde, SerdeError};

/// UTF-8 text, for `String`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8;

/// Big-endian integers as Java's serializers write them: `i64`, `i32`, `u64`, `u32`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BigEndian;

/// Bytes as they are, for `Vec<u8>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

/// The bytes, or the error that null is not expected here.
pub(super) fn present<T>(bytes: Option<&[u8]>) -> Result<&[u8], SerdeError> {
    bytes.ok_or_else(|| SerdeError::Null { type_name: type_name::<T>() })
}

// === impl Utf8 ===

impl Serde<String> for Utf8 {
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        out.extend_from_slice(value.as_bytes());
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        Ok(std::str::from_utf8(present::<String>(bytes)?)?.to_owned())
    }

    fn format(&self) -> Format {
        Format::String
    }
}

// === impl BigEndian ===

macro_rules! big_endian {
    ($($number:ty => $format:ident),*) => {$(
        impl Serde<$number> for BigEndian {
            fn serialize(&self, value: &$number, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(Presence::Value)
            }

            fn deserialize(&self, bytes: Option<&[u8]>) -> Result<$number, SerdeError> {
                Ok(<$number>::from_be_bytes(Format::$format.sized(present::<$number>(bytes)?)?))
            }

            fn format(&self) -> Format {
                Format::$format
            }
        }
    )*};
}

big_endian!(i64 => I64, i32 => I32, u64 => U64, u32 => U32);

// === impl Raw ===

impl Serde<Vec<u8>> for Raw {
    fn serialize(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        out.extend_from_slice(value);
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>, SerdeError> {
        Ok(present::<Vec<u8>>(bytes)?.to_vec())
    }

    fn format(&self) -> Format {
        Format::Bytes
    }
}
