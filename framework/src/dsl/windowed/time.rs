//! Time windows and unlimited windows.

use std::sync::Arc;

use super::{
    Fold, begin_at,
    closing::Closing,
    fixed::{FixedWindows, Foldable, Nodes},
    observe,
};
use crate::{
    dsl::windows::{TimeWindows, UnlimitedWindows},
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimedStore},
    serde::{Data, Serde, Windowed, is_null},
    topology::Factory,
};

/// Which windows a record belongs to does not depend on other records.
trait Aligned: Copy + 'static {
    /// The starts of the first and the last window of a time, and how far they are apart; `None` when it has none.
    fn starts(&self, time: i64) -> Option<(i64, i64, i64)>;

    /// The end of a window, exclusive.
    fn end(&self, start: i64) -> i64;

    fn grace_ms(&self) -> i64;
}

/// Folds each record into the rows of its windows.
struct Aggregate<K, A, W, I, F> {
    store: TimedStore<K, A>,
    windows: W,
    fold: Fold<I, F>,
    /// The latest time of any record with a key.
    observed_ms: i64,
    sends_old: bool,
    sends_initial: bool,
    /// When results wait for their windows to close.
    closing: Option<Closing>,
    children: Children<Windowed<K>, Change<A>>,
}

// === impl TimeWindows ===

impl FixedWindows for TimeWindows {}
impl FixedWindows for UnlimitedWindows {}

macro_rules! aligned {
    ($($windows:ty),*) => {$(
        impl Foldable for $windows {
            fn nodes<K, V, A, I, F>(self, fold: Fold<I, F>, key_serde: Arc<dyn Serde<K>>, on_close: bool) -> Nodes
            where
                K: Data,
                V: Data,
                A: Data,
                I: Fn() -> Option<A> + Send + Sync + 'static,
                F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
            {
                Nodes(Factory::node::<K, V, _>(move |task, id| Aggregate {
                    store: task.timed_store(task.table_of(id), Arc::clone(&key_serde)),
                    windows: self,
                    fold: fold.clone(),
                    observed_ms: begin_at(task, id),
                    sends_old: task.sends_old(task.table_of(id)),
                    sends_initial: task.sends_initial(task.table_of(id)),
                    closing: on_close.then(Closing::default),
                    children: task.changes(id),
                }))
            }
        }
    )*};
}

aligned!(TimeWindows, UnlimitedWindows);

impl Aligned for TimeWindows {
    fn starts(&self, time: i64) -> Option<(i64, i64, i64)> {
        let first = (time - self.size_ms + self.advance_ms).max(0) / self.advance_ms * self.advance_ms;
        Some((first, time / self.advance_ms * self.advance_ms, self.advance_ms))
    }

    fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.size_ms)
    }

    fn grace_ms(&self) -> i64 {
        self.grace_ms
    }
}

impl Aligned for UnlimitedWindows {
    fn starts(&self, time: i64) -> Option<(i64, i64, i64)> {
        (time >= self.start_ms).then_some((self.start_ms, self.start_ms, 1))
    }

    fn end(&self, _: i64) -> i64 {
        i64::MAX
    }

    fn grace_ms(&self) -> i64 {
        0
    }
}

// === impl Aggregate ===

impl<K: Data, A: Data, W: Aligned, I: Fn() -> Option<A>, F> Aggregate<K, A, W, I, F> {
    /// Folds a record into one window. Gives what has changed, and the timestamp of the row; `None` when the window is closed.
    fn update<V: Data>(
        &mut self,
        ctx: &mut Context,
        record: &Record<K, V>,
        start: i64,
    ) -> Result<Option<(Change<A>, i64)>, ProcessError>
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        if self.windows.end(start) <= self.close_ms() {
            ctx.drop_record(DropReason::Late);
            return Ok(None);
        }
        let mut rows = self.store.entry(&record.key)?;
        let (before, timestamp_ms) = match rows.read(ctx, start, start)? {
            Some((before, timestamp_ms)) => (Some(before), record.timestamp_ms.max(timestamp_ms)),
            None => (None, record.timestamp_ms),
        };
        let old = match &before {
            Some(before) if self.sends_old => Some(before.clone()),
            None if self.sends_initial => (self.fold.initial)(),
            Some(_) | None => None,
        };
        let new = (self.fold.add)(&record.key, &record.value, before).filter(|new| !is_null(new));
        if !rows.write(ctx, (start, start), new.as_ref(), timestamp_ms)? {
            ctx.drop_record(DropReason::Expired);
        }
        Ok(Some((Change::latest(new, old), timestamp_ms)))
    }

    /// Windows that end at this time or before take no more records.
    fn close_ms(&self) -> i64 {
        self.observed_ms.saturating_sub(self.windows.grace_ms())
    }

    fn is_silent(&self) -> bool {
        self.closing.is_some() || self.children.is_empty()
    }

    /// Passes on the rows of windows that have closed.
    fn close<V: Data>(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let (close_ms, size_ms) = (self.close_ms(), self.windows.end(0));
        let Some(closing) = &mut self.closing else { return Ok(()) };
        let Some(since) = closing.due(ctx, &self.store, close_ms, close_ms - size_ms)? else { return Ok(()) };
        let from = since.map_or(0, |since| (since - size_ms + 1).max(0));
        closing.closed(ctx, &self.store, close_ms, record.timestamp_ms);
        // Rows lie in this order: windows by their start, then by the bytes of their keys.
        let mut after: Option<(K, i64)> = None;
        loop {
            let page = Closing::page(ctx, &mut self.store, from..=close_ms - size_ms, after.as_ref())?;
            after = page.last().map(|row| (row.0.clone(), row.1));
            if after.is_none() {
                return Ok(());
            }
            for (key, start_ms, new, timestamp_ms) in page {
                let key = Windowed { key, start_ms, end_ms: self.windows.end(start_ms) };
                let value = Change::latest(Some(new), None);
                self.children.forward(ctx, Record { key, value, timestamp_ms, headers: record.headers.clone() })?;
            }
        }
    }
}

impl<K, V, A, W, I, F> Node<K, V> for Aggregate<K, A, W, I, F>
where
    K: Data,
    V: Data,
    A: Data,
    W: Aligned,
    I: Fn() -> Option<A>,
    F: Fn(&K, &V, Option<A>) -> Option<A>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        observe(&mut self.observed_ms, ctx, &self.store, record.timestamp_ms);
        let Some((first, last, advance)) = self.windows.starts(record.timestamp_ms) else { return Ok(()) };
        let mut start = first;
        while start < last {
            if let Some((value, timestamp_ms)) = self.update(ctx, &record, start)?
                && !self.is_silent()
            {
                let key = Windowed { key: record.key.clone(), start_ms: start, end_ms: self.windows.end(start) };
                self.children.forward(ctx, Record { key, value, timestamp_ms, headers: record.headers.clone() })?;
            }
            start += advance;
        }
        let last_update = self.update(ctx, &record, last)?;
        if self.closing.is_some() {
            return self.close(ctx, &record);
        }
        let Some((value, timestamp_ms)) = last_update else { return Ok(()) };
        let key = Windowed { key: record.key, start_ms: last, end_ms: self.windows.end(last) };
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers: record.headers })
    }
}
