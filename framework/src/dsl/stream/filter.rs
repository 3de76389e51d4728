//! `filter`, `filter_not`, `try_filter`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Passes on the records for which the predicate says what is wanted.
struct Filter<K, V, F> {
    name: Arc<str>,
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
        self.try_filter(move |key, value| Ok::<_, Infallible>(predicate(key, value)))
    }

    /// [`Stream::filter`] with a predicate that may fail.
    #[must_use]
    pub fn try_filter<E, F>(&self, predicate: F) -> Self
    where
        E: UserError,
        F: Fn(&K, &V) -> Result<bool, E> + Send + Sync + 'static,
    {
        self.filter_by("filter", predicate, true)
    }

    /// The records for which the predicate does not hold.
    #[must_use]
    pub fn filter_not<F>(&self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_by("filter-not", move |key, value| Ok::<_, Infallible>(predicate(key, value)), false)
    }

    fn filter_by<E, F>(&self, operator: &'static str, predicate: F, wanted: bool) -> Self
    where
        E: UserError,
        F: Fn(&K, &V) -> Result<bool, E> + Send + Sync + 'static,
    {
        let predicate = Arc::new(predicate);
        let make = move |name, children| Filter { name, predicate: Arc::clone(&predicate), wanted, children };
        self.attach_named(operator, self.serdes.clone(), make)
    }
}

// === impl Filter ===

impl<K: Data, V: Data, E: UserError, F: Fn(&K, &V) -> Result<bool, E>> Node<K, V> for Filter<K, V, F> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let holds = (self.predicate)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        if holds == self.wanted {
            return self.children.forward(ctx, record);
        }
        Ok(())
    }
}
