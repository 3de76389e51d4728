//! `count`, `aggregate`, `reduce` within time, unlimited and sliding windows.

use std::sync::Arc;

use super::{Fold, WindowedGrouped};
use crate::{
    dsl::{Table, windows::Windows},
    serde::{Data, Serde, Serdes, Windowed},
    state::{Retention, StoreKind},
    topology::{Factory, TopologyError},
};

/// Windows within which records are counted, aggregated and reduced: [`TimeWindows`](crate::dsl::TimeWindows),
/// [`UnlimitedWindows`](crate::dsl::UnlimitedWindows), [`SlidingWindows`](crate::dsl::SlidingWindows).
pub trait FixedWindows: Windows + Foldable {}

/// What makes the nodes of an aggregation.
#[derive(Debug)]
pub struct Nodes(pub(in crate::dsl) Factory);

/// Makes the nodes of aggregations.
pub trait Foldable: Windows {
    /// Whether results are passed on only when their window has closed: `on_close`.
    fn nodes<K, V, A, I, F>(self, fold: Fold<I, F>, key_serde: Arc<dyn Serde<K>>, on_close: bool) -> Nodes
    where
        K: Data,
        V: Data,
        A: Data,
        I: Fn() -> Option<A> + Send + Sync + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static;
}

impl<'t, K: Data, V: Data, W: FixedWindows> WindowedGrouped<'t, K, V, W> {
    /// How many records each key has in each window. Records without a key are left out (dropped); those without a value
    /// count, but for sliding windows.
    pub fn count(&self) -> Table<'t, Windowed<K>, i64> {
        let fold = Fold::new(|| Some(0), |_: &K, _: &V, count: Option<i64>| Some(count.unwrap_or(0) + 1));
        self.fold("count", &self.values(), fold)
    }

    /// Folds the records of each key and window: `aggregator` takes key, value and the aggregate so far (that of `initializer`
    /// when there is none) and gives the new one, or `None` to delete it. Records without a key are left out (dropped); those
    /// without a value are not, but for sliding windows.
    pub fn aggregate<A, R, I, F>(&self, initializer: I, aggregator: F) -> Table<'t, Windowed<K>, A>
    where
        A: Data,
        R: Into<Option<A>>,
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> R + Send + Sync + 'static,
    {
        let initial = Arc::new(initializer);
        let none = Arc::clone(&initial);
        let add = move |key: &K, value: &V, so_far: Option<A>| {
            aggregator(key, value, so_far.unwrap_or_else(|| none())).into()
        };
        self.fold("aggregate", &self.values(), Fold::new(move || Some(initial()), add))
    }

    /// Combines the values of each key and window: `reducer` takes the value so far and the next one and gives the new one, or
    /// `None` to delete it. The first value of a window is taken as it is.
    pub fn reduce<R, F>(&self, reducer: F) -> Table<'t, Windowed<K>, V>
    where
        R: Into<Option<V>>,
        F: Fn(V, &V) -> R + Send + Sync + 'static,
    {
        let add = move |_: &K, value: &V, so_far: Option<V>| match so_far {
            Some(so_far) => reducer(so_far, value).into(),
            None => Some(value.clone()),
        };
        let serdes = self.grouped.stream().serdes().clone();
        self.fold("reduce", &serdes, Fold::new(|| None, add))
    }

    /// Passes results on when their window has closed: each of them once, and no update before. A window closes when the stream
    /// time has come to its end plus grace, which takes a record of any key. [`UnlimitedWindows`](crate::dsl::UnlimitedWindows) never
    /// close: the topology will not build.
    #[must_use]
    pub fn emit_on_close(self) -> Self {
        if self.windows.size_ms() == i64::MAX {
            let windows = "emit_on_close".to_owned();
            let reason = "unlimited windows never close: nothing would be passed on";
            self.grouped.stream().graph().borrow_mut().refuse(TopologyError::Windows { windows, reason });
        }
        Self { on_close: true, ..self }
    }

    fn fold<A, I, F>(
        &self,
        operator: &'static str,
        serdes: &Serdes<K, A>,
        fold: Fold<I, F>,
    ) -> Table<'t, Windowed<K>, A>
    where
        A: Data,
        I: Fn() -> Option<A> + Send + Sync + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    {
        let make = |key_serde| self.windows.nodes::<K, V, A, I, F>(fold, key_serde, self.on_close).0;
        // Windows without grace close when their rows have just reached the default retention.
        let kind = |retention: Retention| {
            StoreKind::TimestampedWindow(if self.on_close { retention.in_time_order() } else { retention })
        };
        self.aggregated(operator, serdes, kind, make)
    }
}
