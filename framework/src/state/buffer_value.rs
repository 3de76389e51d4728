//! The value of an update that waits, as Kafka Streams' `BufferValue` writes it into the changelog of a buffer.
//!
//! ```text
//! value     context, prior value, old value, new value
//! context   timestamp (8), offset (8), topic, partition (4), count of headers (4), headers: name, value each
//! others    count of bytes (4; -1: null; old value only, -2: the same as the prior one), bytes
//! ```
//! All numbers are big-endian and signed.

use crate::log::Headers;

/// An update that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferValue<'a> {
    /// The timestamp of the update, in ms since the epoch.
    pub timestamp_ms: i64,
    /// Where the source record was.
    pub offset: i64,
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The headers of the update.
    pub headers: Headers,
    /// The value before the first update that waited.
    pub prior: Option<&'a [u8]>,
    /// The value before this update.
    pub old: Option<&'a [u8]>,
    /// The value.
    pub new: Option<&'a [u8]>,
}

const NULL: i32 = -1;
const SAME: i32 = -2;

// === impl BufferValue ===

impl<'a> BufferValue<'a> {
    /// Appends the bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        put_bytes(out, Some(self.topic.as_bytes()));
        out.extend_from_slice(&self.partition.to_be_bytes());
        out.extend_from_slice(&len(self.headers.iter().count()).to_be_bytes());
        for (name, value) in self.headers.iter() {
            put_bytes(out, Some(name.as_bytes()));
            put_bytes(out, value);
        }
        put_bytes(out, self.prior);
        if self.old.is_some() && self.old == self.prior {
            out.extend_from_slice(&SAME.to_be_bytes());
        } else {
            put_bytes(out, self.old);
        }
        put_bytes(out, self.new);
    }

    /// Reads the bytes; gives what is behind them too. `None` when they are cut or garbled.
    #[must_use]
    pub fn read(mut bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let rest = &mut bytes;
        let timestamp_ms = i64::from_be_bytes(take(rest)?);
        let offset = i64::from_be_bytes(take(rest)?);
        let topic = std::str::from_utf8(take_bytes(rest)??).ok()?;
        let partition = i32::from_be_bytes(take(rest)?);
        let mut headers = Vec::new();
        for _ in 0..i32::from_be_bytes(take(rest)?) {
            let name = std::str::from_utf8(take_bytes(rest)??).ok()?;
            headers.push((name, take_bytes(rest)?));
        }
        let headers = Headers::new(headers);
        let prior = take_bytes(rest)?;
        let old = if rest.starts_with(&SAME.to_be_bytes()) {
            take::<4>(rest)?;
            prior
        } else {
            take_bytes(rest)?
        };
        let new = take_bytes(rest)?;
        Some((Self { timestamp_ms, offset, topic, partition, headers, prior, old, new }, bytes))
    }

    /// How many bytes Kafka Streams counts for it: no lengths, and a prior value that is the old one only once.
    pub(super) fn weight(&self) -> usize {
        let characters = |text: &str| text.encode_utf16().count();
        let headers = self.headers.iter().map(|(name, value)| characters(name) + value.map_or(0, <[u8]>::len));
        let old = self.old.filter(|_| self.old != self.prior);
        let values = [self.prior, old, self.new].into_iter().flatten().map(<[u8]>::len);
        let numbers = size_of_val(&self.timestamp_ms) + size_of_val(&self.offset) + size_of_val(&self.partition);
        numbers + characters(self.topic) + headers.sum::<usize>() + values.sum::<usize>()
    }
}

fn len(len: usize) -> i32 {
    i32::try_from(len).expect("Kafka's records are below 2 GiB")
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend_from_slice(&bytes.map_or(NULL, |bytes| len(bytes.len())).to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*taken)
}

/// Bytes or null; the outer `None` says that they are cut.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = i32::from_be_bytes(take(rest)?);
    if len == NULL {
        return Some(None);
    }
    let (taken, tail) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = tail;
    Some(Some(taken))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        prior: Option<String>,
        old: Option<String>,
        new: Option<String>,
        timestamp: i64,
        offset: i64,
        partition: i32,
        topic: String,
        headers: Vec<(String, Option<String>)>,
        hex: String,
    }

    #[test]
    fn is_what_kafka_streams_writes() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("testdata/buffer_value.json")).expect("the golden values");
        assert_eq!(golden.len(), 15);
        for golden in golden {
            let headers =
                golden.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(str::as_bytes)));
            let value = BufferValue {
                timestamp_ms: golden.timestamp,
                offset: golden.offset,
                topic: &golden.topic,
                partition: golden.partition,
                headers: Headers::new(headers),
                prior: golden.prior.as_deref().map(str::as_bytes),
                old: golden.old.as_deref().map(str::as_bytes),
                new: golden.new.as_deref().map(str::as_bytes),
            };
            let mut bytes = Vec::new();
            value.put(&mut bytes);
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden.hex);
            for cut in 0..bytes.len() {
                assert!(BufferValue::read(&bytes[..cut]).is_none(), "cut at {cut}");
            }
            bytes.push(7);
            assert_eq!(BufferValue::read(&bytes), Some((value, &[7][..])));
        }
    }
}
