//! `count`, `aggregate`, `reduce` within sessions.

use std::{ops::ControlFlow, sync::Arc};

use super::{Fold, WindowedGrouped, begin_at, closing::Closing, observe};
use crate::{
    dsl::{Table, windows::SessionWindows},
    log::Headers,
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimedStore},
    serde::{Data, Serde, Serdes, Windowed, is_null},
    state::{Direction, StoreKind},
    topology::Factory,
};

/// Start and end of a session, and its aggregate.
type Session<A> = ((i64, i64), A);

/// Folds each record into the session that it belongs to, which may join others.
struct Aggregate<K, A, I, F, M> {
    store: TimedStore<K, A>,
    windows: SessionWindows,
    fold: Fold<I, F>,
    merger: Arc<M>,
    /// The latest time of any record with a key.
    observed_ms: i64,
    closing: Option<Closing>,
    /// Whether updates wait for the commit, and so have their right old values.
    coalesced: bool,
    children: Children<Windowed<K>, Change<A>>,
    /// The sessions that a record touches; reused.
    touched: Vec<Session<A>>,
}

impl<'t, K: Data, V: Data> WindowedGrouped<'t, K, V, SessionWindows> {
    /// How many records each session has. Records without a key are left out (dropped).
    pub fn count(&self) -> Table<'t, Windowed<K>, i64> {
        let fold = Fold::new(|| Some(0), |_: &K, _: &V, count: Option<i64>| Some(count.unwrap_or(0) + 1));
        let merger = |_: &K, a: Option<i64>, b: i64| Some(a.unwrap_or(0) + b);
        self.sessions("count", &self.values(), fold, merger)
    }

    /// Folds the records of each session: `aggregator` takes key, value and the aggregate so far and gives the new one, or `None` to
    /// delete it; `merger` takes key and the aggregates of two sessions that become one. Each record begins with the aggregate of
    /// `initializer`, to which those of the sessions it touches are merged. Records without a key are left out (dropped).
    pub fn aggregate<A, R, I, F, M>(&self, initializer: I, aggregator: F, merger: M) -> Table<'t, Windowed<K>, A>
    where
        A: Data,
        R: Into<Option<A>>,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        let initial = Arc::new(initializer);
        let (none, other) = (Arc::clone(&initial), Arc::clone(&initial));
        let add = move |key: &K, value: &V, so_far: Option<A>| {
            aggregator(key, value, so_far.unwrap_or_else(|| none())).into()
        };
        let merger = move |key: &K, a: Option<A>, b: A| Some(merger(key, a.unwrap_or_else(|| other()), b));
        self.sessions("aggregate", &self.values(), Fold::new(move || Some(initial()), add), merger)
    }

    /// Combines the values of each session, and those of sessions that become one: `reducer` takes the value so far and the next
    /// one and gives the new one, or `None` to delete it. The first value of a session is taken as it is.
    pub fn reduce<R, F>(&self, reducer: F) -> Table<'t, Windowed<K>, V>
    where
        R: Into<Option<V>>,
        F: Fn(V, &V) -> R + Send + Sync + 'static,
    {
        let reduce = Arc::new(move |so_far: Option<V>, value: &V| match so_far {
            Some(so_far) => reducer(so_far, value).into(),
            None => Some(value.clone()),
        });
        let merge = Arc::clone(&reduce);
        let fold = Fold::new(|| None, move |_: &K, value: &V, so_far: Option<V>| reduce(so_far, value));
        let serdes = self.grouped.stream().serdes().clone();
        self.sessions("reduce", &serdes, fold, move |_: &K, a: Option<V>, b: V| merge(a, &b))
    }

    /// Passes results on when their session has closed: each of them once, and no update before. A session closes when the stream
    /// time is past its end, gap and grace, which takes a record of any key.
    #[must_use]
    pub fn emit_on_close(self) -> Self {
        Self { on_close: true, ..self }
    }

    fn sessions<A, I, F, M>(
        &self,
        operator: &'static str,
        serdes: &Serdes<K, A>,
        fold: Fold<I, F>,
        merger: M,
    ) -> Table<'t, Windowed<K>, A>
    where
        A: Data,
        I: Fn() -> Option<A> + Send + Sync + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
        M: Fn(&K, Option<A>, A) -> Option<A> + Send + Sync + 'static,
    {
        let (windows, on_close) = (self.windows, self.on_close);
        let make = |key_serde| nodes::<K, V, A, I, F, M>(windows, fold, merger, key_serde, on_close);
        self.aggregated(operator, serdes, StoreKind::Session, make)
    }
}

/// Makes the nodes of an aggregation.
pub(in crate::dsl) fn nodes<K, V, A, I, F, M>(
    windows: SessionWindows,
    fold: Fold<I, F>,
    merger: M,
    key_serde: Arc<dyn Serde<K>>,
    on_close: bool,
) -> Factory
where
    K: Data,
    V: Data,
    A: Data,
    I: Fn() -> Option<A> + Send + Sync + 'static,
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    M: Fn(&K, Option<A>, A) -> Option<A> + Send + Sync + 'static,
{
    let merger = Arc::new(merger);
    Factory::node::<K, V, _>(move |task, id| Aggregate {
        store: task.timed_store::<K, A>(task.table_of(id), Arc::clone(&key_serde)),
        windows,
        fold: fold.clone(),
        merger: Arc::clone(&merger),
        observed_ms: begin_at(task, id),
        closing: on_close.then(Closing::default),
        coalesced: task.coalesces(task.table_of(id)),
        children: task.changes(id),
        touched: Vec::new(),
    })
}

// === impl Aggregate ===

impl<K: Data, A: Data, I, F, M> Aggregate<K, A, I, F, M> {
    /// The sessions within the gap of a time, in the order of their ends.
    fn touched(&mut self, ctx: &mut Context, key: &K, time: i64) -> Result<Vec<Session<A>>, ProcessError> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.clear();
        let gap = self.windows.gap_ms;
        let ends = time.saturating_sub(gap).max(0)..=i64::MAX;
        self.store.entry(key)?.scan(ctx, ends, Direction::Forward, |(start, end), value, _| {
            if start <= time.saturating_add(gap) {
                touched.push(((start, end), value));
            }
            ControlFlow::Continue(())
        })?;
        Ok(touched)
    }

    /// Sessions that end before this time take no more records.
    fn close_ms(&self) -> i64 {
        self.observed_ms.saturating_sub(self.windows.grace_ms).saturating_sub(self.windows.gap_ms)
    }

    fn forward(
        &mut self,
        ctx: &mut Context,
        key: K,
        (start_ms, end_ms): (i64, i64),
        value: Change<A>,
        headers: Headers,
    ) -> Result<(), ProcessError> {
        let key = Windowed { key, start_ms, end_ms };
        self.children.forward(ctx, Record { key, value, timestamp_ms: end_ms, headers })
    }

    /// Passes on the rows of sessions that have closed, with the headers of the record that made them close.
    fn close(&mut self, ctx: &mut Context, timestamp_ms: i64, headers: &Headers) -> Result<(), ProcessError> {
        let close_ms = self.close_ms();
        let Some(closing) = &mut self.closing else { return Ok(()) };
        let Some(since) = closing.due(ctx, &self.store, close_ms, close_ms - 1)? else { return Ok(()) };
        closing.closed(ctx, &self.store, close_ms, timestamp_ms);
        let mut rows = Vec::new();
        // By the default retention no session that has closed can be read any more.
        self.store.scan_kept(ctx, since.unwrap_or(0).max(0)..=close_ms - 1, |key, bounds, new, _| {
            rows.push((key, bounds, new));
            ControlFlow::Continue(())
        })?;
        // They lie by the bytes of their keys within an interval of time.
        rows.sort_by_key(|(_, (start, end), _)| (*end, *start));
        for (key, bounds, new) in rows {
            self.forward(ctx, key, bounds, Change::latest(Some(new), None), headers.clone())?;
        }
        Ok(())
    }
}

impl<K, V, A, I, F, M> Node<K, V> for Aggregate<K, A, I, F, M>
where
    K: Data,
    V: Data,
    A: Data,
    I: Fn() -> Option<A>,
    F: Fn(&K, &V, Option<A>) -> Option<A>,
    M: Fn(&K, Option<A>, A) -> Option<A>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let time = record.timestamp_ms;
        observe(&mut self.observed_ms, ctx, &self.store, time);
        let mut touched = self.touched(ctx, &record.key, time)?;
        let (mut start, mut end) = (time, time);
        let mut merged = (self.fold.initial)();
        for ((of_start, of_end), value) in &touched {
            (start, end) = (start.min(*of_start), end.max(*of_end));
            merged = (self.merger)(&record.key, merged, value.clone());
        }
        if end < self.close_ms() {
            ctx.drop_record(DropReason::Late);
        } else {
            // As in Kafka Streams, updates of sessions have no headers.
            let no_headers = Headers::default;
            let is_silent = self.closing.is_some() || self.children.is_empty();
            // A session of one time that gets another record of it stays as it is; as in Kafka Streams, where its record cache knows the
            // old value, and nobody else does.
            let mut before = None;
            if (start, end) == (time, time) {
                before = touched.pop().map(|(_, old)| old).filter(|_| self.coalesced);
            } else {
                for (bounds, old) in touched.drain(..) {
                    // Gone already where it has expired.
                    let _ = self.store.entry(&record.key)?.write(ctx, bounds, None, time)?;
                    if !is_silent {
                        self.forward(ctx, record.key.clone(), bounds, Change::latest(None, Some(old)), no_headers())?;
                    }
                }
            }
            let new = (self.fold.add)(&record.key, &record.value, merged).filter(|new| !is_null(new));
            if !self.store.entry(&record.key)?.write(ctx, (start, end), new.as_ref(), time)? {
                ctx.drop_record(DropReason::Expired);
            }
            if !is_silent {
                self.forward(ctx, record.key, (start, end), Change::latest(new, before), no_headers())?;
            }
        }
        self.touched = touched;
        self.close(ctx, time, &record.headers)
    }
}
