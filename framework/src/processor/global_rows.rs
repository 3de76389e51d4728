//! The rows of global tables and stores, as tasks read them.

use std::{any::type_name, fmt, sync::Arc};

use super::{HasGlobals, ProcessError, key_value_rows::unreadable};
use crate::{
    serde::{Presence, SerdeError, Serdes},
    state::StoreId,
};

/// Access to the rows of a global table or store, which every instance has whole. They have no time: they are what they are when they are
/// read.
pub struct GlobalRows<K, V> {
    id: StoreId,
    name: Arc<str>,
    serdes: Serdes<K, V>,
    key: Vec<u8>,
}

// === impl GlobalRows ===

impl<K: 'static, V: 'static> GlobalRows<K, V> {
    pub(crate) fn new(id: StoreId, name: Arc<str>, serdes: Serdes<K, V>) -> Self {
        Self { id, name, serdes, key: Vec::new() }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the key cannot be serialized, the value cannot be deserialized, or the state fails.
    pub fn get(&mut self, ctx: &impl HasGlobals, key: &K) -> Result<Option<V>, ProcessError> {
        Ok(self.get_with_timestamp(ctx, key)?.map(|(value, _)| value))
    }

    /// The value of a key, and its timestamp in ms since the epoch; 0 when the store has none.
    ///
    /// # Errors
    /// As [`GlobalRows::get`].
    pub fn get_with_timestamp(&mut self, ctx: &impl HasGlobals, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.key.clear();
        match self.serdes.key().serialize(key, &mut self.key) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(SerdeError::Null { type_name: type_name::<K>() }),
            Err(error) => Err(error),
        }
        .map_err(|source| unreadable(&self.name, source))?;
        let serde = self.serdes.value();
        let row = ctx.globals().read(self.id, &self.key, |row| {
            row.map(|row| Ok((serde.deserialize(Some(row.value))?, row.timestamp_ms))).transpose()
        })?;
        row.map_err(|source| unreadable(&self.name, source))
    }
}

impl<K, V> fmt::Debug for GlobalRows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalRows").field("name", &self.name).finish_non_exhaustive()
    }
}
