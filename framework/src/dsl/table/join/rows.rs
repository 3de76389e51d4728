//! The rows of a join that are not kept: made of the rows of both tables.

use std::sync::Arc;

use crate::{
    dsl::table::Lookup,
    processor::{Context, ProcessError},
    serde::Data,
};

/// The rows of a join.
pub(super) struct JoinedRows<K, V, T, F> {
    left: Box<dyn Lookup<K, V>>,
    right: Box<dyn Lookup<K, T>>,
    /// Gives no row where the join has none.
    joiner: Arc<F>,
}

// === impl JoinedRows ===

impl<K, V, T, F> JoinedRows<K, V, T, F> {
    pub(super) fn new(left: Box<dyn Lookup<K, V>>, right: Box<dyn Lookup<K, T>>, joiner: Arc<F>) -> Self {
        Self { left, right, joiner }
    }
}

impl<K, V, T, W, F> Lookup<K, W> for JoinedRows<K, V, T, F>
where
    K: Data,
    V: Data,
    T: Data,
    F: Fn(&K, Option<&V>, Option<&T>) -> Option<W>,
{
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(W, i64)>, ProcessError> {
        let left = self.left.get(ctx, key)?;
        let right = self.right.get(ctx, key)?;
        // A row that is there is not older than i64::MIN; without any there is no row of the join.
        let timestamp_ms =
            left.as_ref().map_or(i64::MIN, |row| row.1).max(right.as_ref().map_or(i64::MIN, |row| row.1));
        let joined = (self.joiner)(key, left.as_ref().map(|row| &row.0), right.as_ref().map(|row| &row.0));
        Ok(joined.map(|joined| (joined, timestamp_ms)))
    }

    /// A join has no versions of its own, whatever the tables have.
    fn get_as_of(&mut self, ctx: &mut Context, key: &K, _: i64) -> Result<Option<(W, i64)>, ProcessError> {
        self.get(ctx, key)
    }
}
