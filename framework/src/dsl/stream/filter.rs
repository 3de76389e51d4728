//! `filter`, `filter_not`.

use std::sync::Arc;

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Passes on the records for which the predicate says what is wanted.
struct Filter<K, V, F> {
    predicate: Arc<F>,
    wanted: bool,
    children: Children<K, V>,
}

impl<K: Data, V: Data> Stream<'_, K, V> {
    /// The records for which the predicate holds.
    #[must_use]
    pub fn filter<F>(&self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_by("filter", predicate, true)
    }

    /// The records for which the predicate does not hold.
    #[must_use]
    pub fn filter_not<F>(&self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_by("filter-not", predicate, false)
    }

    fn filter_by<F>(&self, operator: &'static str, predicate: F, wanted: bool) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let predicate = Arc::new(predicate);
        let make = move |children| Filter { predicate: Arc::clone(&predicate), wanted, children };
        self.attach(operator, self.serdes.clone(), make)
    }
}

// === impl Filter ===

impl<K: Data, V: Data, F: Fn(&K, &V) -> bool> Node<K, V> for Filter<K, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if (self.predicate)(&record.key, &record.value) == self.wanted {
            return self.children.forward(ctx, record);
        }
        Ok(())
    }
}
