//! `select_key`, `group_by`, `group_by_key`.

use std::sync::Arc;

use super::Stream;
use crate::{
    dsl::Grouped,
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Gives each record a new key.
struct SelectKey<L, V, F> {
    mapper: Arc<F>,
    children: Children<L, V>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// A new key for each record, with the default serde of its type. Keys count as changed.
    #[must_use]
    pub fn select_key<L, F>(&self, mapper: F) -> Stream<'t, L, V>
    where
        L: Data,
        F: Fn(&K, &V) -> L + Send + Sync + 'static,
    {
        self.select_key_as("select-key", mapper)
    }

    /// Groups records by a new key, with the default serde of its type, to aggregate them.
    #[must_use]
    pub fn group_by<L, F>(&self, mapper: F) -> Grouped<'t, L, V>
    where
        L: Data,
        F: Fn(&K, &V) -> L + Send + Sync + 'static,
    {
        self.select_key_as("group-by", mapper).group_by_key()
    }

    /// Groups records by their key, to aggregate them.
    #[must_use]
    pub fn group_by_key(&self) -> Grouped<'t, K, V> {
        Grouped::new(self.clone())
    }

    fn select_key_as<L, F>(&self, operator: &'static str, mapper: F) -> Stream<'t, L, V>
    where
        L: Data,
        F: Fn(&K, &V) -> L + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move |children| SelectKey { mapper: Arc::clone(&mapper), children };
        self.attach(operator, self.serdes.keys(), make).rekeyed()
    }
}

// === impl SelectKey ===

impl<K, L: Data, V: Data, F: Fn(&K, &V) -> L> Node<K, V> for SelectKey<L, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let key = (self.mapper)(&record.key, &record.value);
        self.children.forward(ctx, record.with_key(key))
    }
}
