//! The subscriptions to the rows of the right table that are in this partition.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::wire::{Subscription, put_prefix};
use crate::{
    processor::{Children, Context, Node, ProcessError, Record, Target, behind_prefix},
    serde::{Data, Serde, SerdeError},
    state::{Direction, StoreId},
};

/// The store of subscriptions, by foreign key and primary key.
pub(super) struct Subscriptions<L> {
    id: StoreId,
    name: Arc<str>,
    key_serde: Arc<dyn Serde<L>>,
    key: Vec<u8>,
    value: Vec<u8>,
    batch: Vec<Subscription>,
}

/// Keeps the subscriptions that come.
pub(super) struct Register<L> {
    subscriptions: Subscriptions<L>,
    children: Children<Option<L>, Subscription>,
}

/// How many subscriptions are read at a time.
const BATCH: usize = 256;

// === impl Subscriptions ===

impl<L: Data> Subscriptions<L> {
    pub(super) fn new((id, name): (StoreId, Arc<str>), key_serde: Arc<dyn Serde<L>>) -> Self {
        Self { id, name, key_serde, key: Vec::new(), value: Vec::new(), batch: Vec::new() }
    }

    /// Keeps or forgets a subscription, as it says.
    fn apply(
        &mut self,
        ctx: &mut Context,
        foreign_key: &L,
        subscription: &Subscription,
        timestamp_ms: i64,
    ) -> Result<(), ProcessError> {
        self.key.clear();
        self.put_prefix(foreign_key)?;
        self.key.extend_from_slice(&subscription.primary_key);
        self.value.clear();
        let value = (!subscription.instruction.ends()).then(|| {
            subscription.write(&mut self.value);
            self.value.as_slice()
        });
        ctx.stores_mut().write(self.id, &self.key, value, timestamp_ms);
        Ok(())
    }

    /// Does something with each subscription to a row, in the order of their primary keys.
    pub(super) fn for_each(
        &mut self,
        ctx: &mut Context,
        foreign_key: &L,
        mut each: impl FnMut(&mut Context, Subscription) -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        self.key.clear();
        self.put_prefix(foreign_key)?;
        let end = behind_prefix(&self.key);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut from = Bound::Included(self.key.clone());
        // There may be any number of them: some are in memory at a time.
        loop {
            let (mut unreadable, mut next, batch) = (None, None, &mut self.batch);
            let range = (from.as_ref().map(Vec::as_slice), to);
            ctx.stores_mut().scan(self.id, range, Direction::Forward, |key, row| {
                match Subscription::read(row.value) {
                    Ok(subscription) => batch.push(subscription),
                    Err(error) => unreadable = Some(error),
                }
                if unreadable.is_none() && batch.len() < BATCH {
                    return ControlFlow::Continue(());
                }
                next = Some(Bound::Excluded(key.to_vec()));
                ControlFlow::Break(())
            })?;
            if let Some(error) = unreadable {
                self.batch.clear();
                return Err(self.failed(error));
            }
            self.batch.drain(..).try_for_each(|subscription| each(ctx, subscription))?;
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Writes what the keys of all subscriptions to a foreign key begin with behind `self.key`.
    fn put_prefix(&mut self, foreign_key: &L) -> Result<(), ProcessError> {
        self.value.clear();
        let written = self.key_serde.serialize(foreign_key, &mut self.value);
        written.map_err(|error| self.failed(error))?;
        put_prefix(&mut self.key, &self.value);
        Ok(())
    }

    fn failed(&self, source: SerdeError) -> ProcessError {
        ProcessError::Serialization { target: Target::Store(Arc::clone(&self.name)), source }
    }
}

// === impl Register ===

impl<L: Data> Register<L> {
    pub(super) fn new(subscriptions: Subscriptions<L>, children: Children<Option<L>, Subscription>) -> Self {
        Self { subscriptions, children }
    }
}

impl<L: Data> Node<Option<L>, Subscription> for Register<L> {
    fn push(&mut self, ctx: &mut Context, record: Record<Option<L>, Subscription>) -> Result<(), ProcessError> {
        // Rows of a left join that refer to none are answered too.
        if let Some(foreign_key) = &record.key {
            self.subscriptions.apply(ctx, foreign_key, &record.value, record.timestamp_ms)?;
        }
        self.children.forward(ctx, record)
    }
}
