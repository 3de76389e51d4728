//! From subscriptions, and from changes of the right table, to what is told to the left one.

use std::sync::Arc;

use super::{
    murmur3::Hash,
    references::failed,
    subscriptions::Subscriptions,
    wire::{Instruction, Subscription, put_response},
};
use crate::{
    dsl::table::Lookup,
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record},
    serde::{Data, Serde},
};

/// What is told to a row of the left table, whose serialized key is that of the record.
#[derive(Debug, Clone)]
pub(super) struct Message {
    hash: Option<Hash>,
    /// The serialized row of the right table.
    row: Option<Arc<[u8]>>,
    /// The partition of the left row; `None`: that of its key.
    partition: Option<i32>,
}

/// Answers subscriptions when they come.
pub(super) struct Answer<L, T> {
    rows: Box<dyn Lookup<L, T>>,
    values: Values<T>,
    children: Children<Vec<u8>, Message>,
}

/// Tells all who refer to a row that it has changed.
pub(super) struct Update<L, T> {
    subscriptions: Subscriptions<L>,
    values: Values<T>,
    children: Children<Vec<u8>, Message>,
}

/// Writes to the topic of responses, in the partitions that the subscriptions came from.
pub(super) struct AnswerSink {
    topic: Arc<str>,
    value: Vec<u8>,
}

/// Serializes rows of the right table.
struct Values<T> {
    serde: Arc<dyn Serde<T>>,
    topic: Arc<str>,
    buffer: Vec<u8>,
}

// === impl Message ===

impl Message {
    fn to(subscription: Subscription, row: Option<Arc<[u8]>>) -> (Vec<u8>, Self) {
        let Subscription { hash, primary_key, primary_partition: partition, .. } = subscription;
        (primary_key, Self { hash, row, partition })
    }
}

// === impl Answer ===

impl<L: Data, T: Data> Answer<L, T> {
    pub(super) fn new(
        rows: Box<dyn Lookup<L, T>>,
        serde: Arc<dyn Serde<T>>,
        topic: Arc<str>,
        children: Children<Vec<u8>, Message>,
    ) -> Self {
        Self { rows, values: Values { serde, topic, buffer: Vec::new() }, children }
    }
}

impl<L: Data, T: Data> Node<Option<L>, Subscription> for Answer<L, T> {
    fn push(&mut self, ctx: &mut Context, record: Record<Option<L>, Subscription>) -> Result<(), ProcessError> {
        let Record { key, value: subscription, timestamp_ms, headers } = record;
        if subscription.instruction == Instruction::DeleteKeyNoPropagate {
            return Ok(());
        }
        let row = key.map(|key| self.rows.get(ctx, &key)).transpose()?.flatten();
        // Also what says that there is no row any more is as late as the row.
        let timestamp_ms = row.as_ref().map_or(timestamp_ms, |(_, row_ms)| timestamp_ms.max(*row_ms));
        let row = match (subscription.instruction, row) {
            (Instruction::PropagateOnlyIfFkValAvailable, None) => return Ok(()),
            (Instruction::DeleteKeyAndPropagate, _) => None,
            (_, row) => self.values.bytes(row.as_ref().map(|(row, _)| row))?,
        };
        let (key, value) = Message::to(subscription, row);
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}

// === impl Update ===

impl<L: Data, T: Data> Update<L, T> {
    pub(super) fn new(
        subscriptions: Subscriptions<L>,
        serde: Arc<dyn Serde<T>>,
        topic: Arc<str>,
        children: Children<Vec<u8>, Message>,
    ) -> Self {
        Self { subscriptions, values: Values { serde, topic, buffer: Vec::new() }, children }
    }
}

impl<L: Data, T: Data> Node<L, Change<T>> for Update<L, T> {
    fn push(&mut self, ctx: &mut Context, record: Record<L, Change<T>>) -> Result<(), ProcessError> {
        let Record { key: foreign_key, value: Change { new, is_latest, .. }, timestamp_ms, headers } = record;
        if !is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let row = self.values.bytes(new.as_ref())?;
        let Self { subscriptions, children, .. } = self;
        subscriptions.for_each(ctx, &foreign_key, |ctx, subscription| {
            let (key, value) = Message::to(subscription, row.clone());
            children.forward(ctx, Record { key, value, timestamp_ms, headers: headers.clone() })
        })
    }
}

// === impl Values ===

impl<T: Data> Values<T> {
    fn bytes(&mut self, row: Option<&T>) -> Result<Option<Arc<[u8]>>, ProcessError> {
        let Some(row) = row else { return Ok(None) };
        self.buffer.clear();
        let presence = self.serde.serialize(row, &mut self.buffer).map_err(|error| failed(&self.topic, error))?;
        Ok(presence.of(&self.buffer).map(Arc::from))
    }
}

// === impl AnswerSink ===

impl AnswerSink {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Self { topic, value: Vec::new() }
    }
}

impl Node<Vec<u8>, Message> for AnswerSink {
    fn push(&mut self, ctx: &mut Context, record: Record<Vec<u8>, Message>) -> Result<(), ProcessError> {
        let Record { key, value: Message { hash, row, partition }, timestamp_ms, headers } = record;
        self.value.clear();
        put_response(&mut self.value, hash.as_ref(), row.as_deref());
        let (topic, value) = (&self.topic, Some(self.value.as_slice()));
        match partition {
            Some(partition) => ctx.send_to(topic, partition, Some(&key), value, timestamp_ms, &headers),
            None => ctx.send(topic, Some(&key), Some(&key), value, timestamp_ms, &headers),
        }
    }
}
