//! Several streams aggregated into one table of windows.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Cogrouped,
    input::{Initializer, Input},
};
use crate::{
    dsl::{
        SessionWindows, SlidingWindows, Table, TimeWindows, UnlimitedWindows, Windows,
        windowed::{check, retention_of},
        windows::ms,
    },
    serde::{Data, Serde, Serdes, Windowed, default_serde},
    state::{Retention, StoreKind},
    topology::Factory,
};

/// Streams grouped by the same keys and by windows, to be aggregated into one table. Each stream has a stream time of its own: what
/// is late is judged for each of them.
pub struct WindowedCogrouped<'t, K, A, W> {
    cogrouped: Cogrouped<'t, K, A>,
    windows: W,
    retention_ms: Option<i64>,
}

// === impl WindowedCogrouped ===

impl<'t, K: Data, A: Data, W: Windows> WindowedCogrouped<'t, K, A, W> {
    pub(super) fn new(cogrouped: Cogrouped<'t, K, A>, windows: W) -> Self {
        Self { cogrouped, windows, retention_ms: None }
    }

    /// How long the rows of windows can be read after the store's latest window began (the latest session ended). Default, and
    /// least: as long as windows take records.
    #[must_use]
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention_ms: Some(ms(retention)), ..self }
    }

    fn table(
        &self,
        kind: impl FnOnce(Retention) -> StoreKind,
        factory: impl Fn(&dyn Input<K, A>, Arc<dyn Serde<K>>) -> Factory,
    ) -> Table<'t, Windowed<K>, A> {
        let Cogrouped { graph, key_serde, inputs } = &self.cogrouped;
        check(graph, &self.windows, self.retention_ms);
        let factories = inputs.iter().map(|input| factory(&**input, Arc::clone(key_serde))).collect();
        let serdes = Serdes::of(self.windows.serde(Arc::clone(key_serde)), default_serde());
        let kind = kind(retention_of(&self.windows, self.retention_ms));
        let node = self.cogrouped.table(&serdes, kind, Some(self.windows.closes_after_ms()), factories);
        Table::timed(graph, node, serdes, (Arc::clone(key_serde), self.windows.size_ms()))
    }
}

macro_rules! aggregate {
    ($($windows:ty => $nodes:ident, $what:literal;)*) => {$(
        impl<'t, K: Data, A: Data> WindowedCogrouped<'t, K, A, $windows> {
            #[doc = concat!("The aggregate of the records of all streams for each key and ", $what, "; it begins with what \
                `initializer` gives. Records without a key are left out (dropped).")]
            pub fn aggregate<I>(&self, initializer: I) -> Table<'t, Windowed<K>, A>
            where
                I: Fn() -> A + Send + Sync + 'static,
            {
                let initializer: Initializer<A> = Arc::new(initializer);
                self.table(StoreKind::TimestampedWindow, |input, key_serde| {
                    input.$nodes(self.windows, Arc::clone(&initializer), key_serde)
                })
            }
        }
    )*};
}

aggregate! {
    TimeWindows => time, "window";
    UnlimitedWindows => unlimited, "window";
    SlidingWindows => sliding, "sliding window";
}

impl<'t, K: Data, A: Data> WindowedCogrouped<'t, K, A, SessionWindows> {
    /// The aggregate of the records of all streams for each session. Each record begins with what `initializer` gives, to which the
    /// aggregates of the sessions it touches are merged by `merger`. Records without a key are left out (dropped).
    pub fn aggregate<I, M>(&self, initializer: I, merger: M) -> Table<'t, Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        let initializer: Initializer<A> = Arc::new(initializer);
        let merger: super::input::Merger<K, A> = Arc::new(merger);
        self.table(StoreKind::Session, |input, key_serde| {
            input.sessions(self.windows, Arc::clone(&initializer), Arc::clone(&merger), key_serde)
        })
    }
}

impl<K, A, W: fmt::Debug> fmt::Debug for WindowedCogrouped<'_, K, A, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedCogrouped")
            .field("cogrouped", &self.cogrouped)
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}
