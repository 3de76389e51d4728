//! `flat_map_values`.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Makes any number of records with the same key of each record.
struct FlatMapValues<K, W, F> {
    mapper: Arc<F>,
    children: Children<K, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Any number of new values for each record, each one a record with the same key.
    #[must_use]
    pub fn flat_map_values<I, F>(&self, mapper: F) -> Stream<'t, K, I::Item>
    where
        I: IntoIterator<Item: Data>,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        self.attach("flat-map-values", self.serdes.values(), move |children| FlatMapValues {
            mapper: Arc::clone(&mapper),
            children,
        })
    }
}

// === impl FlatMapValues ===

impl<K: Data, V, I, F> Node<K, V> for FlatMapValues<K, I::Item, F>
where
    I: IntoIterator<Item: Data>,
    F: Fn(&K, &V) -> I,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let values = (self.mapper)(&record.key, &record.value);
        let Record { key, timestamp_ms, headers, .. } = record;
        for value in values {
            self.children.forward(ctx, Record { key: key.clone(), value, timestamp_ms, headers: headers.clone() })?;
        }
        Ok(())
    }
}
