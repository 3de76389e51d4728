//! Factories: how the graph, which knows no types, keeps nodes that are typed.

use std::{any::Any, fmt};

use super::{Instantiation, graph::NodeId};
use crate::processor::{Node, Source};

/// Makes a node for a task. What it gives is a `Box<dyn Node<K, V>>` (or a `Box<dyn Source>`) in a box that hides K and V;
/// [`Instantiation`] opens it again, once per task.
pub(crate) struct Factory(Box<Make>);

type Make = dyn Fn(&mut Instantiation<'_>, NodeId) -> Box<dyn Any> + Send + Sync;

// === impl Factory ===

impl Factory {
    /// A factory of nodes that take records of `K` and `V`.
    pub(crate) fn node<K, V, N>(make: impl Fn(&mut Instantiation<'_>, NodeId) -> N + Send + Sync + 'static) -> Self
    where
        K: 'static,
        V: 'static,
        N: Node<K, V> + 'static,
    {
        Self(Box::new(move |tasks, id| {
            let node: Box<dyn Node<K, V>> = Box::new(make(tasks, id));
            Box::new(node)
        }))
    }

    /// A factory of sources.
    pub(crate) fn source<S: Source + 'static>(
        make: impl Fn(&mut Instantiation<'_>, NodeId) -> S + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(move |tasks, id| {
            let source: Box<dyn Source> = Box::new(make(tasks, id));
            Box::new(source)
        }))
    }

    pub(super) fn make(&self, instantiation: &mut Instantiation<'_>, id: NodeId) -> Box<dyn Any> {
        (self.0)(instantiation, id)
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}
