//! Where a topology begins: its sources.

use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

use super::{
    Consumed, DuplicateWindows, GlobalTable, Store, Stream, Table, Versions, global_table, stream, table, windows::ms,
};
use crate::{
    serde::{Data, Serdes},
    state::Retention,
    topology::{
        Topology, TopologyError,
        graph::{Graph, TopicRef},
    },
};

/// A topology that is being written. Streams and tables borrow it, so that nothing can be added when it is built.
pub struct TopologyBuilder {
    name: Arc<str>,
    graph: RefCell<Graph>,
}

/// Topics that are read as one stream: a name, or several.
pub trait Topics {
    /// Their names.
    fn names(self) -> Vec<Arc<str>>;
}

// === impl Topology ===

impl Topology {
    /// A topology without anything in it.
    #[must_use]
    pub fn builder(name: &str) -> TopologyBuilder {
        TopologyBuilder { name: name.into(), graph: RefCell::default() }
    }
}

// === impl TopologyBuilder ===

impl TopologyBuilder {
    /// Reads a topic, or several as one, as a stream: each record stands for itself.
    ///
    /// A null where the type has none counts as a record that cannot be read. Other than by serdes alone, `consumed` may say more about
    /// how the topics are read: see [`Consumed`].
    pub fn stream<K: Data, V: Data>(
        &self,
        topics: impl Topics,
        consumed: impl Into<Consumed<K, V>>,
    ) -> Stream<'_, K, V> {
        stream::source(&self.graph, topics.names().into_iter().map(TopicRef::External).collect(), consumed.into())
    }

    /// Reads a topic as a table: a record replaces the row of its key, a null value deletes it. Records without a key
    /// are left out.
    pub fn table<K: Data, V: Data>(&self, topic: &str, consumed: impl Into<Consumed<K, V>>) -> Table<'_, K, V> {
        table::source(&self.graph, topic, consumed.into())
    }

    /// Reads a topic as a table that every instance has whole, whatever its partitions. Tasks start when it is caught up.
    pub fn global_table<K: Data, V: Data>(&self, topic: &str, serdes: Serdes<K, V>) -> GlobalTable<'_, K, V> {
        global_table::source(&self.graph, topic, serdes)
    }

    /// A key-value store for processors ([`Stream::process`]), with a changelog `<application id>-<name>-changelog`.
    pub fn store<K: Data, V: Data>(&self, name: &str, serdes: Serdes<K, V>) -> Store<K, V> {
        stream::store(&self.graph, name, serdes)
    }

    /// A store for processors of all values that each key had, by the time from which on they were valid: what was valid can be told for
    /// times that are not longer ago than `history`, counted from the latest timestamp of any write. `Stores.versionedKeyValueStoreBuilder`
    /// of Kafka Streams.
    pub fn versioned_store<K: Data, V: Data>(
        &self,
        name: &str,
        serdes: Serdes<K, V>,
        history: Duration,
    ) -> Versions<K, V> {
        stream::versions(&self.graph, name, serdes, Retention::new(ms(history)))
    }

    /// A store for processors that keeps all values of each key and window, for so long (1 ms at the least) by the store's own time: the
    /// latest start of a window. `Stores.windowStoreBuilder` with `retainDuplicates` of Kafka Streams.
    pub fn duplicate_windows<K: Data, V: Data>(
        &self,
        name: &str,
        serdes: Serdes<K, V>,
        retention: Duration,
    ) -> DuplicateWindows<K, V> {
        stream::duplicate_windows(&self.graph, name, serdes, Retention::new(ms(retention).max(1)))
    }

    /// Sets settings of the changelog of a store of processors, as [`Materialized::changelog_config`](super::Materialized::changelog_config)
    /// does.
    pub fn changelog_config<'s, K, V>(
        &self,
        store: Store<K, V>,
        settings: impl IntoIterator<Item = (&'s str, &'s str)>,
    ) -> Store<K, V> {
        stream::configure_changelog(&self.graph, store, settings);
        store
    }

    /// Lets the REST interface read a store of processors.
    pub fn queryable<K, V>(&self, store: Store<K, V>) -> Store<K, V> {
        stream::make_queryable(&self.graph, store);
        store
    }

    /// The finished topology.
    ///
    /// # Errors
    ///
    /// When names are given twice or are impossible, when topics are read in ways that do not agree, or when nothing is
    /// read at all.
    pub fn build(self) -> Result<Topology, TopologyError> {
        Topology::new(self.name, self.graph.into_inner())
    }
}

impl fmt::Debug for TopologyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Topics ===

impl Topics for &str {
    fn names(self) -> Vec<Arc<str>> {
        vec![self.into()]
    }
}

impl Topics for &String {
    fn names(self) -> Vec<Arc<str>> {
        vec![self.as_str().into()]
    }
}

impl<const N: usize> Topics for [&str; N] {
    fn names(self) -> Vec<Arc<str>> {
        self.map(Arc::from).to_vec()
    }
}

impl Topics for &[String] {
    fn names(self) -> Vec<Arc<str>> {
        self.iter().map(|name| name.as_str().into()).collect()
    }
}
