//! Typed access to the buffer of a join with grace.

use std::{any::type_name, fmt, sync::Arc};

use super::{Context, ProcessError, Record, Target};
use crate::{
    serde::{SerdeError, Serdes},
    state::{BufferValue, StateError, StoreId},
};

/// Records that wait, in the order of their timestamps, of their keys, and of their coming. As they are logged they are what Kafka
/// Streams has in the changelog of such a buffer.
pub(crate) struct GraceBuffer<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
    value: Vec<u8>,
    row: Vec<u8>,
}

/// Behind a value in the changelog there is a time, which such buffers do not use.
const NO_TIME: [u8; 8] = [0; 8];
/// Records that are taken at once, at the most.
const PAGE_RECORDS: usize = 1000;

// === impl GraceBuffer ===

impl<K: 'static, V: 'static> GraceBuffer<K, V> {
    /// Access to a store of the task.
    pub(crate) fn new(id: StoreId, name: Arc<str>, serdes: Serdes<K, V>) -> Self {
        let (key, value, row) = Default::default();
        Self { id, name, serdes, key, value, row }
    }

    /// The latest timestamp of any record that was put, in ms; -1 before the first.
    pub(crate) fn time_ms(&self, ctx: &mut Context) -> Result<i64, ProcessError> {
        Ok(ctx.stores_mut().buffer_time_ms(self.id)?)
    }

    /// Puts a record, which has a key and a value.
    pub(crate) fn put(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let Self { id, name, serdes, key, value, row } = self;
        key.clear();
        value.clear();
        let failed = |source| failed(name, source);
        let has_key = serdes.key().serialize(&record.key, key).map_err(failed)?;
        let has_value = serdes.value().serialize(&record.value, value).map_err(failed)?;
        let null = |type_name| failed(SerdeError::Null { type_name });
        let key = has_key.of(key).ok_or_else(|| null(type_name::<K>()))?;
        let new = Some(has_value.of(value).ok_or_else(|| null(type_name::<V>()))?);
        let waiting = BufferValue {
            timestamp_ms: record.timestamp_ms,
            offset: ctx.offset(),
            topic: &Arc::clone(ctx.topic()),
            partition: ctx.task().partition,
            headers: record.headers.clone(),
            prior: None,
            old: None,
            new,
        };
        row.clear();
        waiting.put(row);
        row.extend_from_slice(&NO_TIME);
        Ok(ctx.stores_mut().add_in_order(*id, record.timestamp_ms, key, row)?)
    }

    /// Takes the first records whose timestamps lie between these, both included; not all of them at once. `None` when there are none.
    pub(crate) fn take(
        &mut self,
        ctx: &mut Context,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Option<Vec<Record<K, V>>>, ProcessError> {
        let taken = ctx.stores_mut().take_in_order(self.id, from_ms, to_ms, PAGE_RECORDS)?;
        if taken.is_empty() {
            return Ok(None);
        }
        taken.iter().map(|(key, row)| self.record(ctx, key, row)).collect::<Result<_, _>>().map(Some)
    }

    fn record(&self, ctx: &Context, key: &[u8], row: &[u8]) -> Result<Record<K, V>, ProcessError> {
        let Some((waited, _)) = BufferValue::read(row) else {
            return Err(ProcessError::State(StateError::Format {
                owner: ctx.stores().owner(),
                what: format!("a record that waits in store `{}`", self.name),
                reason: format!("its {} bytes are cut or garbled", row.len()),
            }));
        };
        let read = || Ok((self.serdes.key().deserialize(Some(key))?, self.serdes.value().deserialize(waited.new)?));
        let (key, value) = read().map_err(|source| failed(&self.name, source))?;
        Ok(Record { key, value, timestamp_ms: waited.timestamp_ms, headers: waited.headers })
    }
}

impl<K: 'static, V: 'static> fmt::Debug for GraceBuffer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraceBuffer").field("name", &self.name).field("serdes", &self.serdes).finish_non_exhaustive()
    }
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}
