//! Tables that are read from a topic.

use std::{cell::RefCell, sync::Arc};

use super::Table;
use crate::{
    dsl::{
        consumed::{Consumed, Extractor},
        stream::unreadable,
    },
    log::{Headers, RecordRef},
    processor::{Change, Children, Context, DropReason, ProcessError, Record, RecordPart, Source, TimestampedStore},
    serde::{Data, SerdeError, Serdes, is_null},
    topology::{
        Factory,
        graph::{DataType, Graph, GraphNode, TableDef, TableKind, TopicRef},
    },
};

/// Reads changes, and keeps the rows if someone needs them.
struct TableSource<K, V> {
    serdes: Serdes<K, V>,
    extractor: Option<Extractor<K, V>>,
    store: Option<TimestampedStore<K, V>>,
    /// Whether rows have the bytes of the values they came with.
    keeps_bytes: bool,
    sends_old: bool,
    children: Children<K, Change<V>>,
}

/// The table of a topic.
pub(in crate::dsl) fn source<'t, K: Data, V: Data>(
    graph: &'t RefCell<Graph>,
    topic: &str,
    consumed: Consumed<K, V>,
) -> Table<'t, K, V> {
    let (serdes, extractor, options) = consumed.into_parts();
    let reading = serdes.clone();
    let factory = Factory::source(move |task, id| {
        let store: Option<TimestampedStore<K, V>> = task.store(id);
        TableSource {
            serdes: reading.clone(),
            extractor: extractor.clone(),
            keeps_bytes: store.as_ref().is_some_and(|store| store.serdes().same_values(&reading)),
            store,
            sends_old: task.sends_old(id),
            children: task.changes(id),
        }
    });
    let table = TableDef::new(TableKind::Source, Vec::new(), serdes.clone());
    let topics = vec![TopicRef::External(topic.into())];
    let node = GraphNode::source("table", topics, DataType::of(&serdes), factory).options(options).table(table);
    let node = graph.borrow_mut().add(node);
    Table::stored(graph, node, serdes)
}

// === impl TableSource ===

impl<K: Data, V: Data> TableSource<K, V> {
    fn read(&self, key: &[u8], value: Option<&[u8]>) -> Result<(K, Option<V>), (RecordPart, SerdeError)> {
        let key = self.serdes.key().deserialize(Some(key)).map_err(|error| (RecordPart::Key, error))?;
        let value = value.map(|value| self.serdes.value().deserialize(Some(value))).transpose();
        let value = value.map_err(|error| (RecordPart::Value, error))?;
        Ok((key, value.filter(|value| !is_null(value))))
    }
}

impl<K: Data, V: Data> Source for TableSource<K, V> {
    fn check(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(), ProcessError> {
        match record.key {
            Some(key) => self.read(key, record.value).map(drop).map_err(|(part, error)| unreadable(ctx, part, error)),
            None => Ok(()),
        }
    }

    fn extract(&mut self, in_partition: (&Arc<str>, i64), record: &RecordRef<'_>, headers: &Headers) -> Option<i64> {
        let (extractor, (_, partition_time_ms)) = (self.extractor.as_ref()?, in_partition);
        let (key, value) = self.read(record.key?, record.value).ok()?;
        let (value, timestamp_ms) = (value?, record.timestamp_ms);
        Some(extractor(&Record { key, value, timestamp_ms, headers: headers.clone() }, partition_time_ms))
    }

    fn push(&mut self, ctx: &mut Context, record: &RecordRef<'_>, headers: Headers) -> Result<(), ProcessError> {
        let Some(key) = record.key else {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let (key, new) = self.read(key, record.value).map_err(|(part, error)| unreadable(ctx, part, error))?;
        if is_null(&key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let timestamp_ms = record.timestamp_ms;
        let (old, is_latest) = match &mut self.store {
            Some(store) => {
                let mut row = store.entry(&key)?;
                let old = if self.sends_old { row.read(ctx)?.map(|(old, _)| old) } else { None };
                // The order of the log decides, unless the store keeps versions: an update with an older timestamp than the row's
                // is applied too.
                let written = match &new {
                    Some(_) if self.keeps_bytes => row.write_bytes(ctx, record.value, timestamp_ms)?,
                    new => row.write(ctx, new.as_ref(), timestamp_ms)?,
                };
                let Some(is_latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
                (old, is_latest)
            }
            None => (None, true),
        };
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}
