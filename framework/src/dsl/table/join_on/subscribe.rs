//! From changes of the left table to subscriptions.

use std::sync::Arc;

use super::{
    murmur3::hash128,
    wire::{Instruction, Subscription},
};
use crate::{
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record, Target},
    serde::{Data, Presence, Serde, SerdeError, Serdes, is_null},
    topology::Factory,
};

/// Which rows a join has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those that refer to a row.
    Inner,
    /// All of the left table.
    Left,
}

/// Tells the rows of the right table which rows of the left one refer to them.
pub(super) struct Subscribe<K, V, L, E> {
    kind: Kind,
    foreign_key: Arc<E>,
    serdes: Serdes<K, V>,
    foreign_key_serde: Arc<dyn Serde<L>>,
    /// The topic that subscriptions are written to.
    topic: Arc<str>,
    buffers: [Vec<u8>; 2],
    children: Children<Option<L>, Subscription>,
}

// === impl Subscribe ===

impl<K, V, L, E> Subscribe<K, V, L, E>
where
    K: Data,
    V: Data,
    L: Data,
    E: Fn(&K, &V) -> Option<L> + Send + Sync + 'static,
{
    pub(super) fn factory(
        kind: Kind,
        foreign_key: Arc<E>,
        serdes: Serdes<K, V>,
        foreign_key_serde: Arc<dyn Serde<L>>,
    ) -> Factory {
        Factory::node::<K, Change<V>, _>(move |task, id| Self {
            kind,
            foreign_key: Arc::clone(&foreign_key),
            serdes: serdes.clone(),
            foreign_key_serde: Arc::clone(&foreign_key_serde),
            topic: task.topic_of_sink_behind(id),
            buffers: Default::default(),
            children: task.children(id),
        })
    }

    fn foreign_key(&self, key: &K, value: Option<&V>) -> Option<L> {
        (self.foreign_key)(key, value?).filter(|foreign_key| !is_null(foreign_key))
    }

    /// Whether two foreign keys have the same bytes.
    fn same(&mut self, a: &L, b: &L) -> Result<bool, ProcessError> {
        let [of_a, of_b] = &mut self.buffers;
        for (key, buffer) in [(a, &mut *of_a), (b, &mut *of_b)] {
            buffer.clear();
            self.foreign_key_serde.serialize(key, buffer).map_err(|error| failed(&self.topic, error))?;
        }
        Ok(of_a == of_b)
    }

    /// What every subscription says that comes of a change.
    fn subscription(&mut self, ctx: &Context, key: &K, new: Option<&V>) -> Result<Subscription, ProcessError> {
        let failed = |error| failed(&self.topic, error);
        let [value, _] = &mut self.buffers;
        value.clear();
        let presence = new.map_or(Ok(Presence::Null), |new| self.serdes.value().serialize(new, value));
        let hash = presence.map_err(failed)?.of(value).map(hash128);
        let mut primary_key = Vec::new();
        self.serdes.key().serialize(key, &mut primary_key).map_err(failed)?;
        let (instruction, partition) = (Instruction::DeleteKeyNoPropagate, ctx.task().partition);
        Ok(Subscription { instruction, hash, primary_key, primary_partition: Some(partition) })
    }
}

impl<K, V, L, E> Node<K, Change<V>> for Subscribe<K, V, L, E>
where
    K: Data,
    V: Data,
    L: Data,
    E: Fn(&K, &V) -> Option<L> + Send + Sync + 'static,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        use Instruction::{
            DeleteKeyAndPropagate, DeleteKeyNoPropagate, PropagateNullIfNoFkValAvailable, PropagateOnlyIfFkValAvailable,
        };
        let Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers } = record;
        if !is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        if new.is_none() && old.is_none() {
            return Ok(());
        }
        let old_key = self.foreign_key(&key, old.as_ref());
        let new_key = self.foreign_key(&key, new.as_ref());
        if self.kind == Kind::Inner && new.is_some() && new_key.is_none() {
            ctx.drop_record(DropReason::NullForeignKey);
        }
        let stays = match (&old_key, &new_key) {
            (Some(old_key), Some(new_key)) => self.same(old_key, new_key)?,
            _ => false,
        };
        // Who referred to a row and does so no more has to be told once: by the row it refers to now, if it refers to any.
        let (to_old, to_new) = match (self.kind, &old_key, &new_key) {
            (Kind::Left, Some(_), _) if !stays => (Some(DeleteKeyNoPropagate), Some(PropagateNullIfNoFkValAvailable)),
            (Kind::Left, ..) => (None, Some(PropagateNullIfNoFkValAvailable)),
            (Kind::Inner, Some(_), Some(_)) if !stays => {
                (Some(DeleteKeyNoPropagate), Some(PropagateNullIfNoFkValAvailable))
            }
            // There is no result that would have to be deleted, or only the right row decides whether there is one.
            (Kind::Inner, _, Some(_)) => (None, Some(PropagateOnlyIfFkValAvailable)),
            (Kind::Inner, Some(_), None) => (Some(DeleteKeyAndPropagate), None),
            (Kind::Inner, None, None) => return Ok(()),
        };
        let subscription = self.subscription(ctx, &key, new.as_ref())?;
        if let Some(instruction) = to_old {
            let value = Subscription { instruction, ..subscription.clone() };
            self.children.forward(ctx, Record { key: old_key, value, timestamp_ms, headers: headers.clone() })?;
        }
        if let Some(instruction) = to_new {
            let value = Subscription { instruction, ..subscription };
            self.children.forward(ctx, Record { key: new_key, value, timestamp_ms, headers })?;
        }
        Ok(())
    }
}

/// The error of what cannot be written to a topic.
pub(super) fn failed(topic: &Arc<str>, source: SerdeError) -> ProcessError {
    ProcessError::Serialization { target: Target::Topic(Arc::clone(topic)), source }
}
