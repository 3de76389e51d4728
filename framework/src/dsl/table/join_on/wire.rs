//! What the two sides of a foreign-key join write to each other, and how subscriptions are kept. The bytes are those of Kafka Streams
//! (`SubscriptionWrapperSerde`, `SubscriptionResponseWrapperSerde`, `CombinedKeySchema`), and tested against bytes it wrote.
//!
//! * A subscription goes to the partition of its foreign key, which is the record's key. First byte: version, and whether there is no
//!   hash (highest bit); then the instruction, the hash, the primary key, and (from version 1 on) the primary partition.
//! * A response goes back to the primary partition, under the primary key. First byte as above; then the hash and the value of the row on the
//!   right side: none, and one without bytes, look the same.
//! * A subscription is kept under the length of its foreign key, the foreign key and the primary key: so those of one
//!   foreign key lie together, in the order of their primary keys.

use std::sync::Arc;

use ::serde::{Deserialize, Serialize};

use super::murmur3::Hash;
use crate::serde::{Data, Format, Presence, Serde, SerdeError};

/// A row of the left table refers to a row of the right one, or does so no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) instruction: Instruction,
    /// Of the left row's value; `None` when the row was deleted.
    pub(super) hash: Option<Hash>,
    /// The serialized key of the left row.
    pub(super) primary_key: Vec<u8>,
    /// The partition of the left row; version 0 had none.
    pub(super) primary_partition: Option<i32>,
}

/// What to do with a subscription, and when to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Instruction {
    /// Forget it; another subscription of the row will be answered.
    DeleteKeyNoPropagate = 0,
    /// Forget it, and answer that there is no row.
    DeleteKeyAndPropagate = 1,
    /// Keep it, and answer whether there is a row or not.
    PropagateNullIfNoFkValAvailable = 2,
    /// Keep it, and answer if there is a row.
    PropagateOnlyIfFkValAvailable = 3,
}

/// What a subscription is answered, as the left side reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Response<T> {
    /// That of the subscription: of the left row's value that it was made for.
    pub(super) hash: Option<Hash>,
    /// The row of the right table.
    pub(super) row: Option<T>,
}

/// Serde of [`Subscription`].
#[derive(Debug, Clone, Copy)]
pub(super) struct SubscriptionSerde;

/// Serde of [`Response`], by that of the right table's values.
pub(super) struct ResponseSerde<T>(pub(super) Arc<dyn Serde<T>>);

const SUBSCRIPTION_VERSION: u8 = 1;
const RESPONSE_VERSION: u8 = 0;
/// Beside the version: there is no hash.
const NO_HASH: u8 = 0x80;

// === impl Subscription ===

impl Subscription {
    /// Reads it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, SerdeError> {
        let too_short = || wrong(format!("a subscription of {} bytes ends too early", bytes.len()));
        let (flags, rest) = bytes.split_first().ok_or_else(too_short)?;
        let (instruction, rest) = rest.split_first().ok_or_else(too_short)?;
        let version = flags & !NO_HASH;
        if version > SUBSCRIPTION_VERSION {
            let known = SUBSCRIPTION_VERSION;
            return Err(wrong(format!("a subscription of version {version}: this program knows up to {known}")));
        }
        let instruction = Instruction::of(*instruction)?;
        let (hash, rest) = split_hash(*flags, rest).ok_or_else(too_short)?;
        let (primary_key, primary_partition) = match version {
            0 => (rest, None),
            _ => {
                let (key, partition) = rest.split_last_chunk::<4>().ok_or_else(too_short)?;
                (key, Some(i32::from_be_bytes(*partition)))
            }
        };
        Ok(Self { instruction, hash, primary_key: primary_key.to_vec(), primary_partition })
    }

    /// Writes it behind `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let version = if self.primary_partition.is_some() { SUBSCRIPTION_VERSION } else { 0 };
        out.extend([flags(version, self.hash.as_ref()), self.instruction as u8]);
        out.extend(self.hash.iter().flatten());
        out.extend(&self.primary_key);
        out.extend(self.primary_partition.iter().flat_map(|partition| partition.to_be_bytes()));
    }
}

// === impl Instruction ===

impl Instruction {
    fn of(byte: u8) -> Result<Self, SerdeError> {
        match byte {
            0 => Ok(Self::DeleteKeyNoPropagate),
            1 => Ok(Self::DeleteKeyAndPropagate),
            2 => Ok(Self::PropagateNullIfNoFkValAvailable),
            3 => Ok(Self::PropagateOnlyIfFkValAvailable),
            other => Err(wrong(format!("a subscription has the unknown instruction {other}"))),
        }
    }

    /// Whether the subscription ends.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::DeleteKeyNoPropagate | Self::DeleteKeyAndPropagate)
    }
}

// === responses ===

/// Writes a response behind `out`: to a subscription of this hash, with this serialized row.
pub(super) fn put_response(out: &mut Vec<u8>, hash: Option<&Hash>, row: Option<&[u8]>) {
    out.push(flags(RESPONSE_VERSION, hash));
    out.extend(hash.into_iter().flatten());
    out.extend_from_slice(row.unwrap_or_default());
}

fn flags(version: u8, hash: Option<&Hash>) -> u8 {
    if hash.is_some() { version } else { version | NO_HASH }
}

/// The hash that the flags speak of, and what is behind it; `None` when it is not all there.
fn split_hash(flags: u8, bytes: &[u8]) -> Option<(Option<Hash>, &[u8])> {
    if flags & NO_HASH != 0 {
        return Some((None, bytes));
    }
    let (hash, rest) = bytes.split_first_chunk()?;
    Some((Some(*hash), rest))
}

// === combined keys ===

/// Writes what the keys of all subscriptions to a foreign key begin with.
pub(super) fn put_prefix(out: &mut Vec<u8>, foreign_key: &[u8]) {
    let length = u32::try_from(foreign_key.len()).expect("keys are far shorter than 4 GiB: no log takes them");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(foreign_key);
}

// === impl SubscriptionSerde ===

impl Serde<Subscription> for SubscriptionSerde {
    fn serialize(&self, value: &Subscription, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        value.write(out);
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Subscription, SerdeError> {
        Subscription::read(present::<Subscription>(bytes)?)
    }

    fn format(&self) -> Format {
        Format::Custom("foreign-key-subscription".into())
    }
}

// === impl ResponseSerde ===

impl<T: Data> Serde<Response<T>> for ResponseSerde<T> {
    fn serialize(&self, value: &Response<T>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        put_response(out, value.hash.as_ref(), None);
        if let Some(row) = &value.row {
            self.0.serialize(row, out)?;
        }
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Response<T>, SerdeError> {
        let bytes = present::<Response<T>>(bytes)?;
        let too_short = || wrong(format!("a response of {} bytes ends too early", bytes.len()));
        let (flags, rest) = bytes.split_first().ok_or_else(too_short)?;
        let version = flags & !NO_HASH;
        if version != RESPONSE_VERSION {
            return Err(wrong(format!("a response of version {version}: this program knows {RESPONSE_VERSION}")));
        }
        let (hash, row) = split_hash(*flags, rest).ok_or_else(too_short)?;
        let row = if row.is_empty() { None } else { Some(self.0.deserialize(Some(row))?) };
        Ok(Response { hash, row })
    }

    fn format(&self) -> Format {
        Format::Custom("foreign-key-response".into())
    }
}

fn present<T>(bytes: Option<&[u8]>) -> Result<&[u8], SerdeError> {
    bytes.ok_or_else(|| SerdeError::Null { type_name: std::any::type_name::<T>() })
}

fn wrong(what: String) -> SerdeError {
    SerdeError::Custom(what.into())
}

#[cfg(test)]
mod tests;
