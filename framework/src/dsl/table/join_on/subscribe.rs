//! From changes of the left table to subscriptions.

use std::{cell::RefCell, rc::Rc};

use super::{
    references::References,
    unanswered::Unanswered,
    wire::{Instruction, Subscription},
};
use crate::{
    processor::{Change, Children, Context, DropReason, Node, ProcessError, Record},
    serde::Data,
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
    references: References<K, V, L, E>,
    unanswered: Rc<RefCell<Unanswered>>,
    children: Children<Option<L>, Subscription>,
}

// === impl Subscribe ===

impl<K, V, L, E> Subscribe<K, V, L, E> {
    pub(super) fn new(
        kind: Kind,
        references: References<K, V, L, E>,
        unanswered: Rc<RefCell<Unanswered>>,
        children: Children<Option<L>, Subscription>,
    ) -> Self {
        Self { kind, references, unanswered, children }
    }
}

impl<K, V, L, E> Node<K, Change<V>> for Subscribe<K, V, L, E>
where
    K: Data,
    V: Data,
    L: Data,
    E: Fn(&K, &V) -> Option<L>,
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
        let old_key = self.references.foreign_key(&key, old.as_ref());
        let new_key = self.references.foreign_key(&key, new.as_ref());
        if self.kind == Kind::Inner && new.is_some() && new_key.is_none() {
            ctx.drop_record(DropReason::NullForeignKey);
        }
        let stays = match (&old_key, &new_key) {
            (Some(old_key), Some(new_key)) => self.references.same(old_key, new_key)?,
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
            (Kind::Inner, None, None) => (None, None),
        };
        let subscription = self.references.subscription(ctx, &key, new.as_ref())?;
        if self.kind == Kind::Inner {
            let answered = to_old == Some(DeleteKeyAndPropagate) || to_new == Some(PropagateNullIfNoFkValAvailable);
            self.unanswered.borrow_mut().asked(&subscription.primary_key, answered);
        }
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
