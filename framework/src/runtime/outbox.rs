//! Outputs of the interval that goes on while the commit of the one before is in flight: they belong to the next transaction.

use std::sync::Arc;

use crate::log::{Append, Headers};

/// Records that wait until the producer is back, in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Keys and values, one after the other.
    buffer: Vec<u8>,
    records: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    topic: Arc<str>,
    partition: i32,
    key_len: Option<usize>,
    value_len: Option<usize>,
    timestamp_ms: i64,
    headers: Headers,
}

// === impl Outbox ===

impl Outbox {
    /// Memory of what waits, in bytes; headers are slices of input batches.
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len() + self.records.len() * size_of::<Waiting>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keeps a record.
    pub(super) fn push(&mut self, record: Append<'_>) {
        let Append { topic, partition, key, value, timestamp_ms, headers } = record;
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.records.push(Waiting {
            topic: Arc::clone(topic),
            partition,
            key_len: key.map(<[u8]>::len),
            value_len: value.map(<[u8]>::len),
            timestamp_ms,
            headers: headers.clone(),
        });
    }

    /// Takes all records out, in order, until `each` fails.
    pub(super) fn drain<E>(&mut self, mut each: impl FnMut(Append<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = self.buffer.as_slice();
        let mut take = |len: Option<usize>| {
            len.map(|len| {
                let (bytes, tail) = rest.split_at(len);
                rest = tail;
                bytes
            })
        };
        let result = self.records.iter().try_for_each(|record| {
            let (key, value) = (take(record.key_len), take(record.value_len));
            let Waiting { topic, partition, timestamp_ms, headers, .. } = record;
            each(Append { topic, partition: *partition, key, value, timestamp_ms: *timestamp_ms, headers })
        });
        self.clear();
        result
    }

    /// Forgets all records.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        type Seen = (i32, Option<Vec<u8>>, Option<Vec<u8>>, i64);
        let (topic, headers) = (Arc::from("t"), Headers::default());
        let records: [Seen; 4] = [
            (0, Some(b"k".to_vec()), Some(b"value".to_vec()), 1),
            (1, None, Some(b"".to_vec()), 2),
            (0, Some(b"".to_vec()), None, 3),
            (2, Some(b"key".to_vec()), Some(b"v".to_vec()), 4),
        ];
        let mut outbox = Outbox::default();
        for _ in 0..2 {
            for (partition, key, value, timestamp_ms) in &records {
                let (key, value) = (key.as_deref(), value.as_deref());
                let (partition, timestamp_ms) = (*partition, *timestamp_ms);
                outbox.push(Append { topic: &topic, partition, key, value, timestamp_ms, headers: &headers });
            }
            assert!(outbox.bytes() > 0);
            let mut seen: Vec<Seen> = Vec::new();
            let Ok(()) = outbox.drain(|record| {
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                seen.push((record.partition, owned(record.key), owned(record.value), record.timestamp_ms));
                Ok::<_, Infallible>(())
            });
            assert_eq!(seen, records);
            assert!(outbox.is_empty());
        }
    }
}
