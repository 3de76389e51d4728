//! Groupings within windows, to be aggregated.

mod closing;
mod fixed;
mod session;
mod sliding;
mod time;

use std::{fmt, sync::Arc, time::Duration};

pub use self::fixed::FixedWindows;
use super::{
    Grouped, Table,
    windows::{Windows, ms},
};
use crate::{
    serde::{Data, Serde, Serdes, Windowed},
    state::{Retention, StoreKind},
    topology::{Factory, TopologyError},
};

/// Records grouped by key and by windows. Each aggregation is a table of windowed keys, which passes on every update of a window
/// unless it is told to wait.
///
/// Only what is grouped can be windowed:
///
/// ```compile_fail,E0599
/// use std::time::Duration;
/// use millpond::{Serdes, Topology, dsl::TimeWindows};
///
/// let topology = Topology::builder("words");
/// let words = topology.stream("words", Serdes::<String, String>::default());
/// words.windowed_by(TimeWindows::tumbling(Duration::from_secs(60)));
/// ```
pub struct WindowedGrouped<'t, K, V, W> {
    grouped: Grouped<'t, K, V>,
    windows: W,
    retention_ms: Option<i64>,
    /// Whether results are passed on when their window has closed, not before.
    on_close: bool,
}

/// How records are folded into the aggregate of a window: `initial` is the aggregate of none, `add` that with one more.
pub struct Fold<I, F> {
    initial: Arc<I>,
    add: Arc<F>,
}

// === impl WindowedGrouped ===

impl<'t, K: Data, V: Data, W: Windows> WindowedGrouped<'t, K, V, W> {
    pub(super) fn new(grouped: Grouped<'t, K, V>, windows: W) -> Self {
        Self { grouped, windows, retention_ms: None, on_close: false }
    }

    /// How long the rows of windows can be read after the store's latest window began (the latest session ended). Default, and
    /// least: as long as windows take records.
    #[must_use]
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention_ms: Some(ms(retention)), ..self }
    }

    /// The table of a new aggregation, and what its store is.
    fn aggregated<A: Data>(
        &self,
        operator: &'static str,
        serdes: &Serdes<K, A>,
        kind: impl FnOnce(Retention) -> StoreKind,
        factory: impl FnOnce(Arc<dyn Serde<K>>) -> Factory,
    ) -> Table<'t, Windowed<K>, A> {
        self.check();
        let retention = Retention::new(self.retention_ms.unwrap_or_else(|| self.windows.least_retention_ms()));
        let retention = if self.on_close { retention.in_buckets(self.windows.time_order_ms()) } else { retention };
        let key_serde = Arc::clone(serdes.key());
        let serdes = serdes.keyed_by(self.windows.serde(Arc::clone(&key_serde)));
        let node = self.grouped.aggregate_node(operator, &serdes, kind(retention), factory(Arc::clone(&key_serde)));
        Table::timed(self.grouped.stream().graph(), node, serdes, key_serde)
    }

    /// Serdes of rows whose values have the default serde of their type.
    fn values<A: Data>(&self) -> Serdes<K, A> {
        self.grouped.stream().serdes().values()
    }

    fn check(&self) {
        let problem = self.windows.problem().or_else(|| {
            let too_short = self.retention_ms.is_some_and(|retention| retention < self.windows.least_retention_ms());
            too_short.then_some(("retention", "it must not be shorter than the time for which windows take records"))
        });
        if let Some((what, reason)) = problem {
            let windows = what.to_owned();
            self.grouped.stream().graph().borrow_mut().refuse(TopologyError::Windows { windows, reason });
        }
    }
}

impl<K, V, W: fmt::Debug> fmt::Debug for WindowedGrouped<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedGrouped")
            .field("grouped", &self.grouped)
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

// === impl Fold ===

impl<I, F> Fold<I, F> {
    fn new(initial: I, add: F) -> Self {
        Self { initial: Arc::new(initial), add: Arc::new(add) }
    }
}

impl<I, F> fmt::Debug for Fold<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fold")
    }
}

impl<I, F> Clone for Fold<I, F> {
    fn clone(&self) -> Self {
        Self { initial: Arc::clone(&self.initial), add: Arc::clone(&self.add) }
    }
}
