//! What a driver's versioned stores have.

use super::{DriverError, TopologyTestDriver};
use crate::{
    serde::{Presence, SerdeError, Serdes},
    state::{StoreId, StoreKind, TaskView},
    topology::StoreLocation,
};

use std::{any::type_name, sync::Arc};

/// A version of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestVersion<K, V> {
    /// The key of the row.
    pub key: K,
    /// The value.
    pub value: V,
    /// Since when it is valid, in ms since the epoch.
    pub valid_from_ms: i64,
    /// Up to when it was valid (exclusive), in ms since the epoch; `None` for the latest.
    pub valid_to_ms: Option<i64>,
}

// === impl TopologyTestDriver ===

impl TopologyTestDriver {
    /// All versions in a versioned store that can be read: by the bytes of their keys, then by their time.
    ///
    /// # Errors
    ///
    /// When there is no such store, or a version cannot be read with these serdes.
    pub fn versions<K: 'static, V: 'static>(
        &self,
        store: &str,
        serdes: &Serdes<K, V>,
    ) -> Result<Vec<TestVersion<K, V>>, DriverError> {
        let (view, id) = self.versioned_store(store)?;
        let mut versions = view.all_versions(id)?;
        versions.sort_by(|a, b| (&a.key, a.valid_from_ms).cmp(&(&b.key, b.valid_from_ms)));
        let read = versions.into_iter().map(|version| {
            Ok(TestVersion {
                key: serdes.key().deserialize(Some(&version.key))?,
                value: serdes.value().deserialize(Some(&version.value))?,
                valid_from_ms: version.valid_from_ms,
                valid_to_ms: version.valid_to_ms,
            })
        });
        read.collect()
    }

    /// The row that a key had at some time, in a versioned store, and since when, in ms since the epoch.
    ///
    /// # Errors
    ///
    /// When there is no such store, or key or row cannot be written and read with these serdes.
    pub fn row_as_of<K: 'static, V: 'static>(
        &self,
        store: &str,
        serdes: &Serdes<K, V>,
        key: &K,
        as_of_ms: i64,
    ) -> Result<Option<(V, i64)>, DriverError> {
        let (view, id) = self.versioned_store(store)?;
        let mut bytes = Vec::new();
        if serdes.key().serialize(key, &mut bytes)? == Presence::Null {
            return Err(SerdeError::Null { type_name: type_name::<K>() }.into());
        }
        let Some((value, valid_from_ms)) = view.get_as_of(id, &bytes, as_of_ms)?.0 else { return Ok(None) };
        Ok(Some((serdes.value().deserialize(Some(&value))?, valid_from_ms)))
    }

    fn versioned_store(&self, store: &str) -> Result<(Arc<TaskView>, StoreId), DriverError> {
        match self.resolved.store(store) {
            Some(StoreLocation::Tasks { sub_topology, id, spec }) if matches!(spec.kind, StoreKind::Versioned(_)) => {
                Ok((self.tasks[sub_topology as usize].view(), id))
            }
            _ => Err(DriverError::UnknownStore { store: store.to_owned() }),
        }
    }
}
