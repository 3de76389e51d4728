//! `to`: where a stream is written to a topic.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Context, Node, ProcessError, Record, Target},
    serde::{Data, SerdeError, Serdes},
    topology::{
        Factory,
        graph::{GraphNode, TopicRef},
    },
};

/// Writes records to a topic. It owns the buffers that keys and values are written into.
pub(in crate::dsl) struct Sink<K, V> {
    topic: Arc<str>,
    serdes: Serdes<K, V>,
    /// Bytes at the end of keys that do not count for the partition.
    window_bytes: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<K: Data, V: Data> Stream<'_, K, V> {
    /// Writes the stream to a topic, which must exist, with the stream's serdes. Partitions are chosen by the bytes of the
    /// key, as Java producers do; those of windowed keys by the key without the window, as Kafka Streams does.
    pub fn to(&self, topic: &str) {
        self.to_with(topic, self.serdes.clone());
    }

    /// Writes the stream to a topic with these serdes. See [`Stream::to`].
    pub fn to_with(&self, topic: &str, serdes: Serdes<K, V>) {
        let factory = Factory::node::<K, V, _>(move |task, id| Sink::new(task.sink_topic(id), serdes.clone()));
        self.graph.borrow_mut().add(GraphNode::sink(self.node, TopicRef::External(topic.into()), factory));
    }
}

// === impl Sink ===

impl<K: Data, V: Data> Sink<K, V> {
    pub(in crate::dsl) fn new(topic: Arc<str>, serdes: Serdes<K, V>) -> Self {
        let window_bytes = serdes.key().format().window_bytes();
        Self { topic, serdes, window_bytes, key: Vec::new(), value: Vec::new() }
    }

    fn failed(&self, source: SerdeError) -> ProcessError {
        ProcessError::Serialization { target: Target::Topic(Arc::clone(&self.topic)), source }
    }
}

impl<K: Data, V: Data> Node<K, V> for Sink<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        self.key.clear();
        self.value.clear();
        let key = self.serdes.key().serialize(&record.key, &mut self.key).map_err(|error| self.failed(error))?;
        let value =
            self.serdes.value().serialize(&record.value, &mut self.value).map_err(|error| self.failed(error))?;
        let key = key.of(&self.key);
        let partition_key = key.map(|key| &key[..key.len().saturating_sub(self.window_bytes)]);
        ctx.send(&self.topic, key, partition_key, value.of(&self.value), record.timestamp_ms, &record.headers)
    }
}
