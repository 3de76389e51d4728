//! `filter`, `filter_not`.

use std::sync::Arc;

use super::{Lookup, Rows, Table};
use crate::{
    processor::{Change, Children, Context, Node, ProcessError, Record, TimestampedStore},
    serde::Data,
    topology::{
        Factory,
        graph::{GraphNode, TableDef, TableKind},
    },
};

/// Makes rows absent for which the predicate does not say what is wanted.
struct Filter<K, V, F> {
    condition: Condition<F>,
    store: Option<TimestampedStore<K, V>>,
    sends_old: bool,
    /// Whether the rows that it filters are versions.
    of_versions: bool,
    children: Children<K, Change<V>>,
}

/// The rows of another table for which the predicate says what is wanted.
struct FilteredRows<K, V, F> {
    rows: Box<dyn Lookup<K, V>>,
    condition: Condition<F>,
}

/// What a row must satisfy.
struct Condition<F> {
    predicate: Arc<F>,
    wanted: bool,
}

impl<K: Data, V: Data> Table<'_, K, V> {
    /// The rows for which the predicate holds. A row for which it does not hold any more is deleted; a change that is not
    /// seen on either side gives nothing, as far as old values are known (they are when the table has a store, other than one that
    /// keeps versions).
    #[must_use]
    pub fn filter<F>(&self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_by("filter", predicate, true)
    }

    /// The rows for which the predicate does not hold. See [`Table::filter`].
    #[must_use]
    pub fn filter_not<F>(&self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_by("filter-not", predicate, false)
    }

    fn filter_by<F>(&self, operator: &'static str, predicate: F, wanted: bool) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let condition = Condition { predicate: Arc::new(predicate), wanted };
        let (of_node, of_rows) = (condition.clone(), condition);
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| Filter {
            condition: of_node.clone(),
            store: task.store(id),
            sends_old: task.sends_old(id),
            of_versions: task.is_made_of_versions(id),
            children: task.changes(id),
        });
        let table = TableDef::new(TableKind::Derived, vec![self.node], self.serdes.clone());
        let node = self.graph.borrow_mut().add(GraphNode::operator(operator, vec![self.node], factory).table(table));
        // Without old values it would have to send a deletion for every update that does not pass.
        self.graph.borrow_mut().send_old_values(node, false);
        let rows = Arc::clone(&self.rows);
        let rows: Rows<K, V> =
            Arc::new(move |task| Box::new(FilteredRows { rows: rows(task), condition: of_rows.clone() }));
        Self::derived(self.graph, node, self.serdes.clone(), rows)
    }
}

// === impl Filter ===

impl<K: Data, V: Data, F: Fn(&K, &V) -> bool> Node<K, Change<V>> for Filter<K, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: Change { new, old, mut is_latest }, timestamp_ms, headers } = record;
        let new = new.filter(|new| self.condition.holds(&key, new));
        let mut row = self.store.as_mut().map(|store| store.entry(&key)).transpose()?;
        let old = match &row {
            _ if !self.sends_old => None,
            Some(row) => row.read(ctx)?.map(|(old, _)| old),
            None => old.filter(|old| self.condition.holds(&key, old)),
        };
        // Of versions the old value may be another one than that before this.
        if self.sends_old && !self.of_versions && new.is_none() && old.is_none() {
            return Ok(());
        }
        if let Some(row) = &mut row {
            let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
            let Some(latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
            is_latest = latest;
        }
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}

// === impl FilteredRows ===

impl<K: Data, V: Data, F: Fn(&K, &V) -> bool> Lookup<K, V> for FilteredRows<K, V, F> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        Ok(self.rows.get(ctx, key)?.filter(|(row, _)| self.condition.holds(key, row)))
    }

    fn get_as_of(&mut self, ctx: &mut Context, key: &K, as_of_ms: i64) -> Result<Option<(V, i64)>, ProcessError> {
        Ok(self.rows.get_as_of(ctx, key, as_of_ms)?.filter(|(row, _)| self.condition.holds(key, row)))
    }
}

// === impl Condition ===

impl<F> Condition<F> {
    fn holds<K, V>(&self, key: &K, value: &V) -> bool
    where
        F: Fn(&K, &V) -> bool,
    {
        (self.predicate)(key, value) == self.wanted
    }
}

impl<F> Clone for Condition<F> {
    fn clone(&self) -> Self {
        Self { predicate: Arc::clone(&self.predicate), wanted: self.wanted }
    }
}
