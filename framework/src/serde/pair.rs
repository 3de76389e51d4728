//! The serdes of a stream or table: one for keys, one for values.

use std::{fmt, sync::Arc};

use super::{Data, Format, Json, Nullable, Present, Serde, SerdeError, default_serde};

/// Serdes of keys and values. Cheap to clone.
pub struct Serdes<K, V> {
    key: Arc<dyn Serde<K>>,
    value: Arc<dyn Serde<V>>,
}

// === impl Serdes ===

impl<K: 'static, V: 'static> Serdes<K, V> {
    /// These two.
    pub fn new(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self::of(Arc::new(key), Arc::new(value))
    }

    /// JSON values, and keys by the default serde of their type.
    #[must_use]
    pub fn json() -> Self
    where
        K: Data,
        V: Data,
    {
        Self::of(default_serde(), Arc::new(Json))
    }

    /// These two, which may be shared.
    #[must_use]
    pub fn of(key: Arc<dyn Serde<K>>, value: Arc<dyn Serde<V>>) -> Self {
        Self { key, value }
    }

    /// The serde of keys.
    #[must_use]
    pub fn key(&self) -> &Arc<dyn Serde<K>> {
        &self.key
    }

    /// The serde of values.
    #[must_use]
    pub fn value(&self) -> &Arc<dyn Serde<V>> {
        &self.value
    }

    /// The formats of keys and values.
    #[must_use]
    pub fn formats(&self) -> (Format, Format) {
        (self.key.format(), self.value.format())
    }

    /// Whether the other ones have the very same serde of values.
    pub(crate) fn same_values(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.value), Arc::as_ptr(&other.value))
    }

    /// The same keys, other values by the default serde of their type.
    pub(crate) fn values<W: Data>(&self) -> Serdes<K, W> {
        Serdes::of(Arc::clone(&self.key), default_serde())
    }

    /// The same values, other keys by this serde.
    pub(crate) fn keyed_by<L: 'static>(&self, key: Arc<dyn Serde<L>>) -> Serdes<L, V> {
        Serdes::of(key, Arc::clone(&self.value))
    }

    /// The same values, other keys by the default serde of their type.
    pub(crate) fn keys<L: Data>(&self) -> Serdes<L, V> {
        Serdes::of(default_serde(), Arc::clone(&self.value))
    }

    /// The same, and values may be null.
    pub(crate) fn nullable_values(&self) -> Serdes<K, Option<V>>
    where
        V: Data,
    {
        Serdes::of(Arc::clone(&self.key), Nullable::of(&self.value))
    }
}

impl<K: 'static, V: Data> Serdes<K, Option<V>> {
    /// The same without null values.
    pub(crate) fn present_values(&self) -> Serdes<K, V> {
        Serdes::of(Arc::clone(&self.key), Present::of(&self.value))
    }
}

impl<K: Data, V: 'static> Serdes<Option<K>, V> {
    /// The same without null keys.
    pub(crate) fn present_keys(&self) -> Serdes<K, V> {
        Serdes::of(Present::of(&self.key), Arc::clone(&self.value))
    }
}

impl<K: Data, V: Data> Default for Serdes<K, V> {
    /// Keys and values by the default serde of their type.
    fn default() -> Self {
        Self::of(default_serde(), default_serde())
    }
}

impl<K, V> Clone for Serdes<K, V> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), value: Arc::clone(&self.value) }
    }
}

impl<K: 'static, V: 'static> fmt::Debug for Serdes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serdes").field("key", &self.key.format()).field("value", &self.value.format()).finish()
    }
}

/// A serde that is shared is one too.
impl<T: 'static> Serde<T> for Arc<dyn Serde<T>> {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<super::Presence, SerdeError> {
        (**self).serialize(value, out)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        (**self).deserialize(bytes)
    }

    fn format(&self) -> Format {
        (**self).format()
    }
}
