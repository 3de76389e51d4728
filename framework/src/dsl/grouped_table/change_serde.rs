//! The bytes of a change in the repartition topic of a grouped table: those of Kafka Streams' `ChangedSerializer`.
//!
//! Only an old value: its bytes and 0. Only a new one: its bytes and 1. Both: the length of the new one as a zig-zag varint, the new one, the
//! old one and 2. With 3, 4 and 5 in place of 0, 1 and 2 there is one byte more in front of it, which says whether the change is one of the
//! latest version; such records are read, and never written.

use std::{any::type_name, sync::Arc};

use crate::{
    processor::Change,
    serde::{Format, Presence, Serde, SerdeError},
};

const OLD: u8 = 0;
const NEW: u8 = 1;
const BOTH: u8 = 2;
/// Added to a flag where a byte says whether the change is of the latest version.
const WITH_LATEST: u8 = 3;

/// Serde of changes.
pub(super) struct ChangeSerde<V> {
    inner: Arc<dyn Serde<V>>,
}

// === impl ChangeSerde ===

impl<V: 'static> ChangeSerde<V> {
    pub(super) fn new(inner: Arc<dyn Serde<V>>) -> Self {
        Self { inner }
    }
}

impl<V: 'static> Serde<Change<V>> for ChangeSerde<V> {
    fn serialize(&self, value: &Change<V>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        write(&*self.inner, value.new.as_ref(), value.old.as_ref(), out).map(|()| Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Change<V>, SerdeError> {
        let Change { new, old, .. } = split(bytes.ok_or(SerdeError::Null { type_name: type_name::<Change<V>>() })?)?;
        let read = |bytes: Option<&[u8]>| bytes.map(|bytes| self.inner.deserialize(Some(bytes))).transpose();
        Ok(Change::latest(read(new)?, read(old)?))
    }

    fn format(&self) -> Format {
        Format::Custom("change".into())
    }
}

/// Appends the bytes of a change, of which at least one side must be there.
pub(super) fn write<V: 'static>(
    serde: &dyn Serde<V>,
    new: Option<&V>,
    old: Option<&V>,
    out: &mut Vec<u8>,
) -> Result<(), SerdeError> {
    let side = |value: &V, out: &mut Vec<u8>| match serde.serialize(value, out)? {
        Presence::Value => Ok(()),
        Presence::Null => Err(SerdeError::Null { type_name: type_name::<V>() }),
    };
    let flag = match (new, old) {
        (Some(new), Some(old)) => {
            let start = out.len();
            side(new, out)?;
            let mut length = [0; 10];
            let written = put_varint(out.len() - start, &mut length);
            out.splice(start..start, length[..written].iter().copied());
            side(old, out)?;
            BOTH
        }
        (Some(new), None) => {
            side(new, out)?;
            NEW
        }
        (None, Some(old)) => {
            side(old, out)?;
            OLD
        }
        (None, None) => return Err(SerdeError::Null { type_name: type_name::<Change<V>>() }),
    };
    out.push(flag);
    Ok(())
}

/// The bytes of the new and of the old value.
fn split(bytes: &[u8]) -> Result<Change<&[u8]>, SerdeError> {
    let garbled = || SerdeError::from(Box::<dyn std::error::Error + Send + Sync>::from(UNREADABLE));
    let (flag, sides) = bytes.split_last().ok_or_else(garbled)?;
    let (flag, sides) = match flag {
        0..WITH_LATEST => (*flag, sides),
        _ => (flag - WITH_LATEST, sides.split_last().ok_or_else(garbled)?.1),
    };
    match flag {
        OLD => Ok(Change::latest(None, Some(sides))),
        NEW => Ok(Change::latest(Some(sides), None)),
        BOTH => {
            let (length, sides) = take_varint(sides).ok_or_else(garbled)?;
            let (new, old) = sides.split_at_checked(length).ok_or_else(garbled)?;
            Ok(Change::latest(Some(new), Some(old)))
        }
        _ => Err(garbled()),
    }
}

const UNREADABLE: &str = "the bytes are no change of a row: old value, new value and what is there";

/// Writes a length as a zig-zag varint; gives how many bytes it takes.
fn put_varint(length: usize, out: &mut [u8; 10]) -> usize {
    // Zig-zag doubles what is not negative.
    let mut rest = (length as u64) << 1;
    let mut written = 0;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        out[written] = if rest == 0 { low } else { low | 0x80 };
        written += 1;
        if rest == 0 {
            return written;
        }
    }
}

/// Reads a length; gives it and what is behind it.
fn take_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let (varint, rest) = bytes.split_at(end + 1);
    let raw = varint.iter().rev().fold(0_u64, |raw, byte| raw << 7 | u64::from(byte & 0x7f));
    let length = (raw & 1 == 0).then_some(raw >> 1)?;
    Some((usize::try_from(length).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use ::serde::Deserialize;
    use proptest::prelude::*;

    use super::*;
    use crate::serde::Raw;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[derive(Deserialize)]
    struct Golden {
        old: Option<String>,
        new: Option<String>,
        old_i64: Option<i64>,
        new_i64: Option<i64>,
        hex: String,
        /// It says whether it is of the latest version, so it is not written.
        #[serde(default)]
        read_only: bool,
    }

    #[derive(Deserialize)]
    struct GoldenVarint {
        i32: i32,
        hex: String,
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
    }

    #[test]
    fn changes_have_the_bytes_of_kafka_streams() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("testdata/change.json")).expect("the golden changes");
        assert!(golden.iter().any(|row| row.read_only) && golden.iter().any(|row| row.hex.len() > 128));
        let serde = ChangeSerde::<Vec<u8>>::new(Arc::new(Raw));
        for row in golden {
            let value = |text: Option<String>, number: Option<i64>| {
                text.map(String::into_bytes).or(number.map(|number| number.to_be_bytes().to_vec()))
            };
            let change = Change::latest(value(row.new, row.new_i64), value(row.old, row.old_i64));
            assert_eq!(serde.deserialize(Some(&from_hex(&row.hex))).expect("a change"), change);
            if !row.read_only {
                let mut bytes = Vec::new();
                serde.serialize(&change, &mut bytes).expect("bytes");
                assert_eq!(hex(&bytes), row.hex);
            }
        }
    }

    #[test]
    fn lengths_have_the_bytes_of_kafka_streams() {
        let golden: Vec<GoldenVarint> =
            serde_json::from_str(include_str!("testdata/varint.json")).expect("the golden numbers");
        assert!(golden.len() > 10);
        for GoldenVarint { i32: number, hex: expected } in golden {
            let bytes = from_hex(&expected);
            // No length is negative, and none is read.
            let Ok(length) = usize::try_from(number) else {
                assert_eq!(take_varint(&bytes), None, "{number}");
                continue;
            };
            let mut written = [0; 10];
            let bytes_written = put_varint(length, &mut written);
            assert_eq!(&written[..bytes_written], bytes, "{number}");
            assert_eq!(take_varint(&bytes), Some((length, &[][..])));
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let serde = ChangeSerde::<Vec<u8>>::new(Arc::new(Raw));
        for garbled in [b"".as_slice(), b"\x06", b"\x03", b"\x08ab\x02", b"\x01ab\x02", b"\xff\xff\xff\xff\xff\x01\x02"]
        {
            assert!(serde.deserialize(Some(garbled)).is_err(), "{garbled:?}");
        }
        assert!(serde.deserialize(None).is_err());
        let nothing = Change::<Vec<u8>>::latest(None, None);
        assert!(serde.serialize(&nothing, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn changes_are_read_as_they_were_written(
            new in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            old in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        ) {
            prop_assume!(new.is_some() || old.is_some());
            let serde = ChangeSerde::new(Arc::new(Raw));
            let (mut bytes, change) = (Vec::new(), Change::latest(new, old));
            serde.serialize(&change, &mut bytes).expect("bytes");
            prop_assert_eq!(serde.deserialize(Some(&bytes)).expect("a change"), change);
        }
    }
}
