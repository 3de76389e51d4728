//! How rows of the left table refer to rows of the right one.

use std::sync::Arc;

use super::{
    murmur3::{Hash, hash128},
    wire::{Instruction, Subscription},
};
use crate::{
    processor::{Context, ProcessError, Target},
    serde::{Data, Presence, Serde, SerdeError, Serdes, is_null},
};

/// Makes subscriptions of rows.
pub(super) struct References<K, V, L, E> {
    foreign_key: Arc<E>,
    serdes: Serdes<K, V>,
    foreign_key_serde: Arc<dyn Serde<L>>,
    /// The topic of subscriptions.
    topic: Arc<str>,
    buffers: [Vec<u8>; 2],
}

// === impl References ===

impl<K: Data, V: Data, L: Data, E: Fn(&K, &V) -> Option<L>> References<K, V, L, E> {
    pub(super) fn new(
        foreign_key: Arc<E>,
        serdes: Serdes<K, V>,
        foreign_key_serde: Arc<dyn Serde<L>>,
        topic: Arc<str>,
    ) -> Self {
        Self { foreign_key, serdes, foreign_key_serde, topic, buffers: Default::default() }
    }

    /// The foreign key of a row, if it has one.
    pub(super) fn foreign_key(&self, key: &K, value: Option<&V>) -> Option<L> {
        (self.foreign_key)(key, value?).filter(|foreign_key| !is_null(foreign_key))
    }

    /// Whether two foreign keys have the same bytes.
    pub(super) fn same(&mut self, a: &L, b: &L) -> Result<bool, ProcessError> {
        let [of_a, of_b] = &mut self.buffers;
        for (key, buffer) in [(a, &mut *of_a), (b, &mut *of_b)] {
            buffer.clear();
            self.foreign_key_serde.serialize(key, buffer).map_err(|error| failed(&self.topic, error))?;
        }
        Ok(of_a == of_b)
    }

    /// The serialized key of a row.
    pub(super) fn primary_key(&self, key: &K) -> Result<Vec<u8>, ProcessError> {
        let mut bytes = Vec::new();
        self.serdes.key().serialize(key, &mut bytes).map_err(|error| failed(&self.topic, error))?;
        Ok(bytes)
    }

    /// By what a row's value is told from others; `None` when there is no row.
    pub(super) fn hash(&mut self, value: Option<&V>) -> Result<Option<Hash>, ProcessError> {
        let [bytes, _] = &mut self.buffers;
        bytes.clear();
        let presence = value.map_or(Ok(Presence::Null), |value| self.serdes.value().serialize(value, bytes));
        Ok(presence.map_err(|error| failed(&self.topic, error))?.of(bytes).map(hash128))
    }

    /// What every subscription says that is made of a row in this task; the instruction is to be set.
    pub(super) fn subscription(
        &mut self,
        ctx: &Context,
        key: &K,
        value: Option<&V>,
    ) -> Result<Subscription, ProcessError> {
        let (hash, primary_key) = (self.hash(value)?, self.primary_key(key)?);
        let (instruction, partition) = (Instruction::PropagateNullIfNoFkValAvailable, ctx.task().partition);
        Ok(Subscription { instruction, hash, primary_key, primary_partition: Some(partition) })
    }
}

/// The error of what cannot be written to a topic.
pub(super) fn failed(topic: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Topic(Arc::clone(topic)), source }
}
