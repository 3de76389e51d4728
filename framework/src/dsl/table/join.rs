//! `join`, `left_join`, `outer_join` of two tables.

mod node;
mod rows;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{
    node::{JoinSide, Joined},
    rows::JoinedRows,
};
use super::{Rows, Table};
use crate::{
    dsl::OTHER_TOPOLOGY,
    processor::Change,
    serde::{Data, is_null},
    topology::{
        Factory,
        graph::{GraphNode, TableDef, TableKind},
    },
};

/// Which rows a join has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Keys with a row in both tables.
    Inner,
    /// Keys with a row in the left table.
    Left,
    /// Keys with a row in any table.
    Outer,
}

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// The keys that have a row in both tables, with what `joiner` makes of the two rows.
    ///
    /// # Panics
    ///
    /// When the other table is of another topology.
    #[must_use]
    pub fn join<T, W, F>(&self, other: &Table<'t, K, T>, joiner: F) -> Table<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| Some(joiner(key, left?, right?));
        self.join_as(Kind::Inner, ["join", "join-left", "join-right"], other, joiner)
    }

    /// The keys that have a row in this table, with what `joiner` makes of it and of the other table's row, if there is
    /// one.
    ///
    /// # Panics
    ///
    /// When the other table is of another topology.
    #[must_use]
    pub fn left_join<T, W, F>(&self, other: &Table<'t, K, T>, joiner: F) -> Table<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| Some(joiner(key, left?, right));
        self.join_as(Kind::Left, ["left-join", "left-join-left", "left-join-right"], other, joiner)
    }

    /// The keys that have a row in one of the tables or both, with what `joiner` makes of them: at least one is there.
    ///
    /// # Panics
    ///
    /// When the other table is of another topology.
    #[must_use]
    pub fn outer_join<T, W, F>(&self, other: &Table<'t, K, T>, joiner: F) -> Table<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, Option<&V>, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| {
            (left.is_some() || right.is_some()).then(|| joiner(key, left, right))
        };
        self.join_as(Kind::Outer, ["outer-join", "outer-join-left", "outer-join-right"], other, joiner)
    }

    /// Two sides, each of which joins its changes with the rows of the other, and the table that both give.
    fn join_as<T, W, F>(
        &self,
        kind: Kind,
        [operator, left_side, right_side]: [&'static str; 3],
        other: &Table<'t, K, T>,
        joiner: F,
    ) -> Table<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, Option<&V>, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, other.graph), "{OTHER_TOPOLOGY}");
        // A null is no row, as everywhere in tables.
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| {
            joiner(key, left, right).filter(|joined| !is_null(joined))
        };
        let joiner = Arc::new(joiner);
        let swapped = Arc::new({
            let joiner = Arc::clone(&joiner);
            move |key: &K, right: Option<&T>, left: Option<&V>| joiner(key, left, right)
        });
        let (left_rows, right_rows) = (self.readable(), other.readable());
        let mut graph = self.graph.borrow_mut();
        if kind != Kind::Inner {
            graph.send_old_values(self.node, true);
        }
        if kind == Kind::Outer {
            graph.send_old_values(other.node, true);
        }
        let left_factory = JoinSide::factory(Arc::clone(&joiner), Arc::clone(&right_rows), kind == Kind::Inner);
        let right_factory = JoinSide::factory(swapped, Arc::clone(&left_rows), kind != Kind::Outer);
        let left = GraphNode::operator(left_side, vec![self.node], left_factory).reads(other.node);
        let left = graph.add(left);
        let right = GraphNode::operator(right_side, vec![other.node], right_factory).reads(self.node);
        let right = graph.add(right);

        let serdes = self.serdes.values();
        let table = TableDef::new(TableKind::Joined, vec![self.node, other.node], serdes.clone());
        let factory = Factory::node::<K, Change<W>, _>(|task, id| Joined::new(task, id));
        let node = GraphNode::operator(operator, vec![left, right], factory).named_after(self.node).table(table);
        let node = graph.add(node);
        graph.join(self.node, other.node);
        let rows: Rows<K, W> =
            Arc::new(move |task| Box::new(JoinedRows::new(left_rows(task), right_rows(task), Arc::clone(&joiner))));
        Table::derived(self.graph, node, serdes, rows)
    }
}
