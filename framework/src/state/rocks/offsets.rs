//! How offsets lie in the database: one record, so that a read of it is of one commit.
//!
//! ```text
//! record     version (1 byte, 3), time, count, changelog.., count, position..
//! changelog  text (column family of the store), offset, id of the topic
//! position   text (topic), partition, offset
//! text       count of bytes, UTF-8
//! id         count of bytes (0: not known, or 16), bytes
//! ```
//! Counts, partitions, offsets and the time (ms since the epoch, 0: none) are LEB128.

use std::collections::BTreeMap;

use crate::log::{TopicId, TopicPartition};

const VERSION: u8 = 3;

/// Offsets as they are stored: stores by their column family, since a store's index changes with the topology.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StoredOffsets {
    /// See [`CommitPoint::current_ms`](crate::state::CommitPoint::current_ms).
    pub(super) current_ms: Option<i64>,
    pub(super) changelogs: BTreeMap<String, StoredChangelog>,
    pub(super) positions: BTreeMap<TopicPartition, i64>,
}

/// Where a store stands in its changelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredChangelog {
    pub(super) offset: i64,
    /// Which topic the offset is of; `None` where the log knows no ids.
    pub(super) topic_id: Option<TopicId>,
}

/// Writes the record.
pub(super) fn encode<'a>(
    current_ms: Option<i64>,
    changelogs: impl ExactSizeIterator<Item = (&'a str, StoredChangelog)>,
    positions: &BTreeMap<TopicPartition, i64>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 * (changelogs.len() + positions.len()) + 3);
    out.push(VERSION);
    put_number(&mut out, current_ms.unwrap_or(0).cast_unsigned());
    put_count(&mut out, changelogs.len());
    for (family, StoredChangelog { offset, topic_id }) in changelogs {
        put_text(&mut out, family);
        put_number(&mut out, offset.cast_unsigned());
        put_bytes(&mut out, topic_id.as_ref().map_or(&[], |id| id.as_bytes().as_slice()));
    }
    put_count(&mut out, positions.len());
    for (partition, offset) in positions {
        put_text(&mut out, &partition.topic);
        put_number(&mut out, u64::from(partition.partition.cast_unsigned()));
        put_number(&mut out, offset.cast_unsigned());
    }
    out
}

/// Reads the record, or says what is wrong with it.
pub(super) fn decode(record: &[u8]) -> Result<StoredOffsets, String> {
    match record.split_first() {
        Some((&VERSION, fields)) => decode_fields(fields).ok_or_else(|| "the record is cut or garbled".to_owned()),
        Some((version, _)) => Err(format!("its version is {version}, this program knows {VERSION}")),
        None => Err("the record is empty".to_owned()),
    }
}

fn decode_fields(mut rest: &[u8]) -> Option<StoredOffsets> {
    let current_ms = Some(take_number(&mut rest)?.cast_signed()).filter(|ms| *ms != 0);
    let mut offsets = StoredOffsets { current_ms, ..StoredOffsets::default() };
    for _ in 0..take_number(&mut rest)? {
        let family = take_text(&mut rest)?.to_owned();
        let offset = take_number(&mut rest)?.cast_signed();
        let topic_id = match take_bytes(&mut rest)? {
            [] => None,
            id => Some(TopicId::from_bytes(id.try_into().ok()?)),
        };
        offsets.changelogs.insert(family, StoredChangelog { offset, topic_id });
    }
    for _ in 0..take_number(&mut rest)? {
        let topic = take_text(&mut rest)?;
        let partition = u32::try_from(take_number(&mut rest)?).ok()?.cast_signed();
        let partition = TopicPartition::new(topic, partition);
        offsets.positions.insert(partition, take_number(&mut rest)?.cast_signed());
    }
    rest.is_empty().then_some(offsets)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_number(out, u64::try_from(count).expect("a usize has at most 64 bits"));
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode_stored(offsets: &StoredOffsets) -> Vec<u8> {
        encode(
            offsets.current_ms,
            offsets.changelogs.iter().map(|(family, changelog)| (family.as_str(), *changelog)),
            &offsets.positions,
        )
    }

    #[test]
    fn the_record_is_what_its_description_says() {
        let offsets = StoredOffsets {
            current_ms: Some(300),
            changelogs: BTreeMap::from([
                ("kv:a".to_owned(), StoredChangelog { offset: 300, topic_id: None }),
                (
                    "kv:b".to_owned(),
                    StoredChangelog { offset: 1, topic_id: Some(TopicId::from_bytes(*b"0123456789abcdef")) },
                ),
            ]),
            positions: BTreeMap::from([(TopicPartition::new("in", 2), 5)]),
        };
        let changelogs = b"\x02\x04kv:a\xac\x02\x00\x04kv:b\x01\x100123456789abcdef";
        assert_eq!(encode_stored(&offsets), [b"\x03\xac\x02", changelogs.as_slice(), b"\x01\x02in\x02\x05"].concat());
    }

    #[test]
    fn a_record_of_another_version_is_refused_by_its_number() {
        for other in [2, 4] {
            let error = decode(&[other, 0, 0, 0]).expect_err("another version");
            assert!(error.contains(&format!("version is {other}")), "{error}");
        }
        assert!(decode(&[]).is_err());
        assert!(decode(&[3, 0, 0, 0, 0]).is_err(), "bytes behind the end");
        assert!(decode(&[3, 0, 1, 1, b'a', 5, 3, 1, 2, 3, 0]).is_err(), "half an id");
    }

    proptest! {
        #[test]
        fn is_read_as_written_and_never_when_cut(
            current_ms in prop::option::of(1..i64::MAX),
            changelogs in prop::collection::btree_map(".{0,12}", (any::<i64>(), any::<Option<[u8; 16]>>()), 0..4),
            positions in prop::collection::btree_map((".{0,12}", any::<i32>()), any::<i64>(), 0..4),
        ) {
            let stored = |(offset, id): (_, Option<_>)| StoredChangelog { offset, topic_id: id.map(TopicId::from_bytes) };
            let changelogs = changelogs.into_iter().map(|(family, it)| (family, stored(it))).collect();
            let positions = positions.into_iter().map(|((t, p), o)| (TopicPartition::new(t, p), o)).collect();
            let offsets = StoredOffsets { current_ms, changelogs, positions };
            let record = encode_stored(&offsets);
            prop_assert_eq!(decode(&record), Ok(offsets));
            for len in 0..record.len() {
                prop_assert!(decode(&record[..len]).is_err());
            }
        }
    }
}
