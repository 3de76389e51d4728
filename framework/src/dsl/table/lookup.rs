//! Looking up rows of tables.

use std::sync::Arc;

use crate::{
    processor::{Context, ProcessError, TimestampedStore},
    serde::Data,
    topology::Instantiation,
};

/// Access to the rows of a table, kept or not.
pub(in crate::dsl) trait Lookup<K, V> {
    /// The row of a key and its timestamp in ms.
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError>;
}

/// Makes the access to the rows of a table for a task.
pub(in crate::dsl) type Rows<K, V> = Arc<dyn Fn(&mut Instantiation<'_>) -> Box<dyn Lookup<K, V>> + Send + Sync>;

/// Rows that are kept.
pub(super) struct StoredRows<K, V>(pub(super) TimestampedStore<K, V>);

// === impl StoredRows ===

impl<K: Data, V: Data> Lookup<K, V> for StoredRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.get(ctx, key)
    }
}
