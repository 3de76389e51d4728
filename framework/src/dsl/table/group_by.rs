//! `group_by`, `try_group_by`.

use std::{convert::Infallible, sync::Arc};

use super::Table;
use crate::{
    dsl::{
        GroupedTable,
        fallible::{UserError, failed},
    },
    processor::{Change, Children, Context, Node, ProcessError, Record},
    serde::{Data, is_null},
    topology::{Factory, graph::GraphNode},
};

/// Gives each row a new key and value. A change of a row so becomes one of a row under its old and one under its new key.
struct GroupBy<L, W, F> {
    name: Arc<str>,
    mapper: Arc<F>,
    children: Children<(), Change<(L, W)>>,
}

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// Groups rows by a new key, each with a new value, both with the default serde of their type, to aggregate them. A row for which the
    /// mapper gives a null as key or value belongs to no group.
    ///
    /// Changes always go through a repartition topic, and take old values with them: where a row has left a group, what it had added
    /// is subtracted. This is `groupBy` of Kafka Streams' `KTable`, and its format.
    #[must_use]
    pub fn group_by<L, W, F>(&self, mapper: F) -> GroupedTable<'t, L, W>
    where
        L: Data,
        W: Data,
        F: Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
    {
        self.try_group_by(move |key, value| Ok::<_, Infallible>(mapper(key, value)))
    }

    /// [`Table::group_by`] with a function that may fail.
    #[must_use]
    pub fn try_group_by<L, W, E, F>(&self, mapper: F) -> GroupedTable<'t, L, W>
    where
        L: Data,
        W: Data,
        E: UserError,
        F: Fn(&K, &V) -> Result<(L, W), E> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| GroupBy::<L, W, F> {
            name: task.name(id),
            mapper: Arc::clone(&mapper),
            children: task.children(id),
        });
        let mut graph = self.graph.borrow_mut();
        graph.send_old_values(self.node, true);
        let node = graph.add(GraphNode::operator("group-by", vec![self.node], factory));
        drop(graph);
        GroupedTable::new(self.graph, node)
    }
}

// === impl GroupBy ===

impl<L: Data, W: Data, F> GroupBy<L, W, F> {
    /// The group of a row, and what it is there; `None` when there is no row or no group.
    fn group<K, V, E>(&self, key: &K, value: Option<V>) -> Result<Option<(L, W)>, ProcessError>
    where
        E: UserError,
        F: Fn(&K, &V) -> Result<(L, W), E>,
    {
        let Some(value) = value else { return Ok(None) };
        let (key, value) = (self.mapper)(key, &value).map_err(|error| failed(&self.name, error))?;
        Ok((!is_null(&key) && !is_null(&value)).then_some((key, value)))
    }
}

impl<K, V, L, W, E, F> Node<K, Change<V>> for GroupBy<L, W, F>
where
    K: Data,
    V: Data,
    L: Data,
    W: Data,
    E: UserError,
    F: Fn(&K, &V) -> Result<(L, W), E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers } = record;
        // What was true before a later version was counted is not true of the group now.
        if !is_latest {
            return Ok(());
        }
        let old = self.group(&key, old)?;
        let value = Change::latest(self.group(&key, new)?, old);
        if value.old.is_none() && value.new.is_none() {
            return Ok(());
        }
        self.children.forward(ctx, Record { key: (), value, timestamp_ms, headers })
    }
}
