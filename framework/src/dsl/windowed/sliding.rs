//! Sliding windows.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    Fold, begin_at,
    closing::Closing,
    fixed::{FixedWindows, Foldable, Nodes},
    observe,
};
use crate::{
    dsl::windows::SlidingWindows,
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, TimedStore},
    serde::{Data, Serde, Windowed, is_null},
    state::Direction,
    topology::Factory,
};

/// Folds each record into the rows of its windows, and makes those that it begins.
///
/// The timestamp of a row is that of the latest record in its window: from it follows which windows there are, and so which are to be
/// made. The order of updates and the windows that new ones are copied from are those of Kafka Streams.
struct Aggregate<K, A, I, F> {
    store: TimedStore<K, A>,
    windows: SlidingWindows,
    fold: Fold<I, F>,
    /// The latest time of any record with key and value.
    observed_ms: i64,
    sends_old: bool,
    sends_initial: bool,
    closing: Option<Closing>,
    children: Children<Windowed<K>, Change<A>>,
    /// The windows around a record; reused.
    around: Vec<Row<A>>,
}

/// The row of a window.
#[derive(Debug, Clone)]
struct Row<A> {
    start: i64,
    value: A,
    latest: i64,
}

/// The aggregate that a record is folded into, and the time of the latest record in it.
struct Before<A> {
    value: Option<(A, i64)>,
    /// Whether the window has it already, and not only begins with it.
    is_row: bool,
}

impl FixedWindows for SlidingWindows {}

impl Foldable for SlidingWindows {
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
            around: Vec::new(),
        }))
    }
}

// === impl Before ===

impl<A: Clone> Before<A> {
    fn row(row: &Row<A>) -> Self {
        Self { value: Some((row.value.clone(), row.latest)), is_row: true }
    }
}

// === impl Aggregate ===

impl<K: Data, A: Data, I: Fn() -> Option<A>, F> Aggregate<K, A, I, F> {
    /// A record at or behind the time difference: its left window begins at 0 or later.
    fn push_later<V: Data>(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError>
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        let (time, difference) = (record.timestamp_ms, self.windows.difference_ms);
        let around = self.rows(ctx, record, (time - 2 * difference).max(0), Direction::Backward)?;
        let mut left: Option<&Row<A>> = None;
        let mut right: Option<&Row<A>> = None;
        let (mut has_left, mut has_right, mut previous) = (false, false, None);
        let mut starts_seen = 0;
        for row in &around {
            starts_seen += 1;
            let end = row.start + difference;
            if row.start == time + 1 {
                has_right = true;
            } else if end > time {
                right = right.or(Some(row));
                self.update(ctx, record, row.start, Before::row(row))?;
            } else if end == time {
                has_left = true;
                self.update(ctx, record, row.start, Before::row(row))?;
                previous = (row.latest < time).then_some(row.latest);
            } else {
                left = Some(row);
                previous = Some(row.latest);
                break;
            }
        }
        let seen = &around[..starts_seen];
        if let Some(previous) = previous
            && previous + 1 + difference >= time
            && seen.iter().all(|row| row.start != previous + 1)
        {
            self.update(ctx, record, previous + 1, self.empty(time))?;
        }
        if !has_left {
            let copied = previous.filter(|previous| time - difference <= *previous).and(left);
            let before = copied.map(|row| Before { value: Some((row.value.clone(), time)), is_row: false });
            self.update(ctx, record, time - difference, before.unwrap_or_else(|| self.empty(time)))?;
        }
        if let Some(right) = right.filter(|row| !has_right && row.latest > time) {
            self.copy_to_right(ctx, record, right)?;
        }
        self.around = around;
        Ok(())
    }

    /// A record before the time difference: its left window would begin before 0. Records like it share `[0, difference]`.
    fn push_early<V: Data>(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError>
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        let time = record.timestamp_ms;
        let around = self.rows(ctx, record, 0, Direction::Forward)?;
        let mut combined: Option<&Row<A>> = None;
        let mut right: Option<&Row<A>> = None;
        let (mut has_right, mut previous) = (false, None);
        for row in &around {
            if row.start == 0 {
                combined = Some(row);
                previous = (row.latest < time).then_some(row.latest);
            } else if row.start <= time {
                right = Some(row);
                self.update(ctx, record, row.start, Before::row(row))?;
            } else if row.start == time + 1 {
                has_right = true;
            }
        }
        // Without a window in between, whatever is later in the combined one is in this record's right window.
        let right = right.or(combined.filter(|combined| combined.latest > time));
        if let Some(right) = right.filter(|row| !has_right && row.latest > time) {
            self.copy_to_right(ctx, record, right)?;
        }
        if let Some(previous) = previous
            && around.iter().all(|row| row.start != previous + 1)
        {
            self.update(ctx, record, previous + 1, self.empty(time))?;
        }
        let before = combined.map(Before::row);
        self.update(ctx, record, 0, before.unwrap_or_else(|| self.empty(time)))?;
        self.around = around;
        Ok(())
    }

    /// The rows that begin from `from` to behind the record.
    fn rows<V>(
        &mut self,
        ctx: &mut Context,
        record: &Record<K, V>,
        from: i64,
        direction: Direction,
    ) -> Result<Vec<Row<A>>, ProcessError> {
        let mut around = std::mem::take(&mut self.around);
        around.clear();
        let entry = self.store.entry(&record.key)?;
        entry.scan(ctx, from..=record.timestamp_ms + 1, direction, |(start, _), value, latest| {
            around.push(Row { start, value, latest });
            ControlFlow::Continue(())
        })?;
        Ok(around)
    }

    /// The row of a window that has no record yet.
    fn empty(&self, time: i64) -> Before<A> {
        Before { value: (self.fold.initial)().map(|initial| (initial, time)), is_row: false }
    }

    /// Folds the record into a window.
    fn update<V: Data>(
        &mut self,
        ctx: &mut Context,
        record: &Record<K, V>,
        start: i64,
        before: Before<A>,
    ) -> Result<(), ProcessError>
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        if start + self.windows.difference_ms < self.close_ms() {
            ctx.drop_record(DropReason::Late);
            return Ok(());
        }
        let sends_old = if before.is_row { self.sends_old } else { self.sends_initial };
        let (before, latest) = before.value.unzip();
        let latest = latest.unwrap_or(record.timestamp_ms).max(record.timestamp_ms);
        let old = if sends_old { before.clone() } else { None };
        let new = (self.fold.add)(&record.key, &record.value, before).filter(|new| !is_null(new));
        self.put(ctx, record, start, Change::latest(new, old), latest)
    }

    /// Makes the right window of the record, which has what is in `row` behind the record.
    fn copy_to_right<V>(&mut self, ctx: &mut Context, record: &Record<K, V>, row: &Row<A>) -> Result<(), ProcessError> {
        let change = Change::latest(Some(row.value.clone()), None);
        self.put(ctx, record, record.timestamp_ms + 1, change, row.latest)
    }

    fn put<V>(
        &mut self,
        ctx: &mut Context,
        record: &Record<K, V>,
        start: i64,
        value: Change<A>,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        if !self.store.entry(&record.key)?.write(ctx, (start, start), value.new.as_ref(), timestamp_ms)? {
            ctx.drop_record(DropReason::Expired);
        }
        if self.closing.is_some() || self.children.is_empty() {
            return Ok(());
        }
        let end_ms = start + self.windows.difference_ms;
        let key = Windowed { key: record.key.clone(), start_ms: start, end_ms };
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers: record.headers.clone() })
    }

    /// Windows that end before this time take no more records.
    fn close_ms(&self) -> i64 {
        self.observed_ms.saturating_sub(self.windows.grace_ms)
    }

    /// Passes on the rows of windows that have closed.
    fn close<V>(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let (close_ms, difference) = (self.close_ms(), self.windows.difference_ms);
        let last = close_ms - difference - 1;
        let Some(closing) = &mut self.closing else { return Ok(()) };
        let Some(since) = closing.due(ctx, &self.store, close_ms, last)? else { return Ok(()) };
        closing.closed(ctx, &self.store, close_ms, record.timestamp_ms);
        let from = since.map_or(0, |since| (since - difference).max(0));
        let mut rows = Vec::new();
        self.store.scan_all(ctx, from..=last, None, |key, (start_ms, _), new, timestamp_ms| {
            rows.push((key, start_ms, new, timestamp_ms));
            ControlFlow::Continue(())
        })?;
        // They lie by the bytes of their keys within an interval of time.
        rows.sort_by_key(|row| row.1);
        for (key, start_ms, new, timestamp_ms) in rows {
            let key = Windowed { key, start_ms, end_ms: start_ms + difference };
            let value = Change::latest(Some(new), None);
            self.children.forward(ctx, Record { key, value, timestamp_ms, headers: record.headers.clone() })?;
        }
        Ok(())
    }
}

impl<K, V, A, I, F> Node<K, V> for Aggregate<K, A, I, F>
where
    K: Data,
    V: Data,
    A: Data,
    I: Fn() -> Option<A>,
    F: Fn(&K, &V, Option<A>) -> Option<A>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let missing = match (is_null(&record.key), is_null(&record.value)) {
            (true, _) => Some(DropReason::NullKey),
            (false, true) => Some(DropReason::NullValue),
            (false, false) => None,
        };
        if let Some(reason) = missing {
            ctx.drop_record(reason);
            return Ok(());
        }
        observe(&mut self.observed_ms, ctx, &self.store, record.timestamp_ms);
        if record.timestamp_ms.saturating_add(self.windows.difference_ms) < self.close_ms() {
            ctx.drop_record(DropReason::Late);
            return Ok(());
        }
        // As in Kafka Streams, early records do not make windows close.
        if record.timestamp_ms < self.windows.difference_ms {
            return self.push_early(ctx, &record);
        }
        self.push_later(ctx, &record)?;
        self.close(ctx, &record)
    }
}
