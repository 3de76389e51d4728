//! Where a stream comes from.

use std::{cell::RefCell, sync::Arc};

use super::Stream;
use crate::{
    log::{Headers, RecordRef},
    processor::{Children, Context, ProcessError, Record, RecordPart, Source},
    serde::{Data, SerdeError, Serdes},
    topology::{
        Factory,
        graph::{DataType, Graph, GraphNode, TopicRef},
    },
};

/// Reads keys and values.
struct StreamSource<K, V> {
    serdes: Serdes<K, V>,
    children: Children<K, V>,
}

/// The stream of these topics. What is read twice in the same way is one source.
pub(in crate::dsl) fn source<K: Data, V: Data>(
    graph: &RefCell<Graph>,
    topics: Vec<TopicRef>,
    serdes: Serdes<K, V>,
) -> Stream<'_, K, V> {
    const OPERATOR: &str = "stream";
    let data = DataType::of(&serdes);
    let found = graph.borrow().find_source(OPERATOR, &topics, &data);
    let node = found.unwrap_or_else(|| {
        let node = GraphNode::source(OPERATOR, topics, data, factory(serdes.clone()));
        graph.borrow_mut().add(node)
    });
    Stream::new(graph, node, serdes)
}

/// Makes sources that read with these serdes.
pub(super) fn factory<K: Data, V: Data>(serdes: Serdes<K, V>) -> Factory {
    Factory::source(move |task, id| StreamSource { serdes: serdes.clone(), children: task.children(id) })
}

/// The error that says which record cannot be read.
pub(in crate::dsl) fn unreadable(ctx: &Context, part: RecordPart, source: SerdeError) -> ProcessError {
    ProcessError::Deserialization {
        part,
        topic: Arc::clone(ctx.topic()),
        partition: ctx.task().partition,
        offset: ctx.offset(),
        source,
    }
}

// === impl StreamSource ===

impl<K: Data, V: Data> StreamSource<K, V> {
    fn read(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(K, V), ProcessError> {
        let key = self.serdes.key().deserialize(record.key);
        let key = key.map_err(|error| unreadable(ctx, RecordPart::Key, error))?;
        let value = self.serdes.value().deserialize(record.value);
        let value = value.map_err(|error| unreadable(ctx, RecordPart::Value, error))?;
        Ok((key, value))
    }
}

impl<K: Data, V: Data> Source for StreamSource<K, V> {
    fn check(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(), ProcessError> {
        self.read(ctx, record).map(drop)
    }

    fn push(&mut self, ctx: &mut Context, record: &RecordRef<'_>, headers: Headers) -> Result<(), ProcessError> {
        let (key, value) = self.read(ctx, record)?;
        self.children.forward(ctx, Record { key, value, timestamp_ms: record.timestamp_ms, headers })
    }
}
