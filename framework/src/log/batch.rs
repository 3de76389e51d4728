//! Batches of records: one buffer, records as slices of it.

use std::{fmt, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

/// Records of one partition in the order of their offsets, in one buffer.
#[derive(Debug, Clone)]
pub struct Batch {
    source: TopicPartition,
    buffer: Bytes,
    slots: Vec<Slot>,
}

/// Where one record lies in the buffer: key, value and headers follow each other from `start`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: i64,
    timestamp_ms: i64,
    start: u32,
    key_len: i32,
    value_len: i32,
    headers_len: u32,
}

/// A record as it lies in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset.
    pub offset: i64,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeadersRef<'a>,
}

/// Fills a [`Batch`].
#[derive(Debug)]
pub struct BatchBuilder {
    source: TopicPartition,
    buffer: BytesMut,
    slots: Vec<Slot>,
}

/// The headers of a record, owned: names with values that may be null. Empty ones cost nothing.
///
/// They are kept in encoded form (per header: length of the name, name, length of the value or -1, value; lengths as 4
/// bytes big-endian), so that they can be a slice of a batch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

/// Borrowed [`Headers`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeadersRef<'a>(&'a [u8]);

// === impl TopicPartition ===

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

// === impl Batch ===

impl Batch {
    /// The partition all records are of.
    #[must_use]
    pub fn source(&self) -> &TopicPartition {
        &self.source
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Memory in use, in bytes: keys, values and headers, and what is known of each record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.slots.len() * size_of::<Slot>()
    }

    /// The record at `index`, or `None` behind the last.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RecordRef<'_>> {
        self.slots.get(index).map(|slot| self.view(slot))
    }

    /// The headers at `index` as an owned slice of this batch's buffer: no copy.
    #[must_use]
    pub fn headers(&self, index: usize) -> Headers {
        match self.slots.get(index) {
            Some(slot) if slot.headers_len > 0 => {
                let start = slot.start as usize + len_of(slot.key_len) + len_of(slot.value_len);
                Headers(self.buffer.slice(start..start + slot.headers_len as usize))
            }
            _ => Headers::default(),
        }
    }

    /// All records.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.slots.iter().map(|slot| self.view(slot))
    }

    fn view(&self, slot: &Slot) -> RecordRef<'_> {
        let key_end = slot.start as usize + len_of(slot.key_len);
        let value_end = key_end + len_of(slot.value_len);
        RecordRef {
            offset: slot.offset,
            timestamp_ms: slot.timestamp_ms,
            key: (slot.key_len >= 0).then(|| &self.buffer[slot.start as usize..key_end]),
            value: (slot.value_len >= 0).then(|| &self.buffer[key_end..value_end]),
            headers: HeadersRef(&self.buffer[value_end..value_end + slot.headers_len as usize]),
        }
    }
}

// === impl BatchBuilder ===

impl BatchBuilder {
    /// An empty batch of a partition.
    #[must_use]
    pub fn new(source: TopicPartition) -> Self {
        Self { source, buffer: BytesMut::new(), slots: Vec::new() }
    }

    /// Adds a record; `headers` yields names and values in order.
    pub fn push<'h>(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) {
        let start = self.buffer.len();
        self.buffer.put_slice(key.unwrap_or_default());
        self.buffer.put_slice(value.unwrap_or_default());
        let headers_start = self.buffer.len();
        for (name, value) in headers {
            put_header(&mut self.buffer, name, value);
        }
        self.slots.push(Slot {
            offset,
            timestamp_ms,
            start: u32::try_from(start).expect("a batch is bounded far below 4 GiB by the fetch size"),
            key_len: key.map_or(-1, signed_len),
            value_len: value.map_or(-1, signed_len),
            headers_len: u32::try_from(self.buffer.len() - headers_start)
                .expect("headers are bounded by the record size"),
        });
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The partition.
    #[must_use]
    pub fn source(&self) -> &TopicPartition {
        &self.source
    }

    /// The finished batch.
    #[must_use]
    pub fn build(self) -> Batch {
        Batch { source: self.source, buffer: self.buffer.freeze(), slots: self.slots }
    }
}

// === impl Headers ===

impl Headers {
    /// Headers from names and values.
    pub fn new<'h>(headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>) -> Self {
        let mut buffer = BytesMut::new();
        for (name, value) in headers {
            put_header(&mut buffer, name, value);
        }
        Self(buffer.freeze())
    }

    /// These headers and one more behind them.
    #[must_use]
    pub fn with(&self, name: &str, value: Option<&[u8]>) -> Self {
        let mut buffer = BytesMut::from(self.0.as_ref());
        put_header(&mut buffer, name, value);
        Self(buffer.freeze())
    }

    /// No headers.
    #[must_use]
    pub fn none() -> &'static Self {
        static NONE: Headers = Headers(Bytes::new());
        &NONE
    }

    /// Borrows them.
    #[must_use]
    pub fn as_ref(&self) -> HeadersRef<'_> {
        HeadersRef(&self.0)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.as_ref().iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> HeadersRef<'a> {
    /// No headers.
    pub const EMPTY: HeadersRef<'static> = HeadersRef(&[]);

    /// Names and values in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let name_len = take_len(&mut rest)?;
            let name = take(&mut rest, usize::try_from(name_len).ok()?)?;
            let value_len = take_len(&mut rest)?;
            let value = if value_len < 0 { None } else { Some(take(&mut rest, usize::try_from(value_len).ok()?)?) };
            Some((std::str::from_utf8(name).unwrap_or("\u{fffd}"), value))
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> Headers {
        if self.0.is_empty() { Headers::default() } else { Headers(Bytes::copy_from_slice(self.0)) }
    }
}

impl fmt::Debug for HeadersRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn put_header(buffer: &mut BytesMut, name: &str, value: Option<&[u8]>) {
    buffer.put_i32(signed_len(name.as_bytes()));
    buffer.put_slice(name.as_bytes());
    buffer.put_i32(value.map_or(-1, signed_len));
    buffer.put_slice(value.unwrap_or_default());
}

fn take_len(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn signed_len(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("keys, values and headers are below 2 GiB in Kafka's protocol")
}

fn len_of(len: i32) -> usize {
    usize::try_from(len).unwrap_or(0)
}
