//! From what the left table is told to the rows of the join.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    references::References,
    subscribe::Kind,
    unanswered::Unanswered,
    wire::{Response, Subscription},
};
use crate::{
    dsl::{stream::Sink, table::Lookup},
    processor::{Children, Context, DropReason, Node, ProcessError, Record},
    serde::Data,
};

/// Joins answers with the left rows they were made for.
pub(super) struct Resolve<K, V, L, W, E, F> {
    pub(super) kind: Kind,
    pub(super) rows: Box<dyn Lookup<K, V>>,
    pub(super) references: References<K, V, L, E>,
    pub(super) unanswered: Rc<RefCell<Unanswered>>,
    /// Writes subscriptions, to ask once more.
    pub(super) sink: Sink<Option<L>, Subscription>,
    /// Gives no row where the join has none.
    pub(super) joiner: Arc<F>,
    pub(super) children: Children<K, Option<W>>,
}

// === impl Resolve ===

impl<K, V, L, W, E, F> Resolve<K, V, L, W, E, F>
where
    K: Data,
    V: Data,
    L: Data,
    W: Data,
    E: Fn(&K, &V) -> Option<L>,
{
    /// An answer came for a value that the left row has no more, and there is no right row: see to it that no result stays.
    fn settle(
        &mut self,
        ctx: &mut Context,
        record: Record<K, ()>,
        primary_key: &[u8],
        row: Option<(V, i64)>,
    ) -> Result<(), ProcessError> {
        if self.unanswered.borrow().is_awaited(primary_key) {
            return Ok(());
        }
        let foreign_key = self.references.foreign_key(&record.key, row.as_ref().map(|(row, _)| row));
        let timestamp_ms = row.as_ref().map_or(record.timestamp_ms, |(_, row_ms)| record.timestamp_ms.max(*row_ms));
        let (Some((row, _)), Some(foreign_key)) = (row, foreign_key) else {
            return self.children.forward(ctx, record.with_value(None));
        };
        let value = self.references.subscription(ctx, &record.key, Some(&row))?;
        self.unanswered.borrow_mut().asked(primary_key, true);
        self.sink.push(ctx, Record { key: Some(foreign_key), value, timestamp_ms, headers: record.headers })
    }
}

impl<K, V, L, T, W, E, F> Node<K, Response<T>> for Resolve<K, V, L, W, E, F>
where
    K: Data,
    V: Data,
    L: Data,
    T: Data,
    W: Data,
    E: Fn(&K, &V) -> Option<L>,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Response<T>>) -> Result<(), ProcessError> {
        let Record { key, value: response, timestamp_ms, headers } = record;
        let row = self.rows.get(ctx, &key)?;
        let is_stale = self.references.hash(row.as_ref().map(|(row, _)| row))? != response.hash;
        if is_stale {
            ctx.drop_record(DropReason::StaleResponse);
        }
        match (self.kind, is_stale, &response.row) {
            (Kind::Inner, true, None) => {
                let primary_key = self.references.primary_key(&key)?;
                return self.settle(ctx, Record { key, value: (), timestamp_ms, headers }, &primary_key, row);
            }
            (Kind::Inner, false, _) => {
                let primary_key = self.references.primary_key(&key)?;
                self.unanswered.borrow_mut().answered(&primary_key);
            }
            (_, true, _) => return Ok(()),
            (Kind::Left, false, _) => {}
        }
        let value = row.and_then(|(row, _)| (self.joiner)(&key, &row, response.row.as_ref()));
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}
