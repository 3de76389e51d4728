//! Typed access to the buffers of a task.

use std::{any::type_name, fmt, sync::Arc};

use super::{Change, Context, ProcessError, Record, Target};
use crate::{
    serde::{Presence, Serde, SerdeError, Serdes},
    state::{BufferSize, BufferValue, StateError, StoreId},
};

/// A buffer of changes of a table: one per key waits, in the order of a time.
pub struct BufferStore<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
    /// Old and new value, serialized.
    values: (Vec<u8>, Vec<u8>),
    row: Vec<u8>,
}

// === impl BufferStore ===

impl<K: 'static, V: 'static> BufferStore<K, V> {
    /// Access to a store of the task.
    #[must_use]
    pub fn new(id: StoreId, name: Arc<str>, serdes: Serdes<K, V>) -> Self {
        let (key, values, row) = Default::default();
        Self { id, name, serdes, key, values, row }
    }

    /// The name of the store.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Lets a change wait by `time`; when one of its key waits already it takes the place of that.
    ///
    /// # Errors
    ///
    /// When key or value cannot be serialized, or the state fails.
    pub fn put(&mut self, ctx: &mut Context, record: &Record<K, Change<V>>, time: i64) -> Result<(), ProcessError> {
        self.write_key(&record.key)?;
        let Self { name, serdes, values, .. } = self;
        let old = write(name, serdes.value(), record.value.old.as_ref(), &mut values.0)?;
        let new = write(name, serdes.value(), record.value.new.as_ref(), &mut values.1)?;
        let before = ctx.stores_mut().buffered(self.id, &self.key)?;
        let prior = match &before {
            Some((before, _)) => read_row(name, ctx, before)?.prior,
            None => old,
        };
        let value = BufferValue {
            timestamp_ms: record.timestamp_ms,
            offset: ctx.offset(),
            topic: &Arc::clone(ctx.topic()),
            partition: ctx.task().partition,
            headers: record.headers.clone(),
            prior,
            old,
            new,
        };
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        value.put(&mut row);
        let put = ctx.stores_mut().put_buffered(self.id, &self.key, &row, time, record.timestamp_ms);
        self.row = row;
        Ok(put?)
    }

    /// Takes the first change that waits by `until` or before.
    ///
    /// # Errors
    ///
    /// When it cannot be deserialized, or the state fails.
    pub fn take(
        &mut self,
        ctx: &mut Context,
        until: i64,
        timestamp_ms: i64,
    ) -> Result<Option<Record<K, Change<V>>>, ProcessError> {
        let Some((_, key, row)) = ctx.stores_mut().take_buffered(self.id, until, timestamp_ms)? else {
            return Ok(None);
        };
        let value = self.read_row(ctx, &row)?;
        let read = |bytes: Option<&[u8]>| bytes.map(|bytes| self.serdes.value().deserialize(Some(bytes))).transpose();
        let record = self.serdes.key().deserialize(Some(&key)).and_then(|key| {
            let change = Change::latest(read(value.new)?, read(value.old)?);
            Ok(Record { key, value: change, timestamp_ms: value.timestamp_ms, headers: value.headers.clone() })
        });
        record.map(Some).map_err(|source| failed(&self.name, source))
    }

    /// The value that a key had before the first change that waits; `None` when none waits.
    ///
    /// # Errors
    ///
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn prior(&mut self, ctx: &mut Context, key: &K) -> Result<Option<Option<(V, i64)>>, ProcessError> {
        self.write_key(key)?;
        let Some((row, _)) = ctx.stores_mut().buffered(self.id, &self.key)? else { return Ok(None) };
        let value = self.read_row(ctx, &row)?;
        let prior = value.prior.map(|bytes| self.serdes.value().deserialize(Some(bytes))).transpose();
        let prior = prior.map_err(|source| failed(&self.name, source))?;
        // Its own timestamp is not kept: as in Kafka Streams it is that of no record.
        Ok(Some(prior.map(|prior| (prior, -1))))
    }

    /// By which time the first change waits, in ms; `None` when none does.
    ///
    /// # Errors
    ///
    /// When the state fails.
    pub fn first(&self, ctx: &mut Context) -> Result<Option<i64>, ProcessError> {
        Ok(ctx.stores_mut().first_buffered(self.id)?.map(|(time, _)| time))
    }

    /// The latest timestamp of any change that was put, in ms; -1 before the first.
    ///
    /// # Errors
    ///
    /// When the state fails.
    pub fn latest_ms(&self, ctx: &mut Context) -> Result<i64, ProcessError> {
        Ok(ctx.stores_mut().latest_buffered_ms(self.id)?)
    }

    /// How much waits.
    ///
    /// # Errors
    ///
    /// When the state fails.
    pub fn size(&self, ctx: &mut Context) -> Result<BufferSize, ProcessError> {
        Ok(ctx.stores_mut().buffer_size(self.id)?)
    }

    fn write_key(&mut self, key: &K) -> Result<(), ProcessError> {
        self.key.clear();
        match self.serdes.key().serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(failed(&self.name, SerdeError::Null { type_name: type_name::<K>() })),
            Err(error) => Err(failed(&self.name, error)),
        }
    }

    fn read_row<'r>(&self, ctx: &Context, row: &'r [u8]) -> Result<BufferValue<'r>, ProcessError> {
        read_row(&self.name, ctx, row)
    }
}

impl<K: 'static, V: 'static> fmt::Debug for BufferStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferStore").field("name", &self.name).field("serdes", &self.serdes).finish_non_exhaustive()
    }
}

/// The bytes of a value, or null.
fn write<'b, V: 'static>(
    store: &Arc<str>,
    serde: &Arc<dyn Serde<V>>,
    value: Option<&V>,
    buffer: &'b mut Vec<u8>,
) -> Result<Option<&'b [u8]>, ProcessError> {
    buffer.clear();
    let Some(value) = value else { return Ok(None) };
    let presence = serde.serialize(value, buffer).map_err(|source| failed(store, source))?;
    Ok(presence.of(buffer))
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}

fn read_row<'r>(store: &Arc<str>, ctx: &Context, row: &'r [u8]) -> Result<BufferValue<'r>, ProcessError> {
    let damaged = || StateError::Format {
        owner: ctx.stores().owner(),
        what: format!("an update that waits in store `{store}`"),
        reason: format!("its {} bytes are cut or garbled", row.len()),
    };
    Ok(BufferValue::read(row).map(|(value, _)| value).ok_or_else(damaged)?)
}
