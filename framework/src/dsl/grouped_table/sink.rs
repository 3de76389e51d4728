//! Where changes of rows are written to the repartition topic of their groups.

use std::sync::Arc;

use super::change_serde;
use crate::{
    log::Headers,
    processor::{Change, Context, Node, ProcessError, Record, Target},
    serde::{Data, Presence, SerdeError, Serdes},
};

/// Writes the change of a row: one record when it stays in its group, else one for the group it leaves and one for the group it comes
/// to. It owns the buffers that keys and values are written into.
pub(super) struct ChangeSink<K, V> {
    topic: Arc<str>,
    serdes: Serdes<K, V>,
    /// Bytes at the end of keys that do not count for the partition.
    window_bytes: usize,
    old_key: Vec<u8>,
    new_key: Vec<u8>,
    value: Vec<u8>,
}

// === impl ChangeSink ===

impl<K: Data, V: Data> ChangeSink<K, V> {
    pub(super) fn new(topic: Arc<str>, serdes: Serdes<K, V>) -> Self {
        let window_bytes = serdes.key().format().window_bytes();
        Self { topic, serdes, window_bytes, old_key: Vec::new(), new_key: Vec::new(), value: Vec::new() }
    }

    /// Writes a record for the group whose key is in `new_key`, or in `old_key` when there is nothing new.
    fn send(
        &mut self,
        ctx: &mut Context,
        (new, old): (Option<&V>, Option<&V>),
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        self.value.clear();
        let written = change_serde::write(&**self.serdes.value(), new, old, &mut self.value);
        written.map_err(|source| failed(&self.topic, source))?;
        let key = if new.is_some() { &self.new_key } else { &self.old_key };
        let partition_key = &key[..key.len().saturating_sub(self.window_bytes)];
        ctx.send(&self.topic, Some(key), Some(partition_key), Some(&self.value), timestamp_ms, headers)
    }
}

impl<K: Data, V: Data> Node<(), Change<(K, V)>> for ChangeSink<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<(), Change<(K, V)>>) -> Result<(), ProcessError> {
        let Record { value: Change { new, old, .. }, timestamp_ms, headers, .. } = record;
        for (row, bytes) in [(&old, &mut self.old_key), (&new, &mut self.new_key)] {
            bytes.clear();
            if let Some((key, _)) = row {
                let presence = self.serdes.key().serialize(key, bytes).map_err(|source| failed(&self.topic, source))?;
                if presence == Presence::Null {
                    return Err(failed(&self.topic, SerdeError::Null { type_name: std::any::type_name::<K>() }));
                }
            }
        }
        let (old, new) = (old.as_ref().map(|(_, value)| value), new.as_ref().map(|(_, value)| value));
        if old.is_some() && new.is_some() && self.old_key != self.new_key {
            // What is subtracted goes first, as in Kafka Streams.
            self.send(ctx, (None, old), timestamp_ms, &headers)?;
            return self.send(ctx, (new, None), timestamp_ms, &headers);
        }
        self.send(ctx, (new, old), timestamp_ms, &headers)
    }
}

fn failed(topic: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Topic(Arc::clone(topic)), source }
}
