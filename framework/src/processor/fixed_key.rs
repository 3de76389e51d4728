//! Processors that cannot change keys.

use std::{fmt, time::Duration};

use super::{
    Globals, HasGlobals, Origin, ProcessError, Processor, ProcessorContext, ProcessorResult, PunctuationId,
    PunctuationKind, Record, StoreContext, store_context::HasStores,
};
use crate::{
    log::Headers,
    state::{TaskId, TaskStores},
};

/// A processor that gives records new values under their keys: `FixedKeyProcessor` of Kafka Streams. Behind it records are where
/// their keys belong as they were before it: nothing has to be repartitioned.
///
/// Other than a [`Processor`], it can only forward what it made of a record that it was given. Both have the same functions.
pub trait FixedKeyProcessor<K, V>: 'static {
    /// The values it passes on.
    type Value: Clone + 'static;

    /// Called once, before the first record.
    ///
    /// # Errors
    /// As [`Processor::init`].
    fn init(&mut self, ctx: &mut FixedKeyContext<'_, K, Self::Value>) -> ProcessorResult {
        let _ = ctx;
        Ok(())
    }

    /// Processes a record.
    ///
    /// # Errors
    /// As [`Processor::process`].
    fn process(
        &mut self,
        ctx: &mut FixedKeyContext<'_, K, Self::Value>,
        record: FixedKeyRecord<K, V>,
    ) -> ProcessorResult;

    /// A punctuation that was scheduled is due.
    ///
    /// # Errors
    /// As [`Processor::punctuate`].
    fn punctuate(
        &mut self,
        ctx: &mut FixedKeyContext<'_, K, Self::Value>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        let _ = (ctx, punctuation, now_ms);
        Ok(())
    }
}

/// A record whose key cannot be changed: there is no way to make one, but from one.
///
/// ```compile_fail,E0277
/// use millpond::processor::{FixedKeyRecord, Record};
///
/// fn other(record: Record<String, i64>) -> FixedKeyRecord<String, i64> {
///     record.with_key("another".to_owned()).into()
/// }
/// ```
///
/// ```compile_fail,E0451
/// use millpond::processor::FixedKeyRecord;
///
/// fn other(record: FixedKeyRecord<String, i64>) -> FixedKeyRecord<String, i64> {
///     FixedKeyRecord { key: "another".to_owned(), ..record }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedKeyRecord<K, V> {
    key: K,
    /// The value.
    pub value: V,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers.
    pub headers: Headers,
}

/// What a [`FixedKeyProcessor`] may do: as a [`ProcessorContext`], but the key.
pub struct FixedKeyContext<'a, K, V>(ProcessorContext<'a, K, V>);

/// A processor that cannot change keys as one that could.
#[derive(Debug)]
pub(crate) struct FixedKey<P>(pub(crate) P);

// === impl FixedKeyRecord ===

impl<K, V> FixedKeyRecord<K, V> {
    /// Not for users: it would let them give records other keys.
    fn of(record: Record<K, V>) -> Self {
        let Record { key, value, timestamp_ms, headers } = record;
        Self { key, value, timestamp_ms, headers }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The same record with another value.
    #[must_use]
    pub fn with_value<W>(self, value: W) -> FixedKeyRecord<K, W> {
        let Self { key, timestamp_ms, headers, .. } = self;
        FixedKeyRecord { key, value, timestamp_ms, headers }
    }

    /// The same record at another time, in ms since the epoch.
    #[must_use]
    pub fn at(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..self }
    }
}

impl<K, V> From<FixedKeyRecord<K, V>> for Record<K, V> {
    fn from(record: FixedKeyRecord<K, V>) -> Self {
        let FixedKeyRecord { key, value, timestamp_ms, headers } = record;
        Self { key, value, timestamp_ms, headers }
    }
}

// === impl FixedKeyContext ===

impl<K: Clone + 'static, V: Clone + 'static> FixedKeyContext<'_, K, V> {
    /// Passes a record on, and with it everything that follows from it downstream.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward(&mut self, record: FixedKeyRecord<K, V>) -> Result<(), ProcessError> {
        self.0.forward(record.into())
    }

    /// See [`ProcessorContext::schedule`].
    pub fn schedule(&mut self, kind: PunctuationKind, interval: Duration) -> PunctuationId {
        self.0.schedule(kind, interval)
    }

    /// See [`ProcessorContext::schedule_anchored`].
    pub fn schedule_anchored(&mut self, kind: PunctuationKind, anchor_ms: i64, interval: Duration) -> PunctuationId {
        self.0.schedule_anchored(kind, anchor_ms, interval)
    }

    /// Ends a punctuation; one that has ended already is none any more.
    pub fn cancel(&mut self, punctuation: PunctuationId) {
        self.0.cancel(punctuation);
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.0.task()
    }

    /// Where the record at hand comes from; `None` in a punctuation.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.0.origin()
    }

    /// The largest timestamp of the task's records so far, in ms since the epoch; -1 before the first.
    #[must_use]
    pub fn stream_time_ms(&self) -> i64 {
        self.0.stream_time_ms()
    }

    /// The wall clock in ms since the epoch, as of the beginning of this turn of the task.
    #[must_use]
    pub fn wall_clock_ms(&self) -> i64 {
        self.0.wall_clock_ms()
    }
}

impl<K, V> HasStores for FixedKeyContext<'_, K, V> {
    fn stores_mut(&mut self) -> &mut TaskStores {
        self.0.stores_mut()
    }

    fn row_expired(&mut self) {
        self.0.row_expired();
    }
}

impl<K, V> StoreContext for FixedKeyContext<'_, K, V> {
    fn timestamp_ms(&self) -> i64 {
        self.0.timestamp_ms()
    }
}

impl<K, V> HasGlobals for FixedKeyContext<'_, K, V> {
    fn globals(&self) -> &Globals {
        self.0.globals()
    }
}

impl<K, V> fmt::Debug for FixedKeyContext<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedKeyContext").field(&self.0).finish()
    }
}

// === impl FixedKey ===

impl<K: Clone + 'static, V, P: FixedKeyProcessor<K, V>> Processor<K, V> for FixedKey<P> {
    type Key = K;
    type Value = P::Value;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, P::Value>) -> ProcessorResult {
        self.0.init(&mut FixedKeyContext(ctx.reborrow()))
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_, K, P::Value>, record: Record<K, V>) -> ProcessorResult {
        self.0.process(&mut FixedKeyContext(ctx.reborrow()), FixedKeyRecord::of(record))
    }

    fn punctuate(
        &mut self,
        ctx: &mut ProcessorContext<'_, K, P::Value>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        self.0.punctuate(&mut FixedKeyContext(ctx.reborrow()), punctuation, now_ms)
    }
}
