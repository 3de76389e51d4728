//! Typed access to the stores of a task.

use std::{any::type_name, fmt, sync::Arc};

use super::{ProcessError, Target, store_context::HasStores};
use crate::{
    serde::{Presence, Serde, SerdeError, Serdes},
    state::StoreId,
};

/// A store of the latest value and its timestamp per key. It owns the buffers that keys and values are written into, so
/// that reading and writing rows allocates nothing of its own.
pub struct TimestampedStore<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The place of one key in a store: the key is serialized once for reading and writing.
pub struct StoreEntry<'s, V> {
    id: StoreId,
    name: &'s Arc<str>,
    serde: &'s Arc<dyn Serde<V>>,
    key: &'s [u8],
    buffer: &'s mut Vec<u8>,
}

// === impl TimestampedStore ===

impl<K: 'static, V: 'static> TimestampedStore<K, V> {
    /// Access to a store of the task.
    #[must_use]
    pub fn new(id: StoreId, name: Arc<str>, serdes: Serdes<K, V>) -> Self {
        Self { id, name, serdes, key: Vec::new(), value: Vec::new() }
    }

    /// The serdes of its rows.
    #[must_use]
    pub fn serdes(&self) -> &Serdes<K, V> {
        &self.serdes
    }

    /// The place of a key.
    ///
    /// # Errors
    ///
    /// When the key cannot be serialized, or is null.
    pub fn entry(&mut self, key: &K) -> Result<StoreEntry<'_, V>, ProcessError> {
        self.key_bytes(key)?;
        Ok(StoreEntry {
            id: self.id,
            name: &self.name,
            serde: self.serdes.value(),
            key: &self.key,
            buffer: &mut self.value,
        })
    }

    /// A key as bytes.
    pub(super) fn key_bytes(&mut self, key: &K) -> Result<&[u8], ProcessError> {
        self.key.clear();
        let written = match self.serdes.key().serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(SerdeError::Null { type_name: type_name::<K>() }),
            Err(error) => Err(error),
        };
        written.map_err(|source| failed(&self.name, source))?;
        Ok(&self.key)
    }

    /// The row of a key and its timestamp in ms.
    ///
    /// # Errors
    ///
    /// When the key cannot be serialized, the row cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl HasStores, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.entry(key)?.read(ctx)
    }
}

impl<K: 'static, V: 'static> fmt::Debug for TimestampedStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimestampedStore")
            .field("name", &self.name)
            .field("serdes", &self.serdes)
            .finish_non_exhaustive()
    }
}

// === impl StoreEntry ===

impl<V: 'static> StoreEntry<'_, V> {
    /// The row and its timestamp in ms.
    ///
    /// # Errors
    ///
    /// When the row cannot be deserialized or the state fails.
    pub fn read(&self, ctx: &mut impl HasStores) -> Result<Option<(V, i64)>, ProcessError> {
        let row = ctx.stores_mut().read(self.id, self.key, |row| {
            row.map(|row| Ok((self.serde.deserialize(Some(row.value))?, row.timestamp_ms))).transpose()
        })?;
        row.map_err(|source| failed(self.name, source))
    }

    /// Replaces the row; `None`, and a value that serializes as null, deletes it.
    ///
    /// # Errors
    ///
    /// When the value cannot be serialized.
    pub fn write(
        &mut self,
        ctx: &mut impl HasStores,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.buffer.clear();
        let presence = match value {
            Some(value) => self.serde.serialize(value, self.buffer).map_err(|source| failed(self.name, source))?,
            None => Presence::Null,
        };
        ctx.stores_mut().write(self.id, self.key, presence.of(self.buffer), timestamp_ms);
        Ok(())
    }

    /// Replaces the row by a value that is serialized already; `None` deletes it.
    pub fn write_bytes(&mut self, ctx: &mut impl HasStores, value: Option<&[u8]>, timestamp_ms: i64) {
        ctx.stores_mut().write(self.id, self.key, value, timestamp_ms);
    }
}

impl<V> fmt::Debug for StoreEntry<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreEntry").field("store", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

fn failed(store: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Store(Arc::clone(store)), source }
}
