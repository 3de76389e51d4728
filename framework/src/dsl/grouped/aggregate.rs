//! `aggregate`, `try_aggregate`, `count`.

use std::{convert::Infallible, sync::Arc};

use super::Grouped;
use crate::{
    dsl::{
        Table,
        fallible::{UserError, failed},
    },
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, is_null},
    topology::Factory,
};

/// Folds each record into the row of its key.
struct Aggregate<K, A, I, F> {
    name: Arc<str>,
    store: TimestampedStore<K, A>,
    initializer: Arc<I>,
    aggregator: Arc<F>,
    sends_old: bool,
    sends_initial: bool,
    children: Children<K, Change<A>>,
}

impl<'t, K: Data, V: Data> Grouped<'t, K, V> {
    /// How many records each key has. Records without key or value are left out (dropped).
    pub fn count(&self) -> Table<'t, K, i64> {
        self.aggregate_as("count", || 0, |_, _, count: i64| Ok::<_, Infallible>(count + 1))
    }

    /// Folds the records of each key: `aggregator` takes key, value and the aggregate so far (that of `initializer` when
    /// there is none) and gives the new one, or `None` to delete it. Records without key or value are left out (dropped).
    pub fn aggregate<A, R, I, F>(&self, initializer: I, aggregator: F) -> Table<'t, K, A>
    where
        A: Data,
        R: Into<Option<A>>,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
    {
        self.try_aggregate(initializer, move |key, value, before| Ok::<_, Infallible>(aggregator(key, value, before)))
    }

    /// [`Grouped::aggregate`] with an aggregator that may fail.
    pub fn try_aggregate<A, R, E, I, F>(&self, initializer: I, aggregator: F) -> Table<'t, K, A>
    where
        A: Data,
        R: Into<Option<A>>,
        E: UserError,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> Result<R, E> + Send + Sync + 'static,
    {
        self.aggregate_as("aggregate", initializer, aggregator)
    }

    fn aggregate_as<A, R, E, I, F>(&self, operator: &'static str, initializer: I, aggregator: F) -> Table<'t, K, A>
    where
        A: Data,
        R: Into<Option<A>>,
        E: UserError,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> Result<R, E> + Send + Sync + 'static,
    {
        self.aggregated(operator, nodes::<K, V, A, R, E, I, F>(initializer, aggregator))
    }
}

/// Makes the nodes of an aggregation.
pub(in crate::dsl) fn nodes<K, V, A, R, E, I, F>(initializer: I, aggregator: F) -> Factory
where
    K: Data,
    V: Data,
    A: Data,
    R: Into<Option<A>>,
    E: UserError,
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> Result<R, E> + Send + Sync + 'static,
{
    let (initializer, aggregator) = (Arc::new(initializer), Arc::new(aggregator));
    Factory::node::<K, V, _>(move |task, id| {
        let table = task.table_of(id);
        Aggregate {
            name: task.name(id),
            store: task.own_store(table),
            initializer: Arc::clone(&initializer),
            aggregator: Arc::clone(&aggregator),
            sends_old: task.sends_old(table),
            sends_initial: task.sends_initial(table),
            children: task.changes(id),
        }
    })
}

// === impl Aggregate ===

impl<K, V, A, R, E, I, F> Node<K, V> for Aggregate<K, A, I, F>
where
    K: Data,
    V: Data,
    A: Data,
    R: Into<Option<A>>,
    E: UserError,
    I: Fn() -> A,
    F: Fn(&K, &V, A) -> Result<R, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if let Some(reason) = missing(&record) {
            ctx.drop_record(reason);
            return Ok(());
        }
        let mut row = self.store.entry(&record.key)?;
        let (before, timestamp_ms, sends_old) = match row.read(ctx)? {
            Some((before, timestamp_ms)) => (before, record.timestamp_ms.max(timestamp_ms), self.sends_old),
            None => ((self.initializer)(), record.timestamp_ms, self.sends_initial),
        };
        let old = sends_old.then(|| before.clone());
        let new = (self.aggregator)(&record.key, &record.value, before).map_err(|error| failed(&self.name, error))?;
        let new = new.into().filter(|new| !is_null(new));
        // A deletion is logged at the time of what deletes; among versions it follows the row's.
        let at_ms = if new.is_some() || row.keeps_versions() { timestamp_ms } else { record.timestamp_ms };
        let written = row.write(ctx, new.as_ref(), at_ms)?;
        let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
        self.children.forward(ctx, record.with_value(Change { new, old, is_latest }).at(timestamp_ms))
    }
}

/// Why a record cannot be aggregated, if it cannot.
pub(super) fn missing<K: Data, V: Data>(record: &Record<K, V>) -> Option<DropReason> {
    if is_null(&record.key) {
        Some(DropReason::NullKey)
    } else if is_null(&record.value) {
        Some(DropReason::NullValue)
    } else {
        None
    }
}
