//! `join`, `left_join` with a table.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::Stream;
use crate::{
    dsl::{KeyOf, OTHER_TOPOLOGY, Table, table::Lookup},
    processor::{Children, Context, DropReason, Node, ProcessError, Record},
    serde::{Data, is_null},
    topology::{Factory, graph::GraphNode},
};

/// Looks up each record's row.
struct StreamTableJoin<K, L, T, W, F> {
    rows: Box<dyn Lookup<L, T>>,
    /// Gives no result where there is none.
    joiner: Arc<F>,
    left: bool,
    children: Children<K, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Joins each record with the table's row of its key, as it is when the record is processed; where the table keeps versions
    /// ([`Table::versioned`]), as it was at the record's time. Records without a row give nothing. Records without key or value are left
    /// out (dropped).
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    #[must_use]
    pub fn join<L, T, W, F>(&self, table: &Table<'t, L, T>, joiner: F) -> Stream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        self.join_table("join", table, false, move |key, value, row| row.map(|row| joiner(key, value, row)))
    }

    /// Joins each record with the table's row of its key, or with `None` when there is none. Records without a value are
    /// left out (dropped).
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    #[must_use]
    pub fn left_join<L, T, W, F>(&self, table: &Table<'t, L, T>, joiner: F) -> Stream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        self.join_table("left-join", table, true, move |key, value, row| Some(joiner(key, value, row)))
    }

    fn join_table<L, T, W, F>(
        &self,
        operator: &'static str,
        table: &Table<'t, L, T>,
        left: bool,
        joiner: F,
    ) -> Stream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, table.graph()), "{OTHER_TOPOLOGY}");
        let placed = self.placed(None);
        let (joiner, rows) = (Arc::new(joiner), table.readable());
        let factory = Factory::node::<K, V, _>(move |task, id| StreamTableJoin {
            rows: rows(task),
            joiner: Arc::clone(&joiner),
            left,
            children: task.children(id),
        });
        let node = GraphNode::operator(operator, vec![placed.stream.node], factory);
        let mut graph = self.graph.borrow_mut();
        let node = graph.add(node.reads(table.node()).takes_null_keys(left));
        graph.join(placed.stream.node, table.node());
        drop(graph);
        placed.made_for(node);
        Stream::new(self.graph, node, placed.stream.serdes.values())
    }
}

// === impl StreamTableJoin ===

impl<K, V, L, T, W, F> Node<K, V> for StreamTableJoin<K, L, T, W, F>
where
    K: Data + KeyOf<L>,
    V: Data,
    L: Data,
    W: Data,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let key = record.key.key().filter(|key| !is_null(*key));
        if is_null(&record.value) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let row = match key {
            Some(key) => self.rows.get_as_of(ctx, key, record.timestamp_ms)?.map(|(row, _)| row),
            None if self.left => None,
            None => {
                ctx.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        match (self.joiner)(&record.key, &record.value, row.as_ref()) {
            Some(value) => self.children.forward(ctx, record.with_value(value)),
            None => Ok(()),
        }
    }
}
