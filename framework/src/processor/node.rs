//! Nodes and how they are connected.

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

use super::{Context, ProcessError, Record};
use crate::log::{Headers, RecordRef};

/// A node of a task: takes records of one type.
pub trait Node<K, V> {
    /// Processes a record, and with it everything that follows from it downstream.
    ///
    /// # Errors
    ///
    /// Any error ends the processing of the source record; what it has changed so far must not be committed.
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError>;
}

/// The first node on a record's way: reads it from its bytes.
pub trait Source {
    /// Whether the record can be read.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deserialization`].
    fn check(&self, ctx: &Context, record: &RecordRef<'_>) -> Result<(), ProcessError>;

    /// The time that the source's own function gives to a record of this topic, in a partition of this time; asked only of sources
    /// that have one. `None` when the record cannot be read.
    fn extract(&mut self, in_partition: (&Arc<str>, i64), record: &RecordRef<'_>, headers: &Headers) -> Option<i64>;

    /// Reads a record and processes it. Its position is in `ctx`.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deserialization`] before any other node has seen the record, or what [`Node::push`] says.
    fn push(&mut self, ctx: &mut Context, record: &RecordRef<'_>, headers: Headers) -> Result<(), ProcessError>;
}

/// The nodes that a node pushes its results into, in the order in which they were attached.
pub struct Children<K, V>(Vec<Box<dyn Node<K, V>>>);

/// A node with several parents: each of them owns one of these.
pub struct Shared<K, V>(Rc<RefCell<Box<dyn Node<K, V>>>>);

// === impl Children ===

impl<K, V> Children<K, V> {
    /// These nodes.
    #[must_use]
    pub fn new(nodes: Vec<Box<dyn Node<K, V>>>) -> Self {
        Self(nodes)
    }

    /// Whether there is no one to push to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pushes a record into every child, one after the other. Only the last one gets it without a clone.
    ///
    /// # Errors
    ///
    /// The first error of a child, unless failing nodes are to be left out.
    #[inline]
    pub fn forward(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError>
    where
        K: Clone,
        V: Clone,
    {
        let Some((last, others)) = self.0.split_last_mut() else { return Ok(()) };
        for child in others {
            child.push(ctx, record.clone()).or_else(|error| ctx.node_failed(error))?;
        }
        last.push(ctx, record).or_else(|error| ctx.node_failed(error))
    }

    /// Pushes a record into one child.
    ///
    /// # Errors
    ///
    /// The error of the child, unless failing nodes are to be left out.
    ///
    /// # Panics
    ///
    /// When there is no such child.
    #[inline]
    pub fn forward_to(&mut self, child: usize, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let child = self.0.get_mut(child).expect("outputs are used by the processor that was given them");
        child.push(ctx, record).or_else(|error| ctx.node_failed(error))
    }
}

impl<K, V> fmt::Debug for Children<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Children({})", self.0.len())
    }
}

// === impl Shared ===

impl<K, V> Shared<K, V> {
    /// Makes a node ready for several parents.
    #[must_use]
    pub fn new(node: Box<dyn Node<K, V>>) -> Self {
        Self(Rc::new(RefCell::new(node)))
    }
}

impl<K, V> Node<K, V> for Shared<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        // Never borrowed twice: the graph has no cycle, so a node is never pushed into while it is pushing.
        self.0.borrow_mut().push(ctx, record)
    }
}

impl<K, V> Clone for Shared<K, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Shared<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
