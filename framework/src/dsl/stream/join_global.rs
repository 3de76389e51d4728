//! `join_global`, `left_join_global`: with a table that is whole on every instance.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::Stream;
use crate::{
    dsl::{GlobalTable, KeyOf, OTHER_TOPOLOGY},
    processor::{Children, Context, DropReason, GlobalRows, Node, ProcessError, Record},
    serde::{Data, is_null},
    topology::{Factory, graph::GraphNode},
};

/// Looks up the row that each record refers to.
struct StreamGlobalJoin<K, L, T, W, M, F> {
    rows: GlobalRows<L, T>,
    mapper: Arc<M>,
    /// Gives no result where there is none.
    joiner: Arc<F>,
    left: bool,
    children: Children<K, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Joins each record with the global table's row that `mapper` names. Records without a row give nothing; records
    /// without a value or without a key of a row are left out (dropped).
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    #[must_use]
    pub fn join_global<L, T, G, W, M, F>(&self, table: &GlobalTable<'t, L, T>, mapper: M, joiner: F) -> Stream<'t, K, W>
    where
        L: Data,
        T: Data,
        G: KeyOf<L> + 'static,
        W: Data,
        M: Fn(&K, &V) -> G + Send + Sync + 'static,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, value: &V, row: Option<&T>| row.map(|row| joiner(key, value, row));
        self.join_global_table("join-global", table, false, mapper, joiner)
    }

    /// Joins each record with the global table's row that `mapper` names, or with `None` when there is none. Records
    /// without a value are left out (dropped).
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    #[must_use]
    pub fn left_join_global<L, T, G, W, M, F>(
        &self,
        table: &GlobalTable<'t, L, T>,
        mapper: M,
        joiner: F,
    ) -> Stream<'t, K, W>
    where
        L: Data,
        T: Data,
        G: KeyOf<L> + 'static,
        W: Data,
        M: Fn(&K, &V) -> G + Send + Sync + 'static,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, value: &V, row: Option<&T>| Some(joiner(key, value, row));
        self.join_global_table("left-join-global", table, true, mapper, joiner)
    }

    fn join_global_table<L, T, G, W, M, F>(
        &self,
        operator: &'static str,
        table: &GlobalTable<'t, L, T>,
        left: bool,
        mapper: M,
        joiner: F,
    ) -> Stream<'t, K, W>
    where
        L: Data,
        T: Data,
        G: KeyOf<L> + 'static,
        W: Data,
        M: Fn(&K, &V) -> G + Send + Sync + 'static,
        F: Fn(&K, &V, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, table.graph()), "{OTHER_TOPOLOGY}");
        let (mapper, joiner, rows) = (Arc::new(mapper), Arc::new(joiner), table.rows());
        let factory = Factory::node::<K, V, _>(move |task, id| StreamGlobalJoin {
            rows: rows(task),
            mapper: Arc::clone(&mapper),
            joiner: Arc::clone(&joiner),
            left,
            children: task.children(id),
        });
        let node = GraphNode::operator(operator, vec![self.node], factory).reads_global(table.index());
        let node = self.graph.borrow_mut().add(node);
        Stream { graph: self.graph, node, serdes: self.serdes.values(), rekeyed: self.rekeyed }
    }
}

// === impl StreamGlobalJoin ===

impl<K, V, L, T, G, W, M, F> Node<K, V> for StreamGlobalJoin<K, L, T, W, M, F>
where
    K: Data,
    V: Data,
    L: Data,
    T: Data,
    G: KeyOf<L>,
    W: Data,
    M: Fn(&K, &V) -> G,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.value) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let mapped = (self.mapper)(&record.key, &record.value);
        let row = match mapped.key().filter(|key| !is_null(*key)) {
            Some(key) => self.rows.get(ctx, key)?,
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
