//! `map_values`.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Gives each record a new value.
struct MapValues<K, W, F> {
    mapper: Arc<F>,
    children: Children<K, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// A new value for each record, with the default serde of its type.
    #[must_use]
    pub fn map_values<W, F>(&self, mapper: F) -> Stream<'t, K, W>
    where
        W: Data,
        F: Fn(&K, &V) -> W + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        self.attach("map-values", self.serdes.values(), move |children| MapValues {
            mapper: Arc::clone(&mapper),
            children,
        })
    }
}

// === impl MapValues ===

impl<K: Data, V, W: Data, F: Fn(&K, &V) -> W> Node<K, V> for MapValues<K, W, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let value = (self.mapper)(&record.key, &record.value);
        self.children.forward(ctx, record.with_value(value))
    }
}
