//! `suppress`: letting changes wait.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use super::{Lookup, Rows, Table};
use crate::{
    dsl::windows::ms,
    processor::{BufferStore, Change, Children, Context, Node, ProcessError, Record},
    serde::{Data, Windowed},
    state::StoreKind,
    topology::{
        Factory, TopologyError,
        graph::{GraphNode, TableDef, TableKind},
    },
};

/// How much may wait in a buffer, and what happens when more would. A buffer is part of the state: it lies on disk, and in a changelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    max_records: Option<u64>,
    max_bytes: Option<u64>,
    emits_early: bool,
}

/// By which time a change waits.
type TimeOf<K> = Arc<dyn Fn(&K, i64) -> i64 + Send + Sync>;

/// Lets changes wait.
struct Suppress<K, V> {
    store: BufferStore<K, V>,
    time_of: TimeOf<K>,
    /// How much later than the time by which a change waits the stream time must be.
    wait_ms: i64,
    /// Whether deletions are left out when their time has come.
    skips_deletions: bool,
    buffer: Buffer,
    /// The latest timestamp of any change.
    observed_ms: i64,
    /// No change waits by an earlier time.
    first_ms: i64,
    /// As of how many discards of the state these are.
    discards: Option<u64>,
    children: Children<K, Change<V>>,
}

/// The rows of a table without the changes that wait.
struct SuppressedRows<K, V> {
    store: BufferStore<K, V>,
    rows: Box<dyn Lookup<K, V>>,
}

// === impl Buffer ===

impl Buffer {
    /// As much as there is.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { max_records: None, max_bytes: None, emits_early: false }
    }

    /// At most the changes of so many keys.
    #[must_use]
    pub const fn max_records(self, records: u64) -> Self {
        Self { max_records: Some(records), ..self }
    }

    /// At most so many bytes, counted as `BufferConfig.maxBytes` of Kafka Streams counts them: for each key those of the key, of its
    /// last value and of the values before it, of the headers and of the name of the topic that the update comes from, and 28 more.
    #[must_use]
    pub const fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: Some(bytes), ..self }
    }

    /// When it is full the change that has waited longest is passed on early. Otherwise the task fails.
    #[must_use]
    pub const fn emit_early_when_full(self) -> Self {
        Self { emits_early: true, ..self }
    }
}

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// Lets the changes of each key wait for so long, by the stream time from the first of them on, and passes on the last one.
    /// What waits goes on only when the stream time does, which takes a change of any key.
    #[must_use]
    pub fn suppress_for(&self, limit: Duration, buffer: Buffer) -> Self {
        self.suppress(Arc::new(|_, timestamp_ms| timestamp_ms), ms(limit), false, buffer)
    }

    fn suppress(&self, time_of: TimeOf<K>, wait_ms: i64, skips_deletions: bool, buffer: Buffer) -> Self {
        let mut graph = self.graph.borrow_mut();
        // A change that waits is sent on with its old value, and rows are looked up as they were before it.
        graph.send_old_values(self.node, true);
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| Suppress {
            store: task.buffer_store(id),
            time_of: Arc::clone(&time_of),
            wait_ms,
            skips_deletions,
            buffer,
            observed_ms: Context::NO_STREAM_TIME,
            first_ms: i64::MIN,
            discards: None,
            children: task.children(id),
        });
        let table = TableDef::new(TableKind::Suppressed, vec![self.node], self.serdes.clone());
        let node = graph.add(GraphNode::operator("suppress", vec![self.node], factory).table(table));
        graph.keep_as(node, StoreKind::Buffer);
        drop(graph);
        let rows = Arc::clone(&self.rows);
        let rows: Rows<K, V> =
            Arc::new(move |task| Box::new(SuppressedRows { store: task.buffer_store(node), rows: rows(task) }));
        Self { graph: self.graph, node, serdes: self.serdes.clone(), rows }
    }
}

impl<K: Data, V: Data> Table<'_, Windowed<K>, V> {
    /// Lets the updates of each window wait until it has closed, and passes on the last one: one result for each window. Windows
    /// close when the stream time of this operator has come to their end plus grace (sessions: plus gap and grace), which takes an
    /// update of any window.
    ///
    /// The buffer must be bounded by failing, if at all: results that are passed on early would not be final.
    #[must_use]
    pub fn suppress_until_windows_close(&self, buffer: Buffer) -> Self {
        let closes_after_ms = self.graph.borrow().closes_after_ms(self.node);
        let reason = match closes_after_ms {
            None => Some("the table is not made of windows by this topology: nothing says when they close"),
            Some(_) if buffer.emits_early => Some("the buffer must not pass on early what has to be final"),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            let windows = "suppress_until_windows_close".to_owned();
            self.graph.borrow_mut().refuse(TopologyError::Windows { windows, reason });
        }
        let time_of = Arc::new(|key: &Windowed<K>, _| key.end_ms);
        self.suppress(time_of, closes_after_ms.unwrap_or(0), true, buffer)
    }
}

// === impl Suppress ===

impl<K: Data, V: Data> Suppress<K, V> {
    /// Takes up the times again that the buffer has: at first, and when changes were taken back.
    fn look_anew(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        let discards = Some(ctx.stores().discards());
        if self.discards != discards {
            self.observed_ms = self.store.latest_ms(ctx)?;
            self.first_ms = i64::MIN;
            self.discards = discards;
        }
        Ok(())
    }

    fn emit(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        if record.value.new.is_none() && self.skips_deletions {
            return Ok(());
        }
        self.children.forward(ctx, record)
    }

    /// Passes on early what is too much, or fails.
    fn make_room(&mut self, ctx: &mut Context, timestamp_ms: i64) -> Result<(), ProcessError> {
        if self.buffer.max_records.is_none() && self.buffer.max_bytes.is_none() {
            return Ok(());
        }
        loop {
            let size = self.store.size(ctx)?;
            let too_many = self.buffer.max_records.is_some_and(|max| size.records > max);
            if !too_many && self.buffer.max_bytes.is_none_or(|max| size.bytes <= max) {
                return Ok(());
            }
            if !self.buffer.emits_early {
                let (store, records, bytes) = (Arc::clone(self.store.name()), size.records, size.bytes);
                return Err(ProcessError::BufferFull { store, records, bytes });
            }
            let Some(record) = self.store.take(ctx, i64::MAX, timestamp_ms)? else { return Ok(()) };
            self.emit(ctx, record)?;
        }
    }
}

impl<K: Data, V: Data> Node<K, Change<V>> for Suppress<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        self.look_anew(ctx)?;
        self.observed_ms = self.observed_ms.max(record.timestamp_ms);
        let time = (self.time_of)(&record.key, record.timestamp_ms);
        self.store.put(ctx, &record, time)?;
        self.first_ms = self.first_ms.min(time);
        let until = self.observed_ms.saturating_sub(self.wait_ms);
        if self.first_ms <= until {
            while let Some(due) = self.store.take(ctx, until, record.timestamp_ms)? {
                self.emit(ctx, due)?;
            }
            self.first_ms = self.store.first(ctx)?.unwrap_or(i64::MAX);
        }
        self.make_room(ctx, record.timestamp_ms)
    }
}

// === impl SuppressedRows ===

impl<K: Data, V: Data> Lookup<K, V> for SuppressedRows<K, V> {
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(V, i64)>, ProcessError> {
        match self.store.prior(ctx, key)? {
            Some(prior) => Ok(prior),
            None => self.rows.get(ctx, key),
        }
    }

    /// Tables that keep versions are not suppressed.
    fn get_as_of(&mut self, ctx: &mut Context, key: &K, _: i64) -> Result<Option<(V, i64)>, ProcessError> {
        self.get(ctx, key)
    }
}
