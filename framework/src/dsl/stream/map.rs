//! `map`, `try_map`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::{Data, Serdes},
};

/// Gives each record a new key and value.
struct Map<K, V, F> {
    name: Arc<str>,
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
        self.try_map(move |key, value| Ok::<_, Infallible>(mapper(key, value)))
    }

    /// [`Stream::map`] with a function that may fail.
    #[must_use]
    pub fn try_map<L, W, E, F>(&self, mapper: F) -> Stream<'t, L, W>
    where
        L: Data,
        W: Data,
        E: UserError,
        F: Fn(&K, &V) -> Result<(L, W), E> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move |name, children| Map { name, mapper: Arc::clone(&mapper), children };
        self.attach_named("map", Serdes::default(), make).rekeyed()
    }
}

// === impl Map ===

impl<K, V, L, W, E, F> Node<K, V> for Map<L, W, F>
where
    L: Data,
    W: Data,
    E: UserError,
    F: Fn(&K, &V) -> Result<(L, W), E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let (key, value) = (self.mapper)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        let Record { timestamp_ms, headers, .. } = record;
        self.children.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}
