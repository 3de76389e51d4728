//! Records of the metadata topic: keys, and versioned JSON values.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    eviction::Eviction,
    metadata::{Assignment, HostMetadata, InstanceId},
};

/// The version of the format that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

const ASSIGNMENT_KEY: &str = "assignment";
const HOST_PREFIX: &str = "host/";
const EVICTION_PREFIX: &str = "eviction/";

/// A record of the metadata topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRecord {
    /// An instance about itself, under `host/<instance id>`.
    Host(Arc<HostMetadata>),
    /// A tombstone under `host/<instance id>`: the instance stopped, or the leader cleaned up after it.
    HostGone(InstanceId),
    /// The leader's plan, under `assignment`.
    Assignment(Arc<Assignment>),
    /// An instance about another one that nobody hears, under `eviction/<instance id>`.
    Eviction(Arc<Eviction>),
    /// A tombstone under `eviction/<instance id>`: the group does not know that membership any more either.
    EvictionGone(InstanceId),
}

/// Why a record of the metadata topic is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A key that this version does not know.
    #[error("the key is not known to this version")]
    UnknownKey,
    /// A format that this version does not know.
    #[error("format version {version} is not known to this version, which reads {FORMAT_VERSION}")]
    UnknownVersion {
        /// What the record says.
        version: u32,
    },
    /// The value is not what its key promises.
    #[error("the value cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The value is about another instance than the key.
    #[error("the value is about instance `{instance_id}`")]
    WrongInstance {
        /// The instance in the value.
        instance_id: InstanceId,
    },
    /// The assignment was deleted; nobody but a human does that.
    #[error("the assignment was deleted")]
    AssignmentDeleted,
}

/// Reads the metadata topic: skips what it cannot read, warns, and counts.
#[derive(Debug, Default)]
pub struct MetadataDecoder {
    skipped: u64,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

// === impl MetadataRecord ===

impl MetadataRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// Says why the record cannot be used; skip it.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, MetadataError> {
        let key = key.and_then(|key| std::str::from_utf8(key).ok()).ok_or(MetadataError::UnknownKey)?;
        if key == ASSIGNMENT_KEY {
            let value = value.ok_or(MetadataError::AssignmentDeleted)?;
            return Ok(Self::Assignment(Arc::new(read(value)?)));
        }
        if let Some(instance_id) = key.strip_prefix(EVICTION_PREFIX) {
            let Some(value) = value else { return Ok(Self::EvictionGone(instance_id.into())) };
            let eviction: Eviction = read(value)?;
            if *eviction.instance_id != *instance_id {
                return Err(MetadataError::WrongInstance { instance_id: eviction.instance_id });
            }
            return Ok(Self::Eviction(Arc::new(eviction)));
        }
        let instance_id = key.strip_prefix(HOST_PREFIX).ok_or(MetadataError::UnknownKey)?;
        let Some(value) = value else { return Ok(Self::HostGone(instance_id.into())) };
        let host: HostMetadata = read(value)?;
        if *host.instance_id != *instance_id {
            return Err(MetadataError::WrongInstance { instance_id: host.instance_id });
        }
        Ok(Self::Host(Arc::new(host)))
    }

    /// The key under which it is published.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Host(host) => format!("{HOST_PREFIX}{}", host.instance_id),
            Self::HostGone(instance_id) => format!("{HOST_PREFIX}{instance_id}"),
            Self::Assignment(_) => ASSIGNMENT_KEY.to_owned(),
            Self::Eviction(eviction) => format!("{EVICTION_PREFIX}{}", eviction.instance_id),
            Self::EvictionGone(instance_id) => format!("{EVICTION_PREFIX}{instance_id}"),
        }
    }

    /// The value; `None` is a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Host(host) => Some(write(&**host)),
            Self::HostGone(_) | Self::EvictionGone(_) => None,
            Self::Assignment(assignment) => Some(write(&**assignment)),
            Self::Eviction(eviction) => Some(write(&**eviction)),
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(value: &[u8]) -> Result<T, MetadataError> {
    let Version { v: version } = serde_json::from_slice(value)?;
    if version != FORMAT_VERSION {
        return Err(MetadataError::UnknownVersion { version });
    }
    Ok(serde_json::from_slice(value)?)
}

fn write<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: FORMAT_VERSION, body }).expect("metadata has only strings as keys of its maps")
}

// === impl MetadataDecoder ===

impl MetadataDecoder {
    /// Reads a record; `None` if it is of no use.
    pub fn decode(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<MetadataRecord> {
        match MetadataRecord::decode(key, value) {
            Ok(record) => Some(record),
            Err(error) => {
                self.skipped += 1;
                let key = key.map(String::from_utf8_lossy);
                tracing::warn!(key = key.as_deref(), %error, "metadata record skipped");
                None
            }
        }
    }

    /// How many records were skipped.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of the specification are the golden records.
    const SPECIFICATION: &str = include_str!("../../../docs/metadata-topic.md");

    fn examples() -> Vec<(&'static str, &'static str)> {
        let blocks = SPECIFICATION.split("```json\n").skip(1);
        blocks
            .map(|block| {
                let (block, _) = block.split_once("\n```").expect("a block ends");
                let (key, value) = block.split_once('\n').expect("a comment with the key, then the value");
                (key.trim_start_matches("// key: "), value)
            })
            .collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_read_and_written_back() {
        let examples = examples();
        assert_eq!(examples.len(), 3);
        for (key, value) in examples {
            let record = MetadataRecord::decode(Some(key.as_bytes()), Some(value.as_bytes())).expect(key);
            assert_eq!(record.key(), key);
            let written = record.value().expect("no tombstone");
            let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
            assert_eq!(json(&written), json(value.as_bytes()), "{key}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_tombstones_read() {
        let (key, value) = examples()[0];
        let more = value.replacen("\"v\"", "\"colour\": {\"new\": [1]}, \"v\"", 1);
        assert_ne!(more, value);
        assert_eq!(
            MetadataRecord::decode(Some(key.as_bytes()), Some(more.as_bytes())).expect("read"),
            MetadataRecord::decode(Some(key.as_bytes()), Some(value.as_bytes())).expect("read"),
        );
        let gone = MetadataRecord::decode(Some(b"host/a"), None).expect("read");
        assert_eq!(gone, MetadataRecord::HostGone("a".into()));
        assert_eq!((gone.key().as_str(), gone.value()), ("host/a", None));
    }

    #[test]
    fn what_cannot_be_read_is_skipped_and_counted() {
        let (_, host) = examples()[0];
        let newer = host.replacen("\"v\": 1", "\"v\": 2", 1);
        let bad: [(&[u8], &[u8]); 6] = [
            (b"\xff", b"{}"),
            (b"else", b"{}"),
            (b"assignment", b"{\"v\": 1}"),
            (b"host/a", b"not JSON"),
            (b"host/someone-else", host.as_bytes()),
            (b"host/flights-0", newer.as_bytes()),
        ];
        let mut decoder = MetadataDecoder::default();
        for (key, value) in bad {
            assert_eq!(decoder.decode(Some(key), Some(value)), None, "{key:?}");
        }
        assert_eq!(decoder.decode(None, None), None);
        assert_eq!(decoder.decode(Some(b"assignment"), None), None);
        assert_eq!(decoder.skipped(), 8);
        assert!(decoder.decode(Some(b"host/flights-0"), Some(host.as_bytes())).is_some());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(key in "(assignment|host/.*|.*)", value in proptest::collection::vec(any::<u8>(), 0..64),
                                cut in 0usize..2000) {
            let mut decoder = MetadataDecoder::default();
            decoder.decode(Some(key.as_bytes()), Some(&value));
            for (key, value) in examples() {
                let mut value = value.as_bytes().to_vec();
                let cut = cut % value.len();
                value[cut] = value[cut].wrapping_add(1);
                decoder.decode(Some(key.as_bytes()), Some(&value[..]));
                decoder.decode(Some(key.as_bytes()), Some(&value[..cut]));
            }
        }
    }
}
