//! The nodes of a join of two tables.

use std::sync::Arc;

use crate::{
    dsl::table::{Lookup, Rows},
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimestampedStore},
    serde::Data,
    topology::{Factory, Instantiation, graph::NodeId},
};

/// One side of a join: joins changes of its table with rows of the other one.
pub(super) struct JoinSide<K, T, W, F> {
    others: Box<dyn Lookup<K, T>>,
    /// Takes this side's value first. Gives no row where the join has none.
    joiner: Arc<F>,
    /// Whether the join has no row for a key without a row on the other side.
    needs_other: bool,
    sends_old: bool,
    children: Children<K, Change<W>>,
}

/// The table that both sides give.
pub(super) struct Joined<K, W> {
    store: Option<TimestampedStore<K, W>>,
    children: Children<K, Change<W>>,
}

// === impl JoinSide ===

impl<K: Data, T: Data, W: Data, F> JoinSide<K, T, W, F> {
    pub(super) fn factory<V: Data>(joiner: Arc<F>, others: Rows<K, T>, needs_other: bool) -> Factory
    where
        F: Fn(&K, Option<&V>, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        Factory::node::<K, Change<V>, _>(move |task, id| Self {
            others: task.as_passed_on(|task| others(task)),
            joiner: Arc::clone(&joiner),
            needs_other,
            // What a side gives are the changes of its only child, the joined table.
            sends_old: task.child_sends_old(id),
            children: task.children(id),
        })
    }
}

impl<K, V, T, W, F> Node<K, Change<V>> for JoinSide<K, T, W, F>
where
    K: Data,
    V: Data,
    T: Data,
    W: Data,
    F: Fn(&K, Option<&V>, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers } = record;
        if !is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let other = self.others.get(ctx, &key)?;
        let no_row_before_and_after = self.needs_other || (new.is_none() && old.is_none());
        if other.is_none() && no_row_before_and_after {
            return Ok(());
        }
        let timestamp_ms = other.as_ref().map_or(timestamp_ms, |(_, other_ms)| timestamp_ms.max(*other_ms));
        let other = other.as_ref().map(|(other, _)| other);
        let change = Change::latest(
            (self.joiner)(&key, new.as_ref(), other),
            if self.sends_old { (self.joiner)(&key, old.as_ref(), other) } else { None },
        );
        self.children.forward(ctx, Record { key, value: change, timestamp_ms, headers })
    }
}

// === impl Joined ===

impl<K: Data, W: Data> Joined<K, W> {
    pub(super) fn new(task: &mut Instantiation<'_>, id: NodeId) -> Self {
        Self { store: task.store(id), children: task.changes(id) }
    }
}

impl<K: Data, W: Data> Node<K, Change<W>> for Joined<K, W> {
    fn push(&mut self, ctx: &mut Context, mut record: Record<K, Change<W>>) -> Result<(), ProcessError> {
        if let Some(store) = &mut self.store {
            let written = store.entry(&record.key)?.write(ctx, record.value.new.as_ref(), record.timestamp_ms)?;
            let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
            record.value.is_latest = is_latest;
        }
        self.children.forward(ctx, record)
    }
}
