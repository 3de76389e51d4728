//! `map_values`, `try_map_values`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Gives each record a new value.
struct MapValues<K, W, F> {
    name: Arc<str>,
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
        self.try_map_values(move |key, value| Ok::<_, Infallible>(mapper(key, value)))
    }

    /// [`Stream::map_values`] with a function that may fail.
    #[must_use]
    pub fn try_map_values<W, E, F>(&self, mapper: F) -> Stream<'t, K, W>
    where
        W: Data,
        E: UserError,
        F: Fn(&K, &V) -> Result<W, E> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        self.attach_named("map-values", self.serdes.values(), move |name, children| MapValues {
            name,
            mapper: Arc::clone(&mapper),
            children,
        })
    }
}

// === impl MapValues ===

impl<K, V, W, E, F> Node<K, V> for MapValues<K, W, F>
where
    K: Data,
    W: Data,
    E: UserError,
    F: Fn(&K, &V) -> Result<W, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let value = (self.mapper)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        self.children.forward(ctx, record.with_value(value))
    }
}
