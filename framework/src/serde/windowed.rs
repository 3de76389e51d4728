//! Keys of windows and sessions.

use std::{any::type_name, fmt, sync::Arc};

use ::serde::{Deserialize, Serialize};

use super::{Format, Presence, Serde, SerdeError};

/// A key within a window or a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// Where the window starts, in ms since the epoch, inclusive. Of a session the time of its first record.
    pub start_ms: i64,
    /// Where the window ends, in ms since the epoch: exclusive for windows of a fixed size, inclusive for sliding windows and for
    /// sessions, where it is the time of the last record.
    pub end_ms: i64,
}

/// Serde of keys of windows that all have one size: the key's bytes and the start, as Kafka Streams' `TimeWindowedSerializer` writes
/// them. The end is not written: a reader has to know the size.
pub struct TimeWindowed<K> {
    inner: Arc<dyn Serde<K>>,
    size_ms: i64,
}

/// Serde of keys of sessions: the key's bytes, the end, the start, as Kafka Streams' `SessionWindowedSerializer` writes them.
pub struct SessionWindowed<K> {
    inner: Arc<dyn Serde<K>>,
}

// === impl Windowed ===

impl<K> Windowed<K> {
    /// The same window of another key.
    pub fn with_key<L>(self, key: L) -> Windowed<L> {
        Windowed { key, start_ms: self.start_ms, end_ms: self.end_ms }
    }
}

// === impl TimeWindowed ===

impl<K: 'static> TimeWindowed<K> {
    /// Keys by this serde, in windows of `size_ms`.
    #[must_use]
    pub fn new(inner: Arc<dyn Serde<K>>, size_ms: i64) -> Self {
        Self { inner, size_ms }
    }
}

impl<K: 'static> Serde<Windowed<K>> for TimeWindowed<K> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        present(&*self.inner, &value.key, out)?;
        out.extend_from_slice(&value.start_ms.to_be_bytes());
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [start_ms]) = split(bytes)?;
        let key = self.inner.deserialize(Some(key))?;
        Ok(Windowed { key, start_ms, end_ms: start_ms.saturating_add(self.size_ms) })
    }

    fn format(&self) -> Format {
        Format::TimeWindowed(Box::new(self.inner.format()))
    }
}

impl<K> fmt::Debug for TimeWindowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeWindowed").field("size_ms", &self.size_ms).finish_non_exhaustive()
    }
}

// === impl SessionWindowed ===

impl<K: 'static> SessionWindowed<K> {
    /// Keys by this serde.
    #[must_use]
    pub fn new(inner: Arc<dyn Serde<K>>) -> Self {
        Self { inner }
    }
}

impl<K: 'static> Serde<Windowed<K>> for SessionWindowed<K> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        present(&*self.inner, &value.key, out)?;
        out.extend_from_slice(&value.end_ms.to_be_bytes());
        out.extend_from_slice(&value.start_ms.to_be_bytes());
        Ok(Presence::Value)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [end_ms, start_ms]) = split(bytes)?;
        Ok(Windowed { key: self.inner.deserialize(Some(key))?, start_ms, end_ms })
    }

    fn format(&self) -> Format {
        Format::SessionWindowed(Box::new(self.inner.format()))
    }
}

impl<K> fmt::Debug for SessionWindowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionWindowed").finish_non_exhaustive()
    }
}

fn present<K: 'static>(serde: &dyn Serde<K>, key: &K, out: &mut Vec<u8>) -> Result<(), SerdeError> {
    match serde.serialize(key, out)? {
        Presence::Value => Ok(()),
        Presence::Null => Err(SerdeError::Null { type_name: type_name::<K>() }),
    }
}

/// The key's bytes and the `N` times behind them.
pub(super) fn split<const N: usize>(bytes: Option<&[u8]>) -> Result<(&[u8], [i64; N]), SerdeError> {
    let bytes = bytes.ok_or(SerdeError::Null { type_name: "Windowed" })?;
    let too_short = SerdeError::TooShort { found: bytes.len(), at_least: 8 * N };
    let Some(at) = bytes.len().checked_sub(8 * N) else { return Err(too_short) };
    let (key, times) = bytes.split_at(at);
    let mut read = [0; N];
    for (time, bytes) in read.iter_mut().zip(times.chunks_exact(8)) {
        *time = i64::from_be_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    Ok((key, read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serde::Utf8;

    #[derive(Deserialize)]
    struct Golden {
        key: String,
        start: i64,
        end: i64,
        hex: String,
    }

    fn check(serde: &dyn Serde<Windowed<String>>, golden: Golden) {
        let hex = golden.hex;
        let key = Windowed { key: golden.key, start_ms: golden.start, end_ms: golden.end };
        let mut bytes = Vec::new();
        serde.serialize(&key, &mut bytes).expect("text");
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
        assert_eq!(serde.deserialize(Some(&bytes)).expect("what was written"), key);
    }

    #[test]
    fn keys_of_windows_and_sessions_are_what_kafka_streams_writes() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("testdata/time_windowed_key.json")).expect("the golden keys");
        assert!(golden.len() > 15);
        golden.into_iter().for_each(|golden| check(&TimeWindowed::new(Arc::new(Utf8), 100), golden));
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../state/testdata/session_store_key.json")).expect("the golden keys");
        golden.into_iter().for_each(|golden| check(&SessionWindowed::new(Arc::new(Utf8)), golden));
    }

    #[test]
    fn what_is_shorter_than_its_times_is_refused() {
        let error = SessionWindowed::new(Arc::new(Utf8)).deserialize(Some(&[0; 15])).expect_err("15 of 16 bytes");
        assert_eq!(error.to_string(), "15 bytes are too few for the times of a window: 16 at the least");
    }
}
