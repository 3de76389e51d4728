//! `peek`.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Shows each record to a function.
struct Peek<K, V, F> {
    look: Arc<F>,
    children: Children<K, V>,
}

impl<K: Data, V: Data> Stream<'_, K, V> {
    /// The same records, each one shown to a function: for logs and counters. After a failure it may see a record again.
    pub fn peek<F>(&self, look: F) -> Self
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        let look = Arc::new(look);
        self.attach("peek", self.serdes.clone(), move |children| Peek { look: Arc::clone(&look), children })
    }
}

// === impl Peek ===

impl<K: Data, V: Data, F: Fn(&K, &V)> Node<K, V> for Peek<K, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        (self.look)(&record.key, &record.value);
        self.children.forward(ctx, record)
    }
}
