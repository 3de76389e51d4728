//! Where a stream comes from.

use std::{cell::RefCell, sync::Arc};

use super::Stream;
use crate::dsl::consumed::{Consumed, Extractor};
use crate::{
    log::{Headers, RecordRef},
    processor::{Children, Context, ProcessError, Record, RecordPart, Source},
    serde::{Data, SerdeError, Serdes},
    topology::{
        Factory, SourceOptions,
        graph::{DataType, Graph, GraphNode, TopicRef},
    },
};

/// Reads keys and values.
struct StreamSource<K, V> {
    serdes: Serdes<K, V>,
    extractor: Option<Extractor<K, V>>,
    /// The record that was read last to find its time: topic, offset, key and value.
    ahead: Option<(Arc<str>, i64, K, V)>,
    children: Children<K, V>,
}

/// The stream of these topics. What is read twice in the same way is one source.
pub(in crate::dsl) fn source<K: Data, V: Data>(
    graph: &RefCell<Graph>,
    topics: Vec<TopicRef>,
    consumed: Consumed<K, V>,
) -> Stream<'_, K, V> {
    const OPERATOR: &str = "stream";
    let (serdes, extractor, options) = consumed.into_parts();
    let data = DataType::of(&serdes);
    let plain = options == SourceOptions::default();
    let found = if plain { graph.borrow().find_source(OPERATOR, &topics, &data) } else { None };
    let node = found.unwrap_or_else(|| {
        let factory = extracting_factory(serdes.clone(), extractor);
        let node = GraphNode::source(OPERATOR, topics, data, factory).options(options);
        graph.borrow_mut().add(node)
    });
    Stream::new(graph, node, serdes)
}

/// Makes sources that read with these serdes.
pub(in crate::dsl) fn source_factory<K: Clone + 'static, V: Clone + 'static>(serdes: Serdes<K, V>) -> Factory {
    extracting_factory(serdes, None)
}

fn extracting_factory<K: Clone + 'static, V: Clone + 'static>(
    serdes: Serdes<K, V>,
    extractor: Option<Extractor<K, V>>,
) -> Factory {
    Factory::source(move |task, id| StreamSource {
        serdes: serdes.clone(),
        extractor: extractor.clone(),
        ahead: None,
        children: task.children(id),
    })
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

impl<K: Clone + 'static, V: Clone + 'static> StreamSource<K, V> {
    fn read(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(K, V), ProcessError> {
        self.deserialize(record).map_err(|(part, error)| unreadable(ctx, part, error))
    }

    fn deserialize(&self, record: &RecordRef<'_>) -> Result<(K, V), (RecordPart, SerdeError)> {
        let key = self.serdes.key().deserialize(record.key).map_err(|error| (RecordPart::Key, error))?;
        let value = self.serdes.value().deserialize(record.value).map_err(|error| (RecordPart::Value, error))?;
        Ok((key, value))
    }

    /// What was read of the record at hand to find its time.
    fn read_ahead(&mut self, ctx: &Context, record: &RecordRef<'_>) -> Option<(K, V)> {
        let (topic, offset, key, value) = self.ahead.take()?;
        (offset == record.offset && topic == *ctx.topic()).then_some((key, value))
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Source for StreamSource<K, V> {
    fn check(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(), ProcessError> {
        self.read(ctx, record).map(drop)
    }

    fn extract(&mut self, in_partition: (&Arc<str>, i64), record: &RecordRef<'_>, headers: &Headers) -> Option<i64> {
        let extractor = self.extractor.as_ref()?;
        let (topic, partition_time_ms) = in_partition;
        let (key, value) = self.deserialize(record).ok()?;
        let seen = Record { key, value, timestamp_ms: record.timestamp_ms, headers: headers.clone() };
        let time_ms = extractor(&seen, partition_time_ms);
        self.ahead = Some((Arc::clone(topic), record.offset, seen.key, seen.value));
        Some(time_ms)
    }

    fn push(&mut self, ctx: &mut Context, record: &RecordRef<'_>, headers: Headers) -> Result<(), ProcessError> {
        let ahead = if self.ahead.is_some() { self.read_ahead(ctx, record) } else { None };
        let (key, value) = match ahead {
            Some(read) => read,
            None => self.read(ctx, record)?,
        };
        self.children.forward(ctx, Record { key, value, timestamp_ms: record.timestamp_ms, headers })
    }
}
