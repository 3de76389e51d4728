//! One side of a join.

use std::sync::Arc;

use super::{Kind, unmatched::Unmatched};
use crate::{
    dsl::windows::JoinWindows,
    processor::{
        Children, Context, DropReason, Found, JoinSide, Node, Pages, ProcessError, Record, WindowValues, write_key,
    },
    serde::{Data, Serde, is_null},
    topology::{Factory, Instantiation, graph::NodeId},
};

/// The serdes of a join, from one side: of keys; of this side's values and of the other's.
pub(super) type SideSerdes<'s, K, V, T> = (&'s Arc<dyn Serde<K>>, (Arc<dyn Serde<V>>, Arc<dyn Serde<T>>));

/// One side of a join: joins its records with those that the other has kept, and keeps them for the other.
pub(super) struct Side<K, V, T, W, F> {
    /// As this side sees them.
    windows: JoinWindows,
    /// Whether records without a match are passed on.
    is_outer: bool,
    /// Takes this side's value first. Gives no result where the join has none.
    joiner: Arc<F>,
    key_serde: Arc<dyn Serde<K>>,
    /// What this side keeps, and what the other does.
    own: WindowValues<V>,
    others: WindowValues<T>,
    /// The records of both sides without a match, when some of them are passed on.
    unmatched: Option<Unmatched<K, V, T>>,
    children: Children<K, W>,
    store: Arc<str>,
    /// Reused: the serialized key, what was found.
    key: Vec<u8>,
    page: Vec<Found<T>>,
}

// === impl Side ===

impl<K, V, T, W, F> Side<K, V, T, W, F>
where
    K: Data,
    V: Data,
    T: Data,
    W: Data,
    F: Fn(&K, Option<&V>, Option<&T>) -> Option<W> + Send + Sync + 'static,
{
    /// Makes this side. The node uses what it keeps, what the other side does, and the store of records without a match.
    pub(super) fn factory(
        kind: Kind,
        side: JoinSide,
        windows: JoinWindows,
        (key_serde, values): SideSerdes<'_, K, V, T>,
        joiner: Arc<F>,
    ) -> Factory {
        let key_serde = Arc::clone(key_serde);
        Factory::node::<K, V, _>(move |task, id| {
            Self::new(task, id, kind, side, windows, (&key_serde, values.clone()), Arc::clone(&joiner))
        })
    }

    fn new(
        task: &mut Instantiation<'_>,
        id: NodeId,
        kind: Kind,
        side: JoinSide,
        windows: JoinWindows,
        (key_serde, (own, others)): SideSerdes<'_, K, V, T>,
        joiner: Arc<F>,
    ) -> Self {
        let unmatched = (kind != Kind::Inner)
            .then(|| Unmatched::new(task, id, side, windows, (key_serde, (Arc::clone(&own), Arc::clone(&others)))));
        let (own_id, store) = task.used_store(id, 0);
        let (others_id, others_store) = task.used_store(id, 1);
        Self {
            windows,
            is_outer: kind.is_outer(side),
            joiner,
            key_serde: Arc::clone(key_serde),
            own: WindowValues::new(own_id, Arc::clone(&store), own),
            others: WindowValues::new(others_id, others_store, others),
            unmatched,
            children: task.children(id),
            store,
            key: Vec::new(),
            page: Vec::new(),
        }
    }

    /// Passes on the records without a match whose windows have closed.
    fn pass_on_closed(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let Some(unmatched) = &mut self.unmatched else { return Ok(()) };
        let (joiner, children) = (&self.joiner, &mut self.children);
        unmatched.pass_on_closed(ctx, record.timestamp_ms, |ctx, key, own, other, timestamp_ms| {
            let Some(value) = joiner(key, own, other) else { return Ok(()) };
            children.forward(ctx, Record { key: key.clone(), value, timestamp_ms, headers: record.headers.clone() })
        })
    }

    /// Joins a record with all that the other side has kept; gives whether there was any.
    fn join_with_others(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<bool, ProcessError> {
        let mut pages = Pages::of(self.windows.around(record.timestamp_ms));
        let mut matched = false;
        while !pages.are_done() {
            self.others.read(ctx, &self.key, &mut pages, &mut self.page)?;
            for Found { start_ms, value: other, .. } in self.page.drain(..) {
                matched = true;
                if let Some(unmatched) = &mut self.unmatched {
                    unmatched.has_match(ctx, &self.key, start_ms, record.timestamp_ms)?;
                }
                let Some(value) = (self.joiner)(&record.key, Some(&record.value), Some(&other)) else { continue };
                let (key, headers) = (record.key.clone(), record.headers.clone());
                let timestamp_ms = record.timestamp_ms.max(start_ms);
                self.children.forward(ctx, Record { key, value, timestamp_ms, headers })?;
            }
        }
        Ok(matched)
    }

    /// Keeps a record for the other side. One without a value is only logged, as by Kafka Streams.
    fn keep(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        if !self.own.add(ctx, &self.key, record.timestamp_ms, &record.value, record.timestamp_ms)? {
            ctx.drop_record(DropReason::Expired);
        }
        Ok(())
    }

    /// Passes a record on that has no match and will have none.
    fn pass_on(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let Some(value) = (self.joiner)(&record.key, Some(&record.value), None) else { return Ok(()) };
        let (key, headers) = (record.key.clone(), record.headers.clone());
        self.children.forward(ctx, Record { key, value, timestamp_ms: record.timestamp_ms, headers })
    }
}

impl<K, V, T, W, F> Node<K, V> for Side<K, V, T, W, F>
where
    K: Data,
    V: Data,
    T: Data,
    W: Data,
    F: Fn(&K, Option<&V>, Option<&T>) -> Option<W> + Send + Sync + 'static,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if let Some(unmatched) = &mut self.unmatched {
            let kept_ms = self.own.stream_time_ms(ctx).max(self.others.stream_time_ms(ctx));
            unmatched.observe(ctx, record.timestamp_ms, kept_ms)?;
        }
        let has_key = !is_null(&record.key);
        if has_key {
            write_key(&self.store, &self.key_serde, &record.key, &mut self.key)?;
        }
        if is_null(&record.value) {
            ctx.drop_record(DropReason::NullValue);
            return if has_key { self.keep(ctx, &record) } else { Ok(()) };
        }
        if !has_key {
            if self.is_outer {
                return self.pass_on(ctx, &record);
            }
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        self.pass_on_closed(ctx, &record)?;
        let matched = self.join_with_others(ctx, &record)?;
        if !matched && self.is_outer {
            match &mut self.unmatched {
                Some(unmatched) if unmatched.may_have_match(record.timestamp_ms) => {
                    unmatched.add(ctx, &self.key, &record.value, record.timestamp_ms)?;
                }
                _ => self.pass_on(ctx, &record)?,
            }
        }
        self.keep(ctx, &record)
    }
}
