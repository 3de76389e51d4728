//! Looking up rows of tables.

use std::sync::Arc;

use crate::{
    processor::{Context, ProcessError, TimedStore, TimestampedStore},
    serde::{Data, Windowed},
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

/// Rows of windows or sessions.
pub(super) struct TimedRows<K, V>(pub(super) TimedStore<K, V>);

// === impl TimedRows ===

impl<K: Data, V: Data> Lookup<Windowed<K>, V> for TimedRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &Windowed<K>) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.entry(&key.key)?.read(ctx, key.start_ms, key.end_ms)
    }
}

// === impl StoredRows ===

impl<K: Data, V: Data> Lookup<K, V> for StoredRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.get(ctx, key)
    }
}
