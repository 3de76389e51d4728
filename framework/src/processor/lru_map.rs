//! Bounded maps, for users' processors.

use std::{any::type_name, fmt, sync::Arc};

use super::{ProcessError, ProcessorStore, StoreContext, StorePlace, key_value_rows::unreadable};
use crate::{
    serde::{Presence, SerdeError, Serdes},
    state::StoreId,
};

/// The latest value per key of a bounded number of keys (`Stores.lruMap` of Kafka Streams), for a [`Processor`](super::Processor): when
/// there is one too many, the one goes that was read or written least recently. It is in memory, and logged: a restart finds the same
/// entries, but has forgotten when they were read.
pub struct LruMap<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
    value: Vec<u8>,
}

// === impl LruMap ===

impl<K: 'static, V: 'static> LruMap<K, V> {
    /// The value of a key, which was used now.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<V>, ProcessError> {
        self.write_key(key)?;
        let serde = self.serdes.value();
        let value = ctx
            .stores_mut()
            .read_lru(self.id, &self.key, |row| row.map(|row| serde.deserialize(Some(row.value))).transpose())?;
        value.map_err(|source| unreadable(&self.name, source))
    }

    /// Sets the value of a key, which was used now.
    ///
    /// # Errors
    /// When key or value cannot be serialized, or the state fails.
    pub fn put(&mut self, ctx: &mut impl StoreContext, key: &K, value: &V) -> Result<(), ProcessError> {
        self.write_key(key)?;
        self.value.clear();
        let presence = self.serdes.value().serialize(value, &mut self.value);
        let presence = presence.map_err(|source| unreadable(&self.name, source))?;
        let timestamp_ms = ctx.timestamp_ms();
        Ok(ctx.stores_mut().write_lru(self.id, &self.key, presence.of(&self.value), timestamp_ms)?)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When the key cannot be serialized, or the state fails.
    pub fn delete(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<(), ProcessError> {
        self.write_key(key)?;
        let timestamp_ms = ctx.timestamp_ms();
        Ok(ctx.stores_mut().write_lru(self.id, &self.key, None, timestamp_ms)?)
    }

    /// Deletes a key and gives the value that it had.
    ///
    /// # Errors
    /// As [`LruMap::get`].
    pub fn remove(&mut self, ctx: &mut impl StoreContext, key: &K) -> Result<Option<V>, ProcessError> {
        let value = self.get(ctx, key)?;
        self.delete(ctx, key)?;
        Ok(value)
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// When the state fails.
    pub fn entries(&self, ctx: &mut impl StoreContext) -> Result<u64, ProcessError> {
        Ok(ctx.stores_mut().lru_entries(self.id)?)
    }

    fn write_key(&mut self, key: &K) -> Result<(), ProcessError> {
        self.key.clear();
        match self.serdes.key().serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(unreadable(&self.name, SerdeError::Null { type_name: type_name::<K>() })),
            Err(error) => Err(unreadable(&self.name, error)),
        }
    }
}

impl<K: 'static, V: 'static> ProcessorStore for LruMap<K, V> {
    type Key = K;
    type Value = V;

    fn open(place: StorePlace<K, V>) -> Self {
        let StorePlace { id, name, serdes, .. } = place;
        Self { id, name, serdes, key: Vec::new(), value: Vec::new() }
    }
}

impl<K, V> fmt::Debug for LruMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruMap").field("name", &self.name).finish_non_exhaustive()
    }
}
