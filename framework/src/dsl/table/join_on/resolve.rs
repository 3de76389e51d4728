//! From what the left table is told to the rows of the join.

use std::sync::Arc;

use super::{murmur3::hash128, subscribe::failed, wire::Response};
use crate::{
    dsl::table::Lookup,
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimestampedStore},
    serde::{Data, Serde, is_null},
    topology::{Instantiation, graph::NodeId},
};

/// Joins answers with the left rows they were made for.
pub(super) struct Resolve<K, V, W, F> {
    rows: Box<dyn Lookup<K, V>>,
    value_serde: Arc<dyn Serde<V>>,
    /// Gives no row where the join has none.
    joiner: Arc<F>,
    value: Vec<u8>,
    children: Children<K, Option<W>>,
}

/// The table of the results, kept if someone needs it.
pub(super) struct Results<K, W> {
    store: Option<TimestampedStore<K, W>>,
    sends_old: bool,
    children: Children<K, Change<W>>,
}

// === impl Resolve ===

impl<K: Data, V: Data, W: Data, F> Resolve<K, V, W, F> {
    pub(super) fn new(
        rows: Box<dyn Lookup<K, V>>,
        value_serde: Arc<dyn Serde<V>>,
        joiner: Arc<F>,
        children: Children<K, Option<W>>,
    ) -> Self {
        Self { rows, value_serde, joiner, value: Vec::new(), children }
    }
}

impl<K, V, T, W, F> Node<K, Response<T>> for Resolve<K, V, W, F>
where
    K: Data,
    V: Data,
    T: Data,
    W: Data,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Response<T>>) -> Result<(), ProcessError> {
        let Record { key, value: response, timestamp_ms, headers } = record;
        let row = self.rows.get(ctx, &key)?.map(|(row, _)| row);
        self.value.clear();
        let hash = match &row {
            Some(row) => {
                let presence = self.value_serde.serialize(row, &mut self.value);
                presence.map_err(|error| failed(ctx.topic(), error))?.of(&self.value).map(hash128)
            }
            None => None,
        };
        if hash != response.hash {
            ctx.drop_record(DropReason::StaleResponse);
            return Ok(());
        }
        let value = row.and_then(|row| (self.joiner)(&key, &row, response.row.as_ref()));
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}

// === impl Results ===

impl<K: Data, W: Data> Results<K, W> {
    pub(super) fn new(task: &mut Instantiation<'_>, id: NodeId) -> Self {
        Self { store: task.store(id), sends_old: task.sends_old(id), children: task.children(id) }
    }
}

impl<K: Data, W: Data> Node<K, Option<W>> for Results<K, W> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Option<W>>) -> Result<(), ProcessError> {
        let Record { key, value, timestamp_ms, headers } = record;
        let new = value.filter(|value| !is_null(value));
        let (old, is_latest) = match &mut self.store {
            Some(store) => {
                let mut row = store.entry(&key)?;
                let old = if self.sends_old { row.read(ctx)?.map(|(old, _)| old) } else { None };
                let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
                let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
                (old, is_latest)
            }
            None => (None, true),
        };
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}
