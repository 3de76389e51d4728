//! `reduce`, `try_reduce`.

use std::{convert::Infallible, sync::Arc};

use super::{Grouped, aggregate::missing};
use crate::{
    dsl::{
        Table,
        fallible::{UserError, failed},
    },
    processor::{Change, Children, Context, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, is_null},
    topology::Factory,
};

/// Combines each record with the row of its key.
struct Reduce<K, V, F> {
    name: Arc<str>,
    store: TimestampedStore<K, V>,
    reducer: Arc<F>,
    sends_old: bool,
    children: Children<K, Change<V>>,
}

impl<'t, K: Data, V: Data> Grouped<'t, K, V> {
    /// Combines the values of each key: `reducer` takes the value so far and the next one and gives the new one, or `None`
    /// to delete it. The first value of a key is taken as it is. Records without key or value are left out (dropped).
    pub fn reduce<R, F>(&self, reducer: F) -> Table<'t, K, V>
    where
        R: Into<Option<V>>,
        F: Fn(V, &V) -> R + Send + Sync + 'static,
    {
        self.try_reduce(move |before, value| Ok::<_, Infallible>(reducer(before, value)))
    }

    /// [`Grouped::reduce`] with a reducer that may fail.
    pub fn try_reduce<R, E, F>(&self, reducer: F) -> Table<'t, K, V>
    where
        R: Into<Option<V>>,
        E: UserError,
        F: Fn(V, &V) -> Result<R, E> + Send + Sync + 'static,
    {
        let reducer = Arc::new(reducer);
        let factory = Factory::node::<K, V, _>(move |task, id| Reduce {
            name: task.name(id),
            store: task.own_store(id),
            reducer: Arc::clone(&reducer),
            sends_old: task.sends_old(id),
            children: task.changes(id),
        });
        self.aggregated_with("reduce", self.stream.serdes().clone(), factory)
    }
}

// === impl Reduce ===

impl<K, V, R, E, F> Node<K, V> for Reduce<K, V, F>
where
    K: Data,
    V: Data,
    R: Into<Option<V>>,
    E: UserError,
    F: Fn(V, &V) -> Result<R, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if let Some(reason) = missing(&record) {
            ctx.drop_record(reason);
            return Ok(());
        }
        let Record { key, value, timestamp_ms, headers } = record;
        let mut row = self.store.entry(&key)?;
        let (new, old, latest_ms) = match row.read(ctx)? {
            Some((before, before_ms)) => {
                let old = self.sends_old.then(|| before.clone());
                let new = (self.reducer)(before, &value).map_err(|error| failed(&self.name, error))?;
                let new = new.into().filter(|new| !is_null(new));
                (new, old, timestamp_ms.max(before_ms))
            }
            None => (Some(value), None, timestamp_ms),
        };
        // A deletion is logged at the time of what deletes; among versions it follows the row's.
        let at_ms = if new.is_some() || row.keeps_versions() { latest_ms } else { timestamp_ms };
        let written = row.write(ctx, new.as_ref(), at_ms)?;
        let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
        let value = Change { new, old, is_latest };
        self.children.forward(ctx, Record { key, value, timestamp_ms: latest_ms, headers })
    }
}
