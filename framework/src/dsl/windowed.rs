//! Groupings within windows, to be aggregated.

mod closing;
mod fixed;
mod session;
mod sliding;
mod time;

#[cfg(test)]
mod tests;

use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

pub use self::fixed::FixedWindows;
pub(super) use self::{fixed::Foldable, session::nodes as session_nodes};
use super::{
    Grouped, Table,
    windows::{Windows, ms},
};
use crate::{
    processor::{Context, TimedStore},
    serde::{Data, Serde, Serdes, Windowed},
    state::{Retention, StoreKind},
    topology::{
        Factory, Instantiation, TopologyError,
        graph::{Graph, NodeId},
    },
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
        check(self.grouped.stream().graph(), &self.windows, self.retention_ms);
        let retention = retention_of(&self.windows, self.retention_ms);
        let retention = if self.on_close { retention.in_buckets(self.windows.time_order_ms()) } else { retention };
        let key_serde = Arc::clone(serdes.key());
        let serdes = serdes.keyed_by(self.windows.serde(Arc::clone(&key_serde)));
        let closes_after_ms = Some(self.windows.closes_after_ms());
        let factory = factory(Arc::clone(&key_serde));
        let node = self.grouped.aggregate_node(operator, &serdes, kind(retention), closes_after_ms, factory);
        Table::timed(self.grouped.stream().graph(), node, serdes, (key_serde, self.windows.size_ms()))
    }

    /// Serdes of rows whose values have the default serde of their type.
    fn values<A: Data>(&self) -> Serdes<K, A> {
        self.grouped.stream().serdes().values()
    }
}

/// The stream time of an operator that has seen no record: to be taken from its store. See [`observe`].
const OF_STORE: i64 = i64::MIN;

/// The stream time that an operator begins with. When it alone writes to its store that knows, after a restart, to which time it had
/// come, but for less than a window.
fn begin_at(task: &Instantiation<'_>, node: NodeId) -> i64 {
    if task.table_of(node) == node { OF_STORE } else { Context::NO_STREAM_TIME }
}

/// Moves the stream time of an operator on.
fn observe<K: 'static, A: 'static>(observed_ms: &mut i64, ctx: &Context, store: &TimedStore<K, A>, time: i64) {
    if *observed_ms == OF_STORE {
        *observed_ms = store.stream_time_ms(ctx);
    }
    *observed_ms = time.max(*observed_ms);
}

/// Says what is wrong with windows, if something is: the topology will not build.
pub(super) fn check(graph: &RefCell<Graph>, windows: &impl Windows, retention_ms: Option<i64>) {
    let problem = windows.problem().or_else(|| {
        let too_short = retention_ms.is_some_and(|retention| retention < windows.least_retention_ms());
        too_short.then_some(("retention", "it must not be shorter than the time for which windows take records"))
    });
    if let Some((windows, reason)) = problem {
        graph.borrow_mut().refuse(TopologyError::Windows { windows: windows.to_owned(), reason });
    }
}

/// How long rows are kept: as long as windows take records, unless something else is said.
pub(super) fn retention_of(windows: &impl Windows, retention_ms: Option<i64>) -> Retention {
    Retention::new(retention_ms.unwrap_or_else(|| windows.least_retention_ms()))
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
    pub(super) fn new(initial: I, add: F) -> Self {
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
