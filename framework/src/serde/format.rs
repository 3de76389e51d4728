//! What bytes are, for those who do not know the type.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::value::{RawValue, to_raw_value};

use super::{SerdeError, windowed};

/// The format of keys or values. Enough to read a key from a URL path and to show bytes as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON text.
    Json,
    /// UTF-8 text.
    String,
    /// 8 bytes big-endian, signed.
    I64,
    /// 4 bytes big-endian, signed.
    I32,
    /// 8 bytes big-endian, unsigned.
    U64,
    /// 4 bytes big-endian, unsigned.
    U32,
    /// Bytes without a meaning. As text: base64 with the URL-safe alphabet, without padding.
    Bytes,
    /// A key of this format in a window of a fixed size, as [`TimeWindowed`](super::TimeWindowed) writes it. As text: `key@start`, in ms
    /// since the epoch.
    TimeWindowed(Box<Format>),
    /// A key of this format in a session, as [`SessionWindowed`](super::SessionWindowed) writes it. As text: `key@start-end`, in ms
    /// since the epoch.
    SessionWindowed(Box<Format>),
    /// A format of the user's, by its name. As text: like [`Format::Bytes`].
    Custom(Cow<'static, str>),
}

// === impl Format ===

impl Format {
    /// The bytes of the key that `text` stands for.
    ///
    /// A JSON key is written as JSON, and must have the fields in the order of the type; a text that is no JSON stands for
    /// the JSON string of itself.
    ///
    /// # Errors
    ///
    /// [`SerdeError::Key`] when the text is no key of this format.
    pub fn parse_key(&self, text: &str) -> Result<Vec<u8>, SerdeError> {
        let wrong = |reason: String| SerdeError::Key { text: text.to_owned(), format: self.clone(), reason };
        match self {
            Self::Json => json_key(text).map_err(|error| wrong(error.to_string())),
            Self::String => Ok(text.as_bytes().to_vec()),
            Self::I64 => text.parse().map(|n: i64| n.to_be_bytes().to_vec()).map_err(|error| wrong(error.to_string())),
            Self::I32 => text.parse().map(|n: i32| n.to_be_bytes().to_vec()).map_err(|error| wrong(error.to_string())),
            Self::U64 => text.parse().map(|n: u64| n.to_be_bytes().to_vec()).map_err(|error| wrong(error.to_string())),
            Self::U32 => text.parse().map(|n: u32| n.to_be_bytes().to_vec()).map_err(|error| wrong(error.to_string())),
            Self::TimeWindowed(key) => {
                let (text, start) = text.rsplit_once('@').ok_or_else(|| wrong("it is not `key@start`".to_owned()))?;
                let start: i64 = start.parse().map_err(|error| wrong(format!("the start is no number: {error}")))?;
                let mut bytes = key.parse_key(text)?;
                bytes.extend_from_slice(&start.to_be_bytes());
                Ok(bytes)
            }
            Self::SessionWindowed(key) => {
                let parts = text.rsplit_once('@').and_then(|(text, times)| Some((text, times.split_once('-')?)));
                let (text, (start, end)) = parts.ok_or_else(|| wrong("it is not `key@start-end`".to_owned()))?;
                let time = |time: &str| time.parse().map_err(|error| wrong(format!("a time is no number: {error}")));
                let (start, end): (i64, i64) = (time(start)?, time(end)?);
                let mut bytes = key.parse_key(text)?;
                bytes.extend_from_slice(&end.to_be_bytes());
                bytes.extend_from_slice(&start.to_be_bytes());
                Ok(bytes)
            }
            Self::Bytes | Self::Custom(_) => {
                URL_SAFE_NO_PAD.decode(text).map_err(|error| wrong(format!("not URL-safe base64: {error}")))
            }
        }
    }

    /// The bytes as JSON.
    ///
    /// # Errors
    ///
    /// An error when the bytes are not of this format.
    pub fn to_json(&self, bytes: &[u8]) -> Result<Box<RawValue>, SerdeError> {
        match self {
            Self::Json => {
                let text = std::str::from_utf8(bytes)?;
                RawValue::from_string(text.to_owned()).map_err(json_error)
            }
            Self::String => to_raw_value(std::str::from_utf8(bytes)?).map_err(json_error),
            Self::I64 => to_raw_value(&i64::from_be_bytes(self.sized(bytes)?)).map_err(json_error),
            Self::I32 => to_raw_value(&i32::from_be_bytes(self.sized(bytes)?)).map_err(json_error),
            Self::U64 => to_raw_value(&u64::from_be_bytes(self.sized(bytes)?)).map_err(json_error),
            Self::U32 => to_raw_value(&u32::from_be_bytes(self.sized(bytes)?)).map_err(json_error),
            Self::TimeWindowed(key) => {
                let (key_bytes, [start]) = windowed::split(Some(bytes))?;
                let key = key.to_json(key_bytes)?;
                to_raw_value(&serde_json::json!({ "key": key, "start_ms": start })).map_err(json_error)
            }
            Self::SessionWindowed(key) => {
                let (key_bytes, [end, start]) = windowed::split(Some(bytes))?;
                let key = key.to_json(key_bytes)?;
                to_raw_value(&serde_json::json!({ "key": key, "start_ms": start, "end_ms": end })).map_err(json_error)
            }
            Self::Bytes | Self::Custom(_) => to_raw_value(&URL_SAFE_NO_PAD.encode(bytes)).map_err(json_error),
        }
    }

    /// How many bytes at the end of a key tell its window. They do not count when the partition is chosen: all windows of a key
    /// are where the key is.
    #[must_use]
    pub fn window_bytes(&self) -> usize {
        match self {
            Self::TimeWindowed(_) => 8,
            Self::SessionWindowed(_) => 16,
            _ => 0,
        }
    }

    /// The bytes of a key by which its partition is chosen.
    #[must_use]
    pub fn partition_bytes<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        &key[..key.len().saturating_sub(self.window_bytes())]
    }

    /// The bytes as an array, or an error that says how many there should be.
    pub(super) fn sized<const N: usize>(&self, bytes: &[u8]) -> Result<[u8; N], SerdeError> {
        bytes.try_into().map_err(|_| SerdeError::Length { found: bytes.len(), expected: N, format: self.clone() })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeWindowed(key) => return write!(f, "time-windowed {key}"),
            Self::SessionWindowed(key) => return write!(f, "session-windowed {key}"),
            Self::Json => "json",
            Self::String => "string",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::Bytes => "bytes",
            Self::Custom(name) => name,
        })
    }
}

/// JSON as serde writes it: no space outside strings. A text that is no JSON is a string.
fn json_key(text: &str) -> serde_json::Result<Vec<u8>> {
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return serde_json::to_vec(text);
    }
    let (mut compact, mut in_string, mut escaped) = (Vec::with_capacity(text.len()), false, false);
    for byte in text.bytes() {
        if in_string || !byte.is_ascii_whitespace() {
            compact.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    Ok(compact)
}

fn json_error(source: serde_json::Error) -> SerdeError {
    SerdeError::Json { type_name: "serde_json::Value", source }
}
