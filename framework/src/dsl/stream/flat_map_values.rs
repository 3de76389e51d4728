//! `flat_map_values`, `try_flat_map_values`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Makes any number of records with the same key of each record.
struct FlatMapValues<K, W, F> {
    name: Arc<str>,
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
        self.try_flat_map_values(move |key, value| Ok::<_, Infallible>(mapper(key, value)))
    }

    /// [`Stream::flat_map_values`] with a function that may fail.
    #[must_use]
    pub fn try_flat_map_values<I, E, F>(&self, mapper: F) -> Stream<'t, K, I::Item>
    where
        I: IntoIterator<Item: Data>,
        E: UserError,
        F: Fn(&K, &V) -> Result<I, E> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        self.attach_named("flat-map-values", self.serdes.values(), move |name, children| FlatMapValues {
            name,
            mapper: Arc::clone(&mapper),
            children,
        })
    }
}

// === impl FlatMapValues ===

impl<K: Data, V, I, E, F> Node<K, V> for FlatMapValues<K, I::Item, F>
where
    I: IntoIterator<Item: Data>,
    E: UserError,
    F: Fn(&K, &V) -> Result<I, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let values = (self.mapper)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        let Record { key, timestamp_ms, headers, .. } = record;
        for value in values {
            self.children.forward(ctx, Record { key: key.clone(), value, timestamp_ms, headers: headers.clone() })?;
        }
        Ok(())
    }
}
