//! `map`.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::{Data, Serdes},
};

/// Gives each record a new key and value.
struct Map<K, V, F> {
    mapper: Arc<F>,
    children: Children<K, V>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// A new key and value for each record. Keys count as changed.
    #[must_use]
    pub fn map<L, W, F>(&self, mapper: F) -> Stream<'t, L, W>
    where
        L: Data,
        W: Data,
        F: Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move |children| Map { mapper: Arc::clone(&mapper), children };
        self.attach("map", Serdes::default(), make).rekeyed()
    }
}

// === impl Map ===

impl<K, V, L, W, F> Node<K, V> for Map<L, W, F>
where
    L: Data,
    W: Data,
    F: Fn(&K, &V) -> (L, W),
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let (key, value) = (self.mapper)(&record.key, &record.value);
        let Record { timestamp_ms, headers, .. } = record;
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}
