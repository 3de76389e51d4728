//! The stores of processors: how they are described, and how processors get at them.

#[cfg(test)]
mod tests;

use std::{any::Any, cell::RefCell, fmt, marker::PhantomData, sync::Arc, time::Duration};

use super::windows::ms;
use crate::{
    processor::{
        DuplicateWindowStore, KeyValueStore, LruMap, PlainKeyValueStore, PlainWindowStore, ProcessorStore,
        SessionStore, VersionedStore, WindowStore,
    },
    serde::{Data, Format, Serdes},
    state::{Retention, StoreKind},
    topology::{
        Instantiation, TopologyError,
        graph::{GlobalDef, GlobalIndex, Graph, StoreDef, StoreIndex, StoreOwner},
    },
};

/// What a store of processors is to be: `Stores` and `StoreBuilder` of Kafka Streams.
/// [`TopologyBuilder::add_store`](super::TopologyBuilder::add_store) makes it.
///
/// It is on disk and has a changelog, `<application id>-<name>-changelog`, unless it says otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::{Serdes, Topology, dsl::StoreBuilder};
///
/// let topology = Topology::builder("sightings");
/// let serdes = Serdes::<String, i64>::default();
/// let last_seen = topology.add_store(StoreBuilder::key_value("last-seen", serdes.clone()).queryable());
/// let by_minute = StoreBuilder::window("by-minute", serdes.clone(), Duration::from_secs(60))
///     .retention(Duration::from_secs(86_400))
///     .changelog_config([("segment.ms", "600000")]);
/// let by_minute = topology.add_store(by_minute);
/// let recent = topology.add_store(StoreBuilder::lru_map("recent", serdes, 1000).without_changelog());
/// # let _ = (last_seen, by_minute, recent);
/// ```
///
/// Bounded maps cannot be queried:
///
/// ```compile_fail,E0599
/// use millpond::{Serdes, dsl::StoreBuilder};
///
/// StoreBuilder::lru_map("recent", Serdes::<String, i64>::default(), 1000).queryable();
/// ```
pub struct StoreBuilder<S> {
    name: Arc<str>,
    kind: StoreKind,
    /// The formats of its rows.
    formats: (Format, Format),
    /// `Serdes<S::Key, S::Value>`.
    serdes: Box<dyn Any + Send + Sync>,
    window_size_ms: i64,
    queryable: bool,
    persistent: bool,
    logged: bool,
    changelog_config: Vec<(String, String)>,
    store: PhantomData<fn() -> S>,
}

/// A store that processors can use, made by [`TopologyBuilder::add_store`](super::TopologyBuilder::add_store), or the one of a table
/// ([`Table::store`](super::Table::store)): `S` is what they get, for example a [`KeyValueStore`].
pub struct Store<S> {
    index: StoreIndex,
    store: PhantomData<fn() -> S>,
}

/// Stores of processors that the REST interface can read.
pub trait Queryable {}

/// Stores of rows by key.
pub trait KeyValue {}

/// Stores of windows and sessions, whose rows are kept for a while.
pub trait Retained {}

/// Stores that a processor uses: none (`()`), one, or a tuple of several. Beside those that the topology has for processors these may be
/// [global tables and stores](super::GlobalStore), which every processor can read.
pub trait Stores: Clone + Send + Sync + 'static {
    /// What the processor gets.
    type Open;
    /// Which they are.
    #[doc(hidden)]
    fn list(&self, into: &mut Used);
    /// Opens them for a task.
    #[doc(hidden)]
    fn open(&self, task: &mut TaskStoresOf<'_, '_>) -> Self::Open;
}

/// The stores that a processor uses, by their places in the graph; opaque.
#[derive(Debug, Default)]
pub struct Used {
    pub(super) stores: Vec<StoreIndex>,
    pub(super) globals: Vec<GlobalIndex>,
}

/// The stores of a task; opaque.
pub struct TaskStoresOf<'i, 'r>(pub(super) &'i mut Instantiation<'r>);

// === impl StoreBuilder ===

impl<K: Data, V: Data> StoreBuilder<KeyValueStore<K, V>> {
    /// The latest value and its timestamp per key.
    #[must_use]
    pub fn key_value(name: &str, serdes: Serdes<K, V>) -> Self {
        Self::new(name, StoreKind::TimestampedKeyValue, serdes.formats(), serdes)
    }
}

impl<K: Data, V: Data> StoreBuilder<PlainKeyValueStore<K, V>> {
    /// The latest value per key, without timestamps.
    #[must_use]
    pub fn plain_key_value(name: &str, serdes: Serdes<K, V>) -> Self {
        Self::new(name, StoreKind::KeyValue, serdes.formats(), serdes)
    }
}

impl<K: Data, V: Data> StoreBuilder<WindowStore<K, V>> {
    /// The latest value and its timestamp per key and window, kept for as long as a window is unless [`StoreBuilder::retention`] says
    /// longer. Windows are of one size, and may start at any time.
    #[must_use]
    pub fn window(name: &str, serdes: Serdes<K, V>, size: Duration) -> Self {
        Self::windows(name, StoreKind::TimestampedWindow, serdes, size)
    }
}

impl<K: Data, V: Data> StoreBuilder<PlainWindowStore<K, V>> {
    /// As [`StoreBuilder::window`], without timestamps.
    #[must_use]
    pub fn plain_window(name: &str, serdes: Serdes<K, V>, size: Duration) -> Self {
        Self::windows(name, StoreKind::Window, serdes, size)
    }
}

impl<K: Data, V: Data> StoreBuilder<DuplicateWindowStore<K, V>> {
    /// All values of each key and window, in the order in which they came, kept for so long after the latest start of any
    /// (`retainDuplicates` of Kafka Streams).
    #[must_use]
    pub fn duplicate_windows(name: &str, serdes: Serdes<K, V>, retention: Duration) -> Self {
        let (key, value) = serdes.formats();
        let kind = StoreKind::DuplicateWindow(Retention::new(ms(retention)));
        Self::new(name, kind, (Format::TimeWindowed(Box::new(key)), value), serdes)
    }
}

impl<K: Data, V: Data> StoreBuilder<SessionStore<K, V>> {
    /// The latest value per key and session, kept for so long after the latest end of any.
    #[must_use]
    pub fn session(name: &str, serdes: Serdes<K, V>, retention: Duration) -> Self {
        let (key, value) = serdes.formats();
        let kind = StoreKind::Session(Retention::new(ms(retention)));
        Self::new(name, kind, (Format::SessionWindowed(Box::new(key)), value), serdes)
    }
}

impl<K: Data, V: Data> StoreBuilder<VersionedStore<K, V>> {
    /// All values that each key had, by the time from which on each was valid: what was valid can be told for times that are not longer ago than
    /// `history`, counted from the latest timestamp of any write (`Stores.versionedKeyValueStoreBuilder` of Kafka Streams).
    #[must_use]
    pub fn versioned(name: &str, serdes: Serdes<K, V>, history: Duration) -> Self {
        Self::new(name, StoreKind::Versioned(Retention::new(ms(history))), serdes.formats(), serdes)
    }
}

impl<K: Data, V: Data> StoreBuilder<LruMap<K, V>> {
    /// The latest value per key of so many keys at most (one at the least), those that were used last; [in memory](StoreBuilder::in_memory).
    #[must_use]
    pub fn lru_map(name: &str, serdes: Serdes<K, V>, most: u32) -> Self {
        Self::new(name, StoreKind::LruMap(most.max(1)), serdes.formats(), serdes).in_memory()
    }
}

impl<S: ProcessorStore> StoreBuilder<S> {
    fn new(name: &str, kind: StoreKind, formats: (Format, Format), serdes: Serdes<S::Key, S::Value>) -> Self {
        Self {
            name: name.into(),
            kind,
            formats,
            serdes: Box::new(serdes),
            window_size_ms: 0,
            queryable: false,
            persistent: true,
            logged: true,
            changelog_config: Vec::new(),
            store: PhantomData,
        }
    }

    fn windows(
        name: &str,
        kind: impl FnOnce(Retention) -> StoreKind,
        serdes: Serdes<S::Key, S::Value>,
        size: Duration,
    ) -> Self {
        let (key, value) = serdes.formats();
        let formats = (Format::TimeWindowed(Box::new(key)), value);
        let size_ms = ms(size);
        Self { window_size_ms: size_ms, ..Self::new(name, kind(Retention::new(size_ms)), formats, serdes) }
    }

    /// Keeps it in memory: each start restores it from the beginning of its changelog. It works as on disk, down to the order of its rows.
    ///
    /// It is outside of what
    /// [`memory_bytes`](crate::Config::memory_bytes) bounds, as it has no disk to go to: `millpond_memory_bytes{part="in_memory"}` shows what it takes.
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { persistent: false, ..self }
    }

    /// Leaves it without a changelog: what is lost with the disk, with the memory or with a move to another instance stays lost.
    #[must_use]
    pub fn without_changelog(self) -> Self {
        Self { logged: false, ..self }
    }

    /// Sets settings of its changelog, as [`Materialized::changelog_config`](super::Materialized::changelog_config) does.
    #[must_use]
    pub fn changelog_config<'s>(mut self, settings: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let settings = settings.into_iter().map(|(setting, value)| (setting.to_owned(), value.to_owned()));
        self.changelog_config.extend(settings);
        self
    }

    /// Lets the REST interface read it.
    #[must_use]
    pub fn queryable(self) -> Self
    where
        S: Queryable,
    {
        Self { queryable: true, ..self }
    }

    /// How long its windows can be read after the latest one began, its sessions after the latest one ended.
    #[must_use]
    pub fn retention(self, retention: Duration) -> Self
    where
        S: Retained,
    {
        let retention = Retention::new(ms(retention));
        let kind = match self.kind {
            StoreKind::Window(_) => StoreKind::Window(retention),
            StoreKind::TimestampedWindow(_) => StoreKind::TimestampedWindow(retention),
            StoreKind::Session(_) => StoreKind::Session(retention),
            other => other,
        };
        Self { kind, ..self }
    }

    pub(super) fn add_to(self, graph: &RefCell<Graph>) -> Store<S> {
        let Self { name, kind, formats, serdes, window_size_ms, .. } = self;
        let mut graph = graph.borrow_mut();
        if kind.retention().is_some_and(|retention| retention.retention_ms < window_size_ms.max(1)) {
            let reason = "its retention must be 1 ms at the least, and not shorter than its windows";
            graph.refuse(TopologyError::Store { store: name.to_string(), reason });
        }
        let owner = StoreOwner::Processors { formats, serdes, window_size_ms };
        let mut store = StoreDef::new(owner, kind, Some(name));
        store.configure_changelog(self.changelog_config.iter().map(|(setting, value)| (&**setting, &**value)));
        if self.queryable {
            store.queryable();
        }
        if !self.persistent {
            store.in_memory();
        }
        if !self.logged {
            store.without_changelog();
        }
        Store::new(graph.add_store(store))
    }

    /// The definition of a global store of this kind. Its topic is its changelog.
    pub(super) fn into_global(
        self,
        topic: &str,
        topic_formats: (Format, Format),
        upkeep: crate::topology::Upkeep,
    ) -> GlobalDef {
        GlobalDef {
            topic: topic.into(),
            kind: self.kind,
            name: Some(self.name),
            queryable: self.queryable,
            persistent: self.persistent,
            formats: self.formats,
            topic_formats,
            upkeep,
        }
    }

    /// The serdes of its rows.
    pub(super) fn serdes(&self) -> Serdes<S::Key, S::Value> {
        let serdes: Option<&Serdes<S::Key, S::Value>> = self.serdes.downcast_ref();
        serdes.expect("a builder is made with the serdes of its store").clone()
    }
}

impl<S> fmt::Debug for StoreBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

// === impl Store ===

impl<S> Store<S> {
    pub(super) fn new(index: StoreIndex) -> Self {
        Self { index, store: PhantomData }
    }

    pub(super) fn index(self) -> StoreIndex {
        self.index
    }
}

impl<S> Clone for Store<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Store<S> {}

impl<S> fmt::Debug for Store<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.index).finish()
    }
}

impl<K, V> Queryable for KeyValueStore<K, V> {}
impl<K, V> Queryable for PlainKeyValueStore<K, V> {}
impl<K, V> Queryable for WindowStore<K, V> {}
impl<K, V> Queryable for PlainWindowStore<K, V> {}
impl<K, V> Queryable for SessionStore<K, V> {}
impl<K, V> Queryable for VersionedStore<K, V> {}
impl<K, V> KeyValue for KeyValueStore<K, V> {}
impl<K, V> KeyValue for PlainKeyValueStore<K, V> {}
impl<K, V> Retained for WindowStore<K, V> {}
impl<K, V> Retained for PlainWindowStore<K, V> {}
impl<K, V> Retained for SessionStore<K, V> {}

// === impl Stores ===

impl Stores for () {
    type Open = ();

    fn list(&self, _: &mut Used) {}

    fn open(&self, _: &mut TaskStoresOf<'_, '_>) {}
}

impl<S: ProcessorStore> Stores for Store<S> {
    type Open = S;

    fn list(&self, into: &mut Used) {
        into.stores.push(self.index);
    }

    fn open(&self, TaskStoresOf(task): &mut TaskStoresOf<'_, '_>) -> S {
        task.processor_store(self.index)
    }
}

macro_rules! several {
    ($($store:ident $place:tt),*) => {
        impl<$($store: Stores),*> Stores for ($($store,)*) {
            type Open = ($($store::Open,)*);

            fn list(&self, into: &mut Used) {
                $(self.$place.list(into);)*
            }

            fn open(&self, task: &mut TaskStoresOf<'_, '_>) -> Self::Open {
                ($(self.$place.open(task),)*)
            }
        }
    };
}

several!(A 0, B 1);
several!(A 0, B 1, C 2);
several!(A 0, B 1, C 2, D 3);

impl fmt::Debug for TaskStoresOf<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskStoresOf")
    }
}
