//! Typed access to the stores of a task.

use std::{any::type_name, fmt, sync::Arc};

use super::{ProcessError, Target, store_context::HasStores};
use crate::{
    serde::{Presence, Serde, SerdeError, Serdes},
    state::{Row, StoreId, Written},
};

/// A store of the latest value and its timestamp per key, or of all versions of each value. It owns the buffers that keys and values
/// are written into, so that reading and writing rows allocates nothing of its own.
pub struct TimestampedStore<K, V> {
    id: StoreId,
    keeps_versions: bool,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The place of one key in a store: the key is serialized once for reading and writing.
pub struct StoreEntry<'s, V> {
    id: StoreId,
    keeps_versions: bool,
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
        Self { id, keeps_versions: false, name, serdes, key: Vec::new(), value: Vec::new() }
    }

    /// The same when the store keeps versions.
    #[must_use]
    pub fn with_versions(self) -> Self {
        Self { keeps_versions: true, ..self }
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
            keeps_versions: self.keeps_versions,
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

    /// The row that a key had at some time, and since when it had it, in ms; as it is now when the store keeps no versions.
    ///
    /// # Errors
    ///
    /// As [`TimestampedStore::get`].
    pub fn get_as_of(
        &mut self,
        ctx: &mut impl HasStores,
        key: &K,
        as_of_ms: i64,
    ) -> Result<Option<(V, i64)>, ProcessError> {
        self.entry(key)?.read_as_of(ctx, as_of_ms)
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
        let stores = ctx.stores_mut();
        let row = match self.keeps_versions {
            true => stores.read_latest(self.id, self.key, |row| self.value(row))?,
            false => stores.read(self.id, self.key, |row| self.value(row))?,
        };
        row.map_err(|source| failed(self.name, source))
    }

    /// The row at some time, and since when it was so, in ms; as it is now when the store keeps no versions.
    ///
    /// # Errors
    ///
    /// When the row cannot be deserialized or the state fails.
    pub fn read_as_of(&self, ctx: &mut impl HasStores, as_of_ms: i64) -> Result<Option<(V, i64)>, ProcessError> {
        if !self.keeps_versions {
            return self.read(ctx);
        }
        let row = ctx.stores_mut().read_as_of(self.id, self.key, as_of_ms, |row| self.value(row))?;
        row.map_err(|source| failed(self.name, source))
    }

    /// Whether the store keeps versions.
    pub(crate) fn keeps_versions(&self) -> bool {
        self.keeps_versions
    }

    fn value(&self, row: Option<Row<'_>>) -> Result<Option<(V, i64)>, SerdeError> {
        row.map(|row| Ok((self.serde.deserialize(Some(row.value))?, row.timestamp_ms))).transpose()
    }

    /// Replaces the row; `None`, and a value that serializes as null, deletes it. A store that keeps versions may have a later one, or
    /// refuse the write: see [`Written`].
    ///
    /// # Errors
    ///
    /// When the value cannot be serialized; of a store that keeps versions when the state fails.
    pub fn write(
        &mut self,
        ctx: &mut impl HasStores,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<Written, ProcessError> {
        self.buffer.clear();
        let presence = match value {
            Some(value) => self.serde.serialize(value, self.buffer).map_err(|source| failed(self.name, source))?,
            None => Presence::Null,
        };
        self.write_bytes(ctx, presence.of(self.buffer), timestamp_ms)
    }

    /// Replaces the row by a value that is serialized already; `None` deletes it.
    ///
    /// # Errors
    ///
    /// Of a store that keeps versions when the state fails.
    pub fn write_bytes(
        &self,
        ctx: &mut impl HasStores,
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<Written, ProcessError> {
        if self.keeps_versions {
            return Ok(ctx.stores_mut().write_version(self.id, self.key, value, timestamp_ms)?);
        }
        ctx.stores_mut().write(self.id, self.key, value, timestamp_ms);
        Ok(Written::Latest)
    }
}

// === impl Written ===

impl Written {
    /// Whether the row is like this now; `None` when the write was refused, which counts as a record that is left out.
    pub(crate) fn is_latest_or_drop(self, ctx: &mut impl HasStores) -> Option<bool> {
        if self == Self::Refused {
            ctx.row_expired();
            return None;
        }
        Some(self.is_latest())
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
