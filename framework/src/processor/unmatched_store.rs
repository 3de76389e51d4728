//! Typed access to the store of the records of a join that have no match yet.
//!
//! ```text
//! key    timestamp (8 bytes, big-endian), side (1: left, 0: right), key
//! value  list of: side (1 byte), value
//! ```
//! So they lie in the order in which their windows close. The bytes are those of Kafka Streams' `TimestampedKeyAndJoinSide` and
//! `LeftOrRightValue`.

use std::{
    fmt,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{Context, ProcessError, Target};
use crate::{
    serde::{Presence, Serde, SerdeError},
    state::{Direction, StateError, StoreId, lists},
};

/// One of the two streams of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinSide {
    Right = 0,
    Left = 1,
}

/// The records of one side, whose values are `V`, and of the other, that have no match yet.
pub(crate) struct UnmatchedStore<V, T> {
    id: StoreId,
    name: Arc<str>,
    side: JoinSide,
    own: Arc<dyn Serde<V>>,
    other: Arc<dyn Serde<T>>,
    key: Vec<u8>,
    value: Vec<u8>,
    list: Vec<u8>,
}

/// The records of one key, timestamp and side.
#[derive(Debug)]
pub(crate) struct UnmatchedEntry {
    timestamp_ms: i64,
    side: JoinSide,
    stored_key: Vec<u8>,
    list: Vec<u8>,
}

/// Their values, by the side that they are of.
#[derive(Debug)]
pub(crate) enum UnmatchedValues<V, T> {
    Own(Vec<V>),
    Other(Vec<T>),
}

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It is taken.
    Take,
    /// It stays.
    Leave,
    /// It stays, and so do those behind it.
    Stop,
}

const TIME_BYTES: usize = size_of::<i64>();
/// Bytes in front of a key.
const PREFIX: usize = TIME_BYTES + 1;
/// Entries that are taken at once, at the most.
const PAGE_ENTRIES: usize = 1000;

// === impl JoinSide ===

impl JoinSide {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn read(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Right),
            1 => Some(Self::Left),
            _ => None,
        }
    }
}

// === impl UnmatchedEntry ===

impl UnmatchedEntry {
    /// The timestamp in ms since the epoch.
    pub(crate) fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

// === impl UnmatchedStore ===

impl<V: 'static, T: 'static> UnmatchedStore<V, T> {
    /// Access to a store of the task, from one side.
    pub(crate) fn new(
        (id, name): (StoreId, Arc<str>),
        side: JoinSide,
        own: Arc<dyn Serde<V>>,
        other: Arc<dyn Serde<T>>,
    ) -> Self {
        let (key, value, list) = Default::default();
        Self { id, name, side, own, other, key, value, list }
    }

    /// The timestamps of the first entry and the last one, in ms.
    pub(crate) fn bounds_ms(&self, ctx: &mut Context) -> Result<Option<(i64, i64)>, ProcessError> {
        let mut end = |direction| {
            let mut time = None;
            ctx.stores_mut().scan(self.id, .., direction, |stored, _| {
                time = split(stored).map(|(time, _)| time);
                ControlFlow::Break(())
            })?;
            Ok(time)
        };
        let (first, last): (_, Result<_, StateError>) = (end(Direction::Forward)?, end(Direction::Backward));
        Ok(first.zip(last?))
    }

    /// Adds a record of this side, behind those of the same key and timestamp; `is_first` says that there can be none.
    pub(crate) fn add(
        &mut self,
        ctx: &mut Context,
        key: &[u8],
        value: &V,
        timestamp_ms: i64,
        is_first: bool,
    ) -> Result<(), ProcessError> {
        put_key(&mut self.key, timestamp_ms, self.side, key);
        match put_value(&mut self.value, self.side, &*self.own, value) {
            Ok(Presence::Value) => {}
            Ok(Presence::Null) => return Ok(()),
            Err(source) => return Err(failed(&self.name, source)),
        }
        let (list, value) = (&mut self.list, &self.value);
        lists::put_first(list, value);
        if !is_first {
            let added = ctx.stores_mut().read(self.id, &self.key, |row| {
                let Some(row) = row else { return Some(()) };
                list.clear();
                list.extend_from_slice(row.value);
                lists::append(list, value)
            })?;
            added.ok_or_else(|| self.damaged(ctx, &self.list))?;
        }
        ctx.stores_mut().write(self.id, &self.key, Some(&self.list), timestamp_ms);
        Ok(())
    }

    /// Removes the records of the other side of a key and timestamp, if there are some. `now_ms` is the timestamp of the changelog record.
    pub(crate) fn remove_other(
        &mut self,
        ctx: &mut Context,
        key: &[u8],
        timestamp_ms: i64,
        now_ms: i64,
    ) -> Result<(), ProcessError> {
        put_key(&mut self.key, timestamp_ms, self.side.other(), key);
        if ctx.stores_mut().read(self.id, &self.key, |row| row.is_some())? {
            ctx.stores_mut().write(self.id, &self.key, None, now_ms);
        }
        Ok(())
    }

    /// Takes entries out, in their order from a timestamp on: those that `visit` says, by timestamp, side, and whether there are several
    /// values. They are still there until they are removed. Gives whether there are more to be visited: from behind the last that was taken.
    pub(crate) fn take(
        &mut self,
        ctx: &mut Context,
        from: &TakeFrom,
        taken: &mut Vec<UnmatchedEntry>,
        mut visit: impl FnMut(i64, JoinSide, bool) -> Visit,
    ) -> Result<bool, ProcessError> {
        let (mut more, mut wrong) = (false, None);
        let range = (from.bound(), Bound::Unbounded);
        ctx.stores_mut().scan(self.id, range, Direction::Forward, |stored, row| {
            let (Some((time, side)), Some(values)) = (split(stored), lists::count(row.value)) else {
                wrong = Some([stored, row.value].concat());
                return ControlFlow::Break(());
            };
            match visit(time, side, values > 1) {
                Visit::Take if taken.len() == PAGE_ENTRIES => {
                    more = true;
                    return ControlFlow::Break(());
                }
                Visit::Take => {
                    let (stored_key, list) = (stored.to_vec(), row.value.to_vec());
                    taken.push(UnmatchedEntry { timestamp_ms: time, side, stored_key, list });
                }
                Visit::Leave => {}
                Visit::Stop => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        })?;
        match wrong {
            Some(key) => Err(self.damaged(ctx, &key)),
            None => Ok(more),
        }
    }

    /// Removes an entry that was taken. `now_ms` is the timestamp of the changelog record.
    pub(crate) fn remove(&self, ctx: &mut Context, entry: &UnmatchedEntry, now_ms: i64) {
        ctx.stores_mut().write(self.id, &entry.stored_key, None, now_ms);
    }

    /// The key of an entry.
    pub(crate) fn key<K: 'static>(&self, entry: &UnmatchedEntry, serde: &Arc<dyn Serde<K>>) -> Result<K, ProcessError> {
        serde.deserialize(Some(&entry.stored_key[PREFIX..])).map_err(|source| failed(&self.name, source))
    }

    /// The values of an entry, in the order in which they came.
    pub(crate) fn values(&self, ctx: &Context, entry: &UnmatchedEntry) -> Result<UnmatchedValues<V, T>, ProcessError> {
        let damaged = || self.damaged(ctx, &entry.list);
        let values = lists::values(&entry.list).ok_or_else(damaged)?;
        let values: Option<Vec<_>> = values.map(|value| value.split_first().map(|(_, value)| value)).collect();
        let values = values.ok_or_else(damaged)?.into_iter();
        if entry.side == self.side {
            let values: Result<_, _> = values.map(|value| self.own.deserialize(Some(value))).collect();
            return values.map(UnmatchedValues::Own).map_err(|source| failed(&self.name, source));
        }
        let values: Result<_, _> = values.map(|value| self.other.deserialize(Some(value))).collect();
        values.map(UnmatchedValues::Other).map_err(|source| failed(&self.name, source))
    }

    fn damaged(&self, ctx: &Context, bytes: &[u8]) -> ProcessError {
        let (owner, what) = (ctx.stores().owner(), format!("a record without a match in store `{}`", self.name));
        StateError::Format { owner, what, reason: format!("its {} bytes are cut or garbled", bytes.len()) }.into()
    }
}

impl<V, T> fmt::Debug for UnmatchedStore<V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnmatchedStore").field("name", &self.name).field("side", &self.side).finish_non_exhaustive()
    }
}

/// Where taking begins.
#[derive(Debug)]
pub(crate) struct TakeFrom {
    key: Vec<u8>,
    is_behind: bool,
}

// === impl TakeFrom ===

impl TakeFrom {
    /// At the first entry of this timestamp or later.
    pub(crate) fn time(timestamp_ms: i64) -> Self {
        Self { key: timestamp_ms.max(0).to_be_bytes().to_vec(), is_behind: false }
    }

    /// Behind an entry.
    pub(crate) fn behind(entry: &UnmatchedEntry) -> Self {
        Self { key: entry.stored_key.clone(), is_behind: true }
    }

    fn bound(&self) -> Bound<&[u8]> {
        if self.is_behind { Bound::Excluded(&self.key) } else { Bound::Included(&self.key) }
    }
}

fn put_key(out: &mut Vec<u8>, timestamp_ms: i64, side: JoinSide, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
    out.push(side as u8);
    out.extend_from_slice(key);
}

fn put_value<V: 'static>(
    out: &mut Vec<u8>,
    side: JoinSide,
    serde: &dyn Serde<V>,
    value: &V,
) -> Result<Presence, SerdeError> {
    out.clear();
    out.push(side as u8);
    serde.serialize(value, out)
}

/// The timestamp and side of an entry.
fn split(stored: &[u8]) -> Option<(i64, JoinSide)> {
    let (time, rest) = stored.split_first_chunk()?;
    Some((i64::from_be_bytes(*time), JoinSide::read(*rest.first()?)?))
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}

#[cfg(test)]
mod tests {
    use ::serde::Deserialize;

    use super::*;
    use crate::serde::Utf8;

    #[derive(Deserialize)]
    struct Golden {
        /// Of the key or the value.
        #[serde(alias = "key", alias = "value")]
        text: String,
        #[serde(default)]
        timestamp: i64,
        side: String,
        hex: String,
    }

    fn golden(rows: &str) -> Vec<Golden> {
        let rows: Vec<Golden> = serde_json::from_str(rows).expect("the golden rows");
        assert!(rows.len() > 5);
        rows
    }

    fn side(name: &str) -> JoinSide {
        if name == "left" { JoinSide::Left } else { JoinSide::Right }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_what_kafka_streams_writes() {
        for row in golden(include_str!("testdata/outer_join_shared_key.json")) {
            let mut key = Vec::new();
            put_key(&mut key, row.timestamp, side(&row.side), row.text.as_bytes());
            assert_eq!(hex(&key), row.hex);
            assert_eq!(split(&key), Some((row.timestamp, side(&row.side))));
        }
        assert_eq!(split(&[0; 8]), None);
        assert_eq!(split(&[0, 0, 0, 0, 0, 0, 0, 1, 2]), None);
    }

    #[test]
    fn values_are_what_kafka_streams_writes() {
        for row in golden(include_str!("testdata/outer_join_shared_value.json")) {
            let mut value = Vec::new();
            put_value(&mut value, side(&row.side), &Utf8, &row.text).expect("text");
            assert_eq!(hex(&value), row.hex);
        }
    }
}
