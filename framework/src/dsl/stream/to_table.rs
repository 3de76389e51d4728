//! `to_table`.

use super::Stream;
use crate::{
    dsl::Table,
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, is_null},
    topology::{
        Factory,
        graph::{GraphNode, TableDef, TableKind},
    },
};

/// Takes records as changes, and keeps the rows if someone needs them.
struct ToTable<K, V> {
    store: Option<TimestampedStore<K, V>>,
    sends_old: bool,
    children: Children<K, Change<V>>,
}

/// Says that values may be null.
struct NullableValues<K, V>(Children<K, Option<V>>);

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// The same records, of whose values none is null: for what takes streams whose values may be, as [`Stream::to_table`] does.
    #[must_use]
    pub fn nullable_values(&self) -> Stream<'t, K, Option<V>> {
        self.attach("nullable-values", self.serdes.nullable_values(), NullableValues)
    }
}

impl<'t, K: Data, V: Data> Stream<'t, K, Option<V>> {
    /// The stream as a table: a record replaces the row of its key, a null value deletes it (`toTable` of Kafka Streams). Records without
    /// a key are left out (dropped). The order of the records decides: an update with an older timestamp than the row's is applied too,
    /// unless the table keeps versions ([`Table::versioned`]).
    ///
    /// A stream whose values are never null says so with [`Stream::nullable_values`] first.
    #[must_use]
    pub fn to_table(&self) -> Table<'t, K, V> {
        let placed = self.placed(None);
        let serdes = self.serdes.present_values();
        let table = TableDef::new(TableKind::Source, Vec::new(), serdes.clone());
        let factory = table_factory::<K, V>();
        let node = GraphNode::operator("to-table", vec![placed.stream.node], factory).table(table);
        let node = self.graph.borrow_mut().add(node);
        placed.made_for(node);
        Table::stored(self.graph, node, serdes)
    }
}

/// Makes nodes that take records as changes of a table of the kind [`TableKind::Source`].
pub(in crate::dsl) fn table_factory<K: Data, V: Data>() -> Factory {
    Factory::node::<K, Option<V>, _>(|task, id| ToTable::<K, V> {
        store: task.store(id),
        sends_old: task.sends_old(id),
        children: task.changes(id),
    })
}

// === impl ToTable ===

impl<K: Data, V: Data> Node<K, Option<V>> for ToTable<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Option<V>>) -> Result<(), ProcessError> {
        let Record { key, value, timestamp_ms, headers } = record;
        if is_null(&key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let new = value.filter(|value| !is_null(value));
        let (mut old, mut is_latest) = (None, true);
        if let Some(store) = &mut self.store {
            let mut row = store.entry(&key)?;
            if self.sends_old {
                old = row.read(ctx)?.map(|(old, _)| old);
            }
            let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
            let Some(latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
            is_latest = latest;
        }
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}

// === impl NullableValues ===

impl<K: Data, V: Data> Node<K, V> for NullableValues<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let Record { key, value, timestamp_ms, headers } = record;
        self.0.forward(ctx, Record { key, value: Some(value), timestamp_ms, headers })
    }
}
