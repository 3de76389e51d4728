//! `count`, `aggregate`, `reduce` and those that may fail.

use std::{convert::Infallible, sync::Arc};

use super::GroupedTable;
use crate::{
    dsl::{
        Table,
        fallible::{UserError, failed},
    },
    processor::{Change, Children, Context, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, Serdes, is_null},
    topology::Factory,
};

/// Takes what rows were before out of the aggregate of their group, and what they are now in.
struct Aggregate<K, A, F, G> {
    name: Arc<str>,
    store: TimestampedStore<K, A>,
    /// Takes the aggregate so far, if there is one.
    adder: Arc<F>,
    subtractor: Arc<G>,
    sends_old: bool,
    children: Children<K, Change<A>>,
}

impl<'t, K: Data, V: Data> GroupedTable<'t, K, V> {
    /// How many rows each group has. The count of a group that has lost its last row stays, as 0.
    pub fn count(&self) -> Table<'t, K, i64> {
        let adder = |_: &K, _: V, count: Option<i64>| Ok::<_, Infallible>(Some(count.unwrap_or(0) + 1));
        let subtractor = |_: &K, _: &V, count: i64| Ok::<_, Infallible>(Some(count - 1));
        self.aggregate_as("count", self.serdes.values(), adder, subtractor)
    }

    /// Folds the rows of each group: `adder` and `subtractor` take the group's key, a row's value and the aggregate so far, and give the
    /// new one, or `None` to delete it. Where there is none, `adder` gets that of `initializer`, and `subtractor` is not called.
    pub fn aggregate<A, R, S, I, F, G>(&self, initializer: I, adder: F, subtractor: G) -> Table<'t, K, A>
    where
        A: Data,
        R: Into<Option<A>>,
        S: Into<Option<A>>,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
        G: Fn(&K, &V, A) -> S + Send + Sync + 'static,
    {
        self.try_aggregate(
            initializer,
            move |key, value, so_far| Ok::<_, Infallible>(adder(key, value, so_far)),
            move |key, value, so_far| Ok(subtractor(key, value, so_far)),
        )
    }

    /// [`GroupedTable::aggregate`] with functions that may fail.
    pub fn try_aggregate<A, R, S, E, I, F, G>(&self, initializer: I, adder: F, subtractor: G) -> Table<'t, K, A>
    where
        A: Data,
        R: Into<Option<A>>,
        S: Into<Option<A>>,
        E: UserError,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> Result<R, E> + Send + Sync + 'static,
        G: Fn(&K, &V, A) -> Result<S, E> + Send + Sync + 'static,
    {
        let adder = move |key: &K, value: V, so_far: Option<A>| {
            adder(key, &value, so_far.unwrap_or_else(&initializer)).map(Into::into)
        };
        let subtractor = move |key: &K, value: &V, so_far: A| subtractor(key, value, so_far).map(Into::into);
        self.aggregate_as("aggregate", self.serdes.values(), adder, subtractor)
    }

    /// Combines the rows of each group: `adder` and `subtractor` take the value so far and that of a row, and give the new one, or
    /// `None` to delete it. The first value of a group is taken as it is; where there is none, `subtractor` is not called.
    pub fn reduce<R, S, F, G>(&self, adder: F, subtractor: G) -> Table<'t, K, V>
    where
        R: Into<Option<V>>,
        S: Into<Option<V>>,
        F: Fn(V, &V) -> R + Send + Sync + 'static,
        G: Fn(V, &V) -> S + Send + Sync + 'static,
    {
        self.try_reduce(
            move |so_far, value| Ok::<_, Infallible>(adder(so_far, value)),
            move |so_far, value| Ok(subtractor(so_far, value)),
        )
    }

    /// [`GroupedTable::reduce`] with functions that may fail.
    pub fn try_reduce<R, S, E, F, G>(&self, adder: F, subtractor: G) -> Table<'t, K, V>
    where
        R: Into<Option<V>>,
        S: Into<Option<V>>,
        E: UserError,
        F: Fn(V, &V) -> Result<R, E> + Send + Sync + 'static,
        G: Fn(V, &V) -> Result<S, E> + Send + Sync + 'static,
    {
        let adder = move |_: &K, value: V, so_far: Option<V>| match so_far {
            Some(so_far) => adder(so_far, &value).map(Into::into),
            None => Ok(Some(value)),
        };
        let subtractor = move |_: &K, value: &V, so_far: V| subtractor(so_far, value).map(Into::into);
        self.aggregate_as("reduce", self.serdes.clone(), adder, subtractor)
    }

    fn aggregate_as<A, E, F, G>(
        &self,
        operator: &'static str,
        serdes: Serdes<K, A>,
        adder: F,
        subtractor: G,
    ) -> Table<'t, K, A>
    where
        A: Data,
        E: UserError,
        F: Fn(&K, V, Option<A>) -> Result<Option<A>, E> + Send + Sync + 'static,
        G: Fn(&K, &V, A) -> Result<Option<A>, E> + Send + Sync + 'static,
    {
        let (adder, subtractor) = (Arc::new(adder), Arc::new(subtractor));
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| Aggregate {
            name: task.name(id),
            store: task.own_store(id),
            adder: Arc::clone(&adder),
            subtractor: Arc::clone(&subtractor),
            sends_old: task.sends_old(id),
            children: task.changes(id),
        });
        self.aggregated(operator, serdes, factory)
    }
}

// === impl Aggregate ===

impl<K, V, A, E, F, G> Node<K, Change<V>> for Aggregate<K, A, F, G>
where
    K: Data,
    V: Data,
    A: Data,
    E: UserError,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, E>,
    G: Fn(&K, &V, A) -> Result<Option<A>, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: change, timestamp_ms, headers } = record;
        let mut row = self.store.entry(&key)?;
        let (before, timestamp_ms) = match row.read(ctx)? {
            Some((before, before_ms)) => (Some(before), timestamp_ms.max(before_ms)),
            None => (None, timestamp_ms),
        };
        let old = if self.sends_old { before.clone() } else { None };
        let rest = match (before, change.old) {
            (Some(before), Some(taken)) => (self.subtractor)(&key, &taken, before),
            (before, _) => Ok(before),
        };
        let rest = rest.map_err(|error| failed(&self.name, error))?.filter(|rest| !is_null(rest));
        let new = match change.new {
            Some(added) => (self.adder)(&key, added, rest),
            None => Ok(rest),
        };
        let new = new.map_err(|error| failed(&self.name, error))?.filter(|new| !is_null(new));
        let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
        let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}
