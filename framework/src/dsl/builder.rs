//! Where a topology begins: its sources.

use std::{cell::RefCell, fmt, sync::Arc};

use super::{
    Consumed, GlobalStore, GlobalTable, KeyValue, Queryable, Store, StoreBuilder, Stream, Table, global_store,
    global_table, stream, table,
};
use crate::{
    processor::{GlobalContext, KeyValueStore, ProcessorResult, ProcessorStore, Record},
    serde::{Data, Serdes},
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

    /// A key-value store for processors ([`Stream::process`]), with timestamps, on disk, and with a changelog
    /// `<application id>-<name>-changelog`. For others see [`TopologyBuilder::add_store`].
    pub fn store<K: Data, V: Data>(&self, name: &str, serdes: Serdes<K, V>) -> Store<KeyValueStore<K, V>> {
        self.add_store(StoreBuilder::key_value(name, serdes))
    }

    /// A store for processors: see [`StoreBuilder`].
    pub fn add_store<S: ProcessorStore>(&self, store: StoreBuilder<S>) -> Store<S> {
        store.add_to(&self.graph)
    }

    /// A store that every instance has whole, whatever the partitions of its topic, and that `update` keeps up to date (`addGlobalStore` of
    /// Kafka Streams): it is given every record of the topic, with the store and a context to use it. Tasks start when all there is has
    /// gone through it; every processor can read the store.
    ///
    /// The topic is the store's changelog: a start goes on where the store was committed, and reads the topic from its beginning when it
    /// is in memory. So what `update` does should follow from the record and the store alone. An error of it stops the instance.
    ///
    /// ```
    /// use millpond::{Serdes, Topology, dsl::StoreBuilder};
    ///
    /// let topology = Topology::builder("names");
    /// let serdes = Serdes::<String, String>::default();
    /// let names = StoreBuilder::plain_key_value("names", serdes.clone());
    /// let names = topology.global_store(names, "people", serdes, |names, ctx, person| {
    ///     Ok(names.put(ctx, &person.key, &person.value.to_uppercase())?)
    /// });
    /// # let _ = names; topology.build().unwrap();
    /// ```
    pub fn global_store<S, K, V>(
        &self,
        store: StoreBuilder<S>,
        topic: &str,
        serdes: Serdes<K, V>,
        update: impl Fn(&mut S, &mut GlobalContext<'_>, Record<K, V>) -> ProcessorResult + Send + Sync + 'static,
    ) -> GlobalStore<S::Key, S::Value>
    where
        S: ProcessorStore + KeyValue + Send,
        S::Key: Data,
        S::Value: Data,
        K: Data,
        V: Data,
    {
        global_store::add(&self.graph, store, topic, serdes, update)
    }

    /// Sets settings of the changelog of a store of processors, as [`Materialized::changelog_config`](super::Materialized::changelog_config)
    /// does.
    pub fn changelog_config<'s, S>(
        &self,
        store: Store<S>,
        settings: impl IntoIterator<Item = (&'s str, &'s str)>,
    ) -> Store<S> {
        self.graph.borrow_mut().store_mut(store.index()).configure_changelog(settings);
        store
    }

    /// Lets the REST interface read a store of processors.
    pub fn queryable<S: Queryable>(&self, store: Store<S>) -> Store<S> {
        self.graph.borrow_mut().store_mut(store.index()).queryable();
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
