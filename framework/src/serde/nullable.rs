//! From a serde of `T` to one of `Option<T>`, and back.

use std::{any::Any, fmt, sync::Arc};

use super::{Data, Format, Json, Presence, Serde, SerdeError};

/// Serde of `Option<T>`: null is `None`, everything else is left to the serde of `T`.
pub struct Nullable<T> {
    inner: Arc<dyn Serde<T>>,
}

/// Serde of `T` by one of `Option<T>`: null is an error.
pub struct Present<T> {
    inner: Arc<dyn Serde<Option<T>>>,
}

// === impl Nullable ===

impl<T: 'static> Nullable<T> {
    /// Wraps a serde.
    #[must_use]
    pub fn new(inner: Arc<dyn Serde<T>>) -> Self {
        Self { inner }
    }

    /// The serde of `Option<T>` that belongs to one of `T`.
    pub(super) fn of(serde: &Arc<dyn Serde<T>>) -> Arc<dyn Serde<Option<T>>>
    where
        T: Data,
    {
        match (&**serde as &dyn Any).is::<Json>() {
            true => Arc::new(Json),
            false => Arc::new(Self::new(Arc::clone(serde))),
        }
    }
}

impl<T: 'static> Serde<Option<T>> for Nullable<T> {
    fn serialize(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        match value {
            Some(value) => self.inner.serialize(value, out),
            None => Ok(Presence::Null),
        }
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Option<T>, SerdeError> {
        bytes.map(|bytes| self.inner.deserialize(Some(bytes))).transpose()
    }

    fn format(&self) -> Format {
        self.inner.format()
    }
}

impl<T> fmt::Debug for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nullable").finish_non_exhaustive()
    }
}

// === impl Present ===

impl<T: Data> Present<T> {
    /// Wraps a serde. Writing clones the value.
    #[must_use]
    pub fn new(inner: Arc<dyn Serde<Option<T>>>) -> Self {
        Self { inner }
    }

    /// The serde of `T` that belongs to one of `Option<T>`.
    pub(super) fn of(serde: &Arc<dyn Serde<Option<T>>>) -> Arc<dyn Serde<T>> {
        let any: &dyn Any = &**serde;
        if let Some(nullable) = any.downcast_ref::<Nullable<T>>() {
            return Arc::clone(&nullable.inner);
        }
        match any.is::<Json>() {
            true => Arc::new(Json),
            false => Arc::new(Self::new(Arc::clone(serde))),
        }
    }
}

impl<T: Data> Serde<T> for Present<T> {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Presence, SerdeError> {
        self.inner.serialize(&Some(value.clone()), out)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let null = || SerdeError::Null { type_name: std::any::type_name::<T>() };
        self.inner.deserialize(bytes)?.ok_or_else(null)
    }

    fn format(&self) -> Format {
        self.inner.format()
    }
}

impl<T> fmt::Debug for Present<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present").finish_non_exhaustive()
    }
}
