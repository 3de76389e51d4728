//! The identity of a topic.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// What tells a topic from another one that has its name: given when the topic is created, and never again (KIP-516). Written as Kafka's
/// tools write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TopicId([u8; Self::BYTES]);

/// A text that is not the id of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a topic: those are 16 bytes in base64 without padding")]
pub struct TopicIdError(String);

// === impl TopicId ===

impl TopicId {
    /// How many bytes it has.
    pub const BYTES: usize = 16;

    /// The id of two halves.
    #[must_use]
    pub fn new(most_significant: u64, least_significant: u64) -> Self {
        Self((u128::from(most_significant) << 64 | u128::from(least_significant)).to_be_bytes())
    }

    /// The id of its bytes, in the order of their weight.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, in the order of their weight.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl From<TopicId> for String {
    fn from(id: TopicId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TopicId {
    type Error = TopicIdError;

    fn try_from(text: String) -> Result<Self, TopicIdError> {
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(TopicIdError(text))
    }
}

impl FromStr for TopicId {
    type Err = TopicIdError;

    fn from_str(text: &str) -> Result<Self, TopicIdError> {
        text.to_owned().try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_kafka_writes_it() {
        // `new Uuid(0x0123456789abcdefL, 0xfedcba9876543210L).toString()`
        let id = TopicId::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(id));
        assert!("ASNFZ4mrze".parse::<TopicId>().is_err());
    }
}
