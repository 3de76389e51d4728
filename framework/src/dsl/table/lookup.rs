//! Looking up rows of tables.

use std::sync::Arc;

use crate::{
    processor::{Context, PassedOn, ProcessError, TimedStore, TimestampedStore},
    serde::{Data, Windowed},
    topology::{Instantiation, graph::NodeId},
};

/// Access to the rows of a table, kept or not.
pub(in crate::dsl) trait Lookup<K, V> {
    /// The row of a key and its timestamp in ms.
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError>;

    /// The row that a key had at some time, in ms, and its timestamp, where the table has versions or is made of one that has, row by
    /// row; else the row as it is now.
    fn get_as_of(&mut self, ctx: &mut Context, key: &K, as_of_ms: i64) -> Result<Option<(V, i64)>, ProcessError>;
}

/// Makes the access to the rows of a table for a task.
pub(in crate::dsl) type Rows<K, V> = Arc<dyn Fn(&mut Instantiation<'_>) -> Box<dyn Lookup<K, V>> + Send + Sync>;

/// Rows that are kept.
pub(super) struct StoredRows<K, V>(pub(super) TimestampedStore<K, V>);

/// Rows of windows or sessions.
pub(super) struct TimedRows<K, V>(pub(super) TimedStore<K, V>);

/// Rows as they were passed on last, of a table whose updates wait.
struct PassedOnRows<K, V, R> {
    passed_on: PassedOn<K, V>,
    rows: R,
}

/// Rows as they are, or as they were passed on last if that was asked for ([`Instantiation::as_passed_on`]) and makes a difference.
pub(super) fn as_passed_on<K: Data, V: Data>(
    task: &mut Instantiation<'_>,
    table: NodeId,
    rows: impl Lookup<K, V> + 'static,
) -> Box<dyn Lookup<K, V>> {
    match task.passed_on(table) {
        Some(passed_on) => Box::new(PassedOnRows { passed_on, rows }),
        None => Box::new(rows),
    }
}

// === impl PassedOnRows ===

impl<K: Data, V: Data, R: Lookup<K, V>> Lookup<K, V> for PassedOnRows<K, V, R> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        match self.passed_on.before(key)? {
            // Its own timestamp is not kept: it does not count.
            Some(before) => Ok(before.map(|before| (before, i64::MIN))),
            None => self.rows.get(ctx, key),
        }
    }

    /// Updates of tables that keep versions do not wait.
    fn get_as_of(&mut self, ctx: &mut Context, key: &K, _: i64) -> Result<Option<(V, i64)>, ProcessError> {
        self.get(ctx, key)
    }
}

// === impl TimedRows ===

impl<K: Data, V: Data> Lookup<Windowed<K>, V> for TimedRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &Windowed<K>) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.entry(&key.key)?.read(ctx, key.start_ms, key.end_ms)
    }

    fn get_as_of(&mut self, ctx: &mut Context, key: &Windowed<K>, _: i64) -> Result<Option<(V, i64)>, ProcessError> {
        self.get(ctx, key)
    }
}

// === impl StoredRows ===

impl<K: Data, V: Data> Lookup<K, V> for StoredRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.get(ctx, key)
    }

    fn get_as_of(&mut self, ctx: &mut Context, key: &K, as_of_ms: i64) -> Result<Option<(V, i64)>, ProcessError> {
        self.0.get_as_of(ctx, key, as_of_ms)
    }
}
