//! From the graph to the nodes of one task.

use std::{any::Any, cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::{
    Resolved, SourceOptions,
    cut::Cut,
    graph::{GlobalIndex, NodeId, Role, StoreIndex, StoreOwner, TopicRef},
};
use crate::{
    processor::{
        BufferStore, Change, Children, Coalesce, Coalesced, Coalescing, GlobalRows, Node, PassedOn, ProcessorStore,
        Punctuated, Shared, SharedWaiting, Source, StorePlace, TimedStore, TimestampedStore,
    },
    serde::{Data, Serde, Serdes, Windowed},
    state::StoreId,
};

/// The making of one task's nodes. Factories ask it for the nodes downstream and for access to stores.
pub(crate) struct Instantiation<'r> {
    resolved: &'r Resolved,
    cut: &'r Cut,
    /// Nodes with several parents that were made already: `Shared<K, V>` each.
    shared: HashMap<NodeId, Box<dyn Any>>,
    /// What nodes have in common: `Rc<RefCell<T>>` each, by the node that it began with.
    shared_states: HashMap<NodeId, Box<dyn Any>>,
    /// What nodes that use the same store have in common.
    common: HashMap<StoreId, Rc<dyn Any>>,
    /// Nodes that are called at times.
    punctuated: Vec<Rc<RefCell<dyn Punctuated>>>,
    /// Nodes in which updates wait.
    coalescing: Vec<(NodeId, Rc<RefCell<dyn Coalescing>>)>,
    /// The updates that wait: `SharedWaiting<K, V>` each.
    waiting: HashMap<NodeId, Box<dyn Any>>,
    /// Whether rows are looked up as they were passed on; see [`Self::as_passed_on`].
    as_passed_on: bool,
}

// === impl Instantiation ===

impl<'r> Instantiation<'r> {
    pub(super) fn new(resolved: &'r Resolved, cut: &'r Cut) -> Self {
        Self {
            resolved,
            cut,
            shared: HashMap::new(),
            shared_states: HashMap::new(),
            common: HashMap::new(),
            punctuated: Vec::new(),
            coalescing: Vec::new(),
            waiting: HashMap::new(),
            as_passed_on: false,
        }
    }

    /// Makes a source.
    pub(super) fn source(&mut self, id: NodeId) -> Box<dyn Source> {
        *self.make(id).downcast().expect("nodes with the role of a source are made by factories of sources")
    }

    /// Makes the children of a node, which gives records of `K` and `V`.
    pub(crate) fn children<K: 'static, V: 'static>(&mut self, id: NodeId) -> Children<K, V> {
        let resolved = self.resolved;
        let children = &resolved.graph().node(id).children;
        Children::new(children.iter().map(|child| self.node(*child)).collect())
    }

    /// Makes the children of a node that gives the changes of a table. Where the table is coalesced, changes wait before them.
    pub(crate) fn changes<K: Data, V: Data>(&mut self, id: NodeId) -> Children<K, Change<V>> {
        let children = self.children(id);
        if children.is_empty() || !self.coalesces(id) {
            return children;
        }
        let (_, store) = self.store_of(id).expect("only tables that are kept are coalesced");
        let serdes = self.serdes::<K, V>(id);
        let sends_old = self.resolved.graph().table(id).sends_old;
        let node = Coalesce::new(self.waiting(id), Arc::clone(serdes.key()), store, sends_old, children);
        let node = Rc::new(RefCell::new(node));
        let coalescing: Rc<RefCell<dyn Coalescing>> = node.clone();
        self.coalescing.push((id, coalescing));
        Children::new(vec![Box::new(Coalesced(node))])
    }

    /// The updates of a coalesced table that wait.
    fn waiting<K: Data, V: Data>(&mut self, table: NodeId) -> SharedWaiting<K, V> {
        let waiting = self.waiting.entry(table).or_insert_with(|| Box::new(SharedWaiting::<K, V>::default()));
        let waiting: Option<&SharedWaiting<K, V>> = waiting.downcast_ref();
        Rc::clone(waiting.expect("handles of tables know the type of their rows"))
    }

    /// Makes what looks up rows as they were passed on last, and not with updates that wait: for a join that makes changes of both
    /// tables' changes, so that each of its changes begins where the one before has ended.
    pub(crate) fn as_passed_on<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.as_passed_on, true);
        let made = make(self);
        self.as_passed_on = outer;
        made
    }

    /// The rows of a table before the updates that wait, for who looks them up as they were passed on.
    pub(crate) fn passed_on<K: Data, V: Data>(&mut self, table: NodeId) -> Option<PassedOn<K, V>> {
        if !self.as_passed_on || !self.coalesces(table) {
            return None;
        }
        let (_, store) = self.store_of(table)?;
        let key_serde = Arc::clone(self.serdes::<K, V>(table).key());
        Some(PassedOn::new(self.waiting(table), key_serde, store))
    }

    /// Whether the updates of a node's table wait for the commit.
    pub(crate) fn coalesces(&self, node: NodeId) -> bool {
        self.resolved.graph().coalesces(node, self.resolved.coalesces_all())
    }

    /// Adds what a node keeps of an interval, to be forgotten with it when that is taken back.
    pub(crate) fn add_coalescing(&mut self, node: NodeId, coalescing: Rc<RefCell<dyn Coalescing>>) {
        self.coalescing.push((node, coalescing));
    }

    /// Nodes in which updates wait, those upstream first.
    pub(super) fn take_coalescing(&mut self) -> Vec<Rc<RefCell<dyn Coalescing>>> {
        let mut coalescing = std::mem::take(&mut self.coalescing);
        coalescing.sort_by_key(|(id, _)| *id);
        coalescing.into_iter().map(|(_, node)| node).collect()
    }

    /// How the topics of a source are read; `None` for a source of the application's own topics.
    pub(super) fn options(&self, source: NodeId) -> Option<SourceOptions> {
        let is_external = |topic: &TopicRef| topic.external().is_some();
        let graph = self.resolved.graph();
        graph.source_topics(source).iter().all(is_external).then(|| graph.node(source).options)
    }

    /// The name of a node.
    pub(crate) fn name(&self, id: NodeId) -> Arc<str> {
        Arc::clone(self.resolved.names().node(id))
    }

    /// Access to the store of a table; `None` when the table's rows are not kept.
    pub(crate) fn store<K: 'static, V: 'static>(&self, table: NodeId) -> Option<TimestampedStore<K, V>> {
        let (id, name) = self.store_of(table)?;
        let store = TimestampedStore::new(id, name, self.serdes::<K, V>(table));
        Some(if self.resolved.graph().keeps_versions(table) { store.with_versions() } else { store })
    }

    /// Access to the window or session store of a table, which always has one. Keys are written by `key_serde`.
    pub(crate) fn timed_store<K: 'static, V: 'static>(
        &self,
        table: NodeId,
        key_serde: Arc<dyn Serde<K>>,
    ) -> TimedStore<K, V> {
        let (id, name) = self.store_of(table).expect("windowed aggregates have a store from the start");
        let serdes = self.serdes::<Windowed<K>, V>(table);
        TimedStore::new(id, name, key_serde, Arc::clone(serdes.value()))
    }

    /// Access to the buffer of a table that lets its changes wait.
    pub(crate) fn buffer_store<K: 'static, V: 'static>(&self, table: NodeId) -> BufferStore<K, V> {
        let (id, name) = self.store_of(table).expect("a table that lets its changes wait has a buffer from the start");
        BufferStore::new(id, name, self.serdes::<K, V>(table))
    }

    fn store_of(&self, table: NodeId) -> Option<(StoreId, Arc<str>)> {
        Some(self.place_of(self.resolved.graph().table(table).store?))
    }

    /// A store among those of the task, and its name.
    pub(crate) fn place_of(&self, store: StoreIndex) -> (StoreId, Arc<str>) {
        let position = self.cut.stores.iter().position(|of_cut| *of_cut == store);
        let id = StoreId::new(position.expect("a store and those who use it are in one sub-topology"));
        (id, Arc::clone(self.resolved.names().store(store)))
    }

    /// Access to a store for a processor.
    pub(crate) fn processor_store<S: ProcessorStore>(&self, store: StoreIndex) -> S {
        let (serdes, window_size_ms) = match &self.resolved.graph().store(store).owner {
            StoreOwner::Processors { serdes, window_size_ms, .. } => {
                let serdes: Option<&Serdes<S::Key, S::Value>> = serdes.downcast_ref();
                (serdes.expect("handles of stores know the type of their rows").clone(), *window_size_ms)
            }
            StoreOwner::Table(table) => self.serdes_of_store(*table),
            owner @ (StoreOwner::Node { .. } | StoreOwner::Operator { .. }) => {
                unreachable!("there are no handles of the stores of operators: {owner:?}")
            }
        };
        let (id, name) = self.place_of(store);
        S::open(StorePlace { id, name, serdes, window_size_ms })
    }

    /// The serdes of a table's rows, as its store has them for processors, and the size of its windows in ms.
    fn serdes_of_store<K: 'static, V: 'static>(&self, table: NodeId) -> (Serdes<K, V>, i64) {
        let Some(windows) = &self.resolved.graph().table(table).windows else { return (self.serdes(table), 0) };
        let key: Option<&Arc<dyn Serde<K>>> = windows.serde.downcast_ref();
        let key = key.expect("handles of stores of windows know the type of the keys in them");
        let rows = self.serdes::<Windowed<K>, V>(table);
        (Serdes::of(Arc::clone(key), Arc::clone(rows.value())), windows.size_ms)
    }

    /// The store at this place among those that a node uses, and its name.
    pub(crate) fn used_store(&self, node: NodeId, place: usize) -> (StoreId, Arc<str>) {
        self.place_of(self.resolved.graph().node(node).uses[place])
    }

    /// What the nodes that use a store have in common: made by the first of them.
    pub(crate) fn common<T: Default + 'static>(&mut self, store: StoreId) -> Rc<T> {
        let common = self.common.entry(store).or_insert_with(|| Rc::new(T::default()));
        Rc::clone(common).downcast().expect("the users of a store know what they have in common")
    }

    /// What a node has in common with others of the task that know of it. It is empty when the task begins.
    pub(crate) fn shared_state<T: Default + 'static>(&mut self, of: NodeId) -> Rc<RefCell<T>> {
        let state = self.shared_states.entry(of).or_insert_with(|| Box::new(Rc::<RefCell<T>>::default()));
        Rc::clone(state.downcast_ref().expect("those who share a state agree about its type"))
    }

    /// Adds a node that is called at times.
    pub(crate) fn add_punctuated(&mut self, node: Rc<RefCell<dyn Punctuated>>) {
        self.punctuated.push(node);
    }

    pub(super) fn take_punctuated(&mut self) -> Vec<Rc<RefCell<dyn Punctuated>>> {
        std::mem::take(&mut self.punctuated)
    }

    /// Access to the store of a table that always has one.
    pub(crate) fn own_store<K: 'static, V: 'static>(&self, table: NodeId) -> TimestampedStore<K, V> {
        self.store(table).expect("aggregates have a store from the start, sources before they are read")
    }

    /// The serdes of a table's rows.
    fn serdes<K: 'static, V: 'static>(&self, table: NodeId) -> Serdes<K, V> {
        let serdes: Option<&Serdes<K, V>> = self.resolved.graph().table(table).serdes.downcast_ref();
        serdes.expect("handles of tables know the type of their rows").clone()
    }

    /// The table whose rows a node makes: its own, or that of its only child when several make them.
    pub(crate) fn table_of(&self, node: NodeId) -> NodeId {
        let found = self.resolved.graph().node(node);
        match (&found.table, found.children.as_slice()) {
            (None, [child]) => *child,
            _ => node,
        }
    }

    /// Whether the changes of a table must carry old values.
    pub(crate) fn sends_old(&self, table: NodeId) -> bool {
        self.resolved.graph().table(table).sends_old || self.coalesces(table)
    }

    /// Whether the old value of a new row is that of the initializer, as in Kafka Streams; with its record cache it is none there.
    pub(crate) fn sends_initial(&self, table: NodeId) -> bool {
        self.sends_old(table) && !self.coalesces(table)
    }

    /// Whether a table is made of another one, row by row, that has versions.
    pub(crate) fn is_made_of_versions(&self, table: NodeId) -> bool {
        let graph = self.resolved.graph();
        graph.node(table).parents.iter().all(|parent| graph.has_versions(*parent))
    }

    /// Whether the table behind a node, its only child, must have old values in its changes.
    pub(crate) fn child_sends_old(&self, node: NodeId) -> bool {
        self.resolved.graph().node(node).children.iter().any(|child| self.sends_old(*child))
    }

    /// Whether records without a key must pass a repartition topic.
    pub(crate) fn takes_null_keys(&self, node: NodeId) -> bool {
        self.resolved.graph().takes_null_keys_downstream(node)
    }

    /// Access to the rows of a global table or store, which is one of [`Resolved::globals`].
    pub(crate) fn global_rows<K: 'static, V: 'static>(
        &self,
        table: GlobalIndex,
        serdes: Serdes<K, V>,
    ) -> GlobalRows<K, V> {
        GlobalRows::new(StoreId::new(table.index()), Arc::clone(self.resolved.names().global(table)), serdes)
    }

    /// The full name of the topic that a sink writes to.
    pub(crate) fn sink_topic(&self, sink: NodeId) -> Arc<str> {
        match &self.resolved.graph().node(sink).role {
            Role::Sink { topic } => self.topic(topic),
            other => unreachable!("only sinks ask for their topic, not {other:?}"),
        }
    }

    /// The full name of the topic that a node's only child, a sink, writes to.
    pub(crate) fn topic_of_sink_behind(&self, node: NodeId) -> Arc<str> {
        match self.resolved.graph().node(node).children.as_slice() {
            [sink] => self.sink_topic(*sink),
            others => unreachable!("a node before a sink has only that one behind it, not {others:?}"),
        }
    }

    fn topic(&self, topic: &TopicRef) -> Arc<str> {
        self.resolved.topic(topic)
    }

    fn node<K: 'static, V: 'static>(&mut self, id: NodeId) -> Box<dyn Node<K, V>> {
        if self.resolved.graph().node(id).parents.len() < 2 {
            return self.make_node(id);
        }
        if !self.shared.contains_key(&id) {
            let shared = Shared::<K, V>::new(self.make_node(id));
            self.shared.insert(id, Box::new(shared));
        }
        let shared: Option<&Shared<K, V>> = self.shared.get(&id).and_then(|shared| shared.downcast_ref());
        Box::new(shared.expect("all parents of a node give records of one type").clone())
    }

    fn make_node<K: 'static, V: 'static>(&mut self, id: NodeId) -> Box<dyn Node<K, V>> {
        *self.make(id).downcast().expect("handles attach nodes only where the types of records fit")
    }

    fn make(&mut self, id: NodeId) -> Box<dyn Any> {
        let resolved = self.resolved;
        resolved.graph().node(id).factory.make(self, id)
    }
}
