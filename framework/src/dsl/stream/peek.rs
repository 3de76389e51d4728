//! `peek`, `try_peek`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Shows each record to a function.
struct Peek<K, V, F> {
    name: Arc<str>,
    look: Arc<F>,
    children: Children<K, V>,
}

impl<K: Data, V: Data> Stream<'_, K, V> {
    /// The same records, each one shown to a function: for logs and counters. After a failure it may see a record again.
    pub fn peek<F>(&self, look: F) -> Self
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        self.try_peek(move |key, value| {
            look(key, value);
            Ok::<_, Infallible>(())
        })
    }

    /// [`Stream::peek`] with a function that may fail: a check, for example.
    pub fn try_peek<E, F>(&self, look: F) -> Self
    where
        E: UserError,
        F: Fn(&K, &V) -> Result<(), E> + Send + Sync + 'static,
    {
        let look = Arc::new(look);
        let make = move |name, children| Peek { name, look: Arc::clone(&look), children };
        self.attach_named("peek", self.serdes.clone(), make)
    }
}

// === impl Peek ===

impl<K: Data, V: Data, E: UserError, F: Fn(&K, &V) -> Result<(), E>> Node<K, V> for Peek<K, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        (self.look)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        self.children.forward(ctx, record)
    }
}
