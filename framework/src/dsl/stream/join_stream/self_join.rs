//! A stream joined with itself, through one store.

use std::sync::Arc;

use crate::{
    dsl::windows::JoinWindows,
    processor::{Children, Context, DropReason, Found, Node, Pages, ProcessError, Record, WindowValues, write_key},
    serde::{Data, Serde, Serdes, is_null},
    topology::{Instantiation, graph::NodeId},
};

/// Joins each record with those before it, these with it, and it with itself: results and their order are those of a join of two streams
/// that are the same.
pub(super) struct SelfJoin<K, V, W, F> {
    windows: JoinWindows,
    joiner: Arc<F>,
    key_serde: Arc<dyn Serde<K>>,
    kept: WindowValues<V>,
    children: Children<K, W>,
    store: Arc<str>,
    /// Reused: the serialized key, what was found.
    key: Vec<u8>,
    page: Vec<Found<V>>,
}

// === impl SelfJoin ===

impl<K: Data, V: Data, W: Data, F: Fn(&K, &V, &V) -> W> SelfJoin<K, V, W, F> {
    pub(super) fn new(
        task: &mut Instantiation<'_>,
        id: NodeId,
        serdes: &Serdes<K, V>,
        windows: JoinWindows,
        joiner: &Arc<F>,
    ) -> Self {
        let (kept, store) = task.used_store(id, 0);
        Self {
            windows,
            joiner: Arc::clone(joiner),
            key_serde: Arc::clone(serdes.key()),
            kept: WindowValues::new(kept, Arc::clone(&store), Arc::clone(serdes.value())),
            children: task.children(id),
            store,
            key: Vec::new(),
            page: Vec::new(),
        }
    }

    /// Joins a record with itself if it is not too late: also where the windows exclude its time, as Kafka Streams.
    fn join_with_itself(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        let stream_time_ms = self.kept.stream_time_ms(ctx).max(record.timestamp_ms);
        // A millisecond later than what others would find of it: as in Kafka Streams.
        let seen_from = stream_time_ms.saturating_sub(self.windows.retention().retention_ms).saturating_add(2);
        let is_late = record.timestamp_ms < seen_from.min(stream_time_ms);
        if is_late {
            return Ok(());
        }
        let value = (self.joiner)(&record.key, &record.value, &record.value);
        self.forward(ctx, record, value, record.timestamp_ms)
    }

    /// Keeps a record for later ones. One without a value is only logged, as by Kafka Streams.
    fn keep(&mut self, ctx: &mut Context, record: &Record<K, V>) -> Result<(), ProcessError> {
        if !self.kept.add(ctx, &self.key, record.timestamp_ms, &record.value, record.timestamp_ms)? {
            ctx.drop_record(DropReason::Expired);
        }
        Ok(())
    }

    fn forward(&mut self, ctx: &mut Context, record: &Record<K, V>, value: W, time: i64) -> Result<(), ProcessError> {
        let (key, headers) = (record.key.clone(), record.headers.clone());
        self.children.forward(ctx, Record { key, value, timestamp_ms: record.timestamp_ms.max(time), headers })
    }
}

impl<K: Data, V: Data, W: Data, F: Fn(&K, &V, &V) -> W> Node<K, V> for SelfJoin<K, V, W, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        write_key(&self.store, &self.key_serde, &record.key, &mut self.key)?;
        if is_null(&record.value) {
            ctx.drop_record(DropReason::NullValue);
            return self.keep(ctx, &record);
        }
        let time = record.timestamp_ms;
        let mut pages = Pages::of(self.windows.around(time));
        while !pages.are_done() {
            let mut page = std::mem::take(&mut self.page);
            self.kept.read(ctx, &self.key, &mut pages, &mut page)?;
            for other in page.drain(..) {
                let value = (self.joiner)(&record.key, &record.value, &other.value);
                self.forward(ctx, &record, value, other.start_ms)?;
            }
            self.page = page;
        }
        let mut is_itself_due = true;
        let mut pages = Pages::of(self.windows.mirrored().around(time));
        while !pages.are_done() {
            let mut page = std::mem::take(&mut self.page);
            self.kept.read(ctx, &self.key, &mut pages, &mut page)?;
            for other in page.drain(..) {
                if is_itself_due && other.start_ms > time {
                    is_itself_due = false;
                    self.join_with_itself(ctx, &record)?;
                }
                let value = (self.joiner)(&record.key, &other.value, &record.value);
                self.forward(ctx, &record, value, other.start_ms)?;
            }
            self.page = page;
        }
        if is_itself_due {
            self.join_with_itself(ctx, &record)?;
        }
        self.keep(ctx, &record)
    }
}
