//! `map_values`, `filter_map_values`.

use std::{marker::PhantomData, sync::Arc};

use super::{Lookup, Rows, Table};
use crate::{
    processor::{Change, Children, Context, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, is_null},
    topology::{
        Factory,
        graph::{GraphNode, TableDef, TableKind},
    },
};

/// Gives each row a new value, or makes it absent.
struct MapValues<K, V, W, F> {
    mapper: Arc<F>,
    store: Option<TimestampedStore<K, W>>,
    sends_old: bool,
    children: Children<K, Change<W>>,
    value: PhantomData<V>,
}

/// The rows of another table with their new values.
struct MappedRows<K, V, F> {
    rows: Box<dyn Lookup<K, V>>,
    mapper: Arc<F>,
}

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// A new value for each row, with the default serde of its type.
    #[must_use]
    pub fn map_values<W, F>(&self, mapper: F) -> Table<'t, K, W>
    where
        W: Data,
        F: Fn(&K, &V) -> W + Send + Sync + 'static,
    {
        self.map_values_as("map-values", move |key, value| Some(mapper(key, value)))
    }

    /// A new value for each row, or none: then the row is deleted. Unlike [`Table::filter`] it says so for every such
    /// change, whether there was a row or not.
    #[must_use]
    pub fn filter_map_values<W, F>(&self, mapper: F) -> Table<'t, K, W>
    where
        W: Data,
        F: Fn(&K, &V) -> Option<W> + Send + Sync + 'static,
    {
        self.map_values_as("filter-map-values", mapper)
    }

    fn map_values_as<W, F>(&self, operator: &'static str, mapper: F) -> Table<'t, K, W>
    where
        W: Data,
        F: Fn(&K, &V) -> Option<W> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let of_rows = Arc::clone(&mapper);
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| MapValues {
            mapper: Arc::clone(&mapper),
            store: task.store(id),
            sends_old: task.sends_old(id),
            children: task.changes(id),
            value: PhantomData::<V>,
        });
        let serdes = self.serdes.values();
        let table = TableDef::new(TableKind::Derived, vec![self.node], serdes.clone());
        let node = self.graph.borrow_mut().add(GraphNode::operator(operator, vec![self.node], factory).table(table));
        let rows = Arc::clone(&self.rows);
        let rows: Rows<K, W> =
            Arc::new(move |task| Box::new(MappedRows { rows: rows(task), mapper: Arc::clone(&of_rows) }));
        Table::derived(self.graph, node, serdes, rows)
    }
}

/// What a mapper makes of a value; a null is no row.
fn mapped<K, V, W: Data>(mapper: impl Fn(&K, &V) -> Option<W>, key: &K, value: Option<&V>) -> Option<W> {
    mapper(key, value?).filter(|mapped| !is_null(mapped))
}

// === impl MapValues ===

impl<K: Data, V: Data, W: Data, F: Fn(&K, &V) -> Option<W>> Node<K, Change<V>> for MapValues<K, V, W, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: change, timestamp_ms, headers } = record;
        let new = mapped(&*self.mapper, &key, change.new.as_ref());
        let mut row = self.store.as_mut().map(|store| store.entry(&key)).transpose()?;
        let old = match &row {
            _ if !self.sends_old => None,
            Some(row) => row.read(ctx)?.map(|(old, _)| old),
            None => mapped(&*self.mapper, &key, change.old.as_ref()),
        };
        let mut is_latest = change.is_latest;
        if let Some(row) = &mut row {
            let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
            let Some(latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
            is_latest = latest;
        }
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}

// === impl MappedRows ===

impl<K: Data, V: Data, W: Data, F: Fn(&K, &V) -> Option<W>> Lookup<K, W> for MappedRows<K, V, F> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(W, i64)>, ProcessError> {
        let Some((value, timestamp_ms)) = self.rows.get(ctx, key)? else { return Ok(None) };
        Ok(mapped(&*self.mapper, key, Some(&value)).map(|mapped| (mapped, timestamp_ms)))
    }

    fn get_as_of(&mut self, ctx: &mut Context, key: &K, as_of_ms: i64) -> Result<Option<(W, i64)>, ProcessError> {
        let Some((value, timestamp_ms)) = self.rows.get_as_of(ctx, key, as_of_ms)? else { return Ok(None) };
        Ok(mapped(&*self.mapper, key, Some(&value)).map(|mapped| (mapped, timestamp_ms)))
    }
}
