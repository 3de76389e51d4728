//! How the DSL adds to the graph.

use std::{any::TypeId, sync::Arc};

use super::{
    DataType, GlobalDef, GlobalIndex, Graph, GraphNode, NodeId, Purpose, RepartitionDef, RepartitionIndex, Role,
    StoreDef, StoreIndex, StoreOwner, TableDef, TopicRef,
};
use crate::{
    serde::{Format, Serdes},
    state::StoreKind,
    topology::{Factory, SourceOptions, TopologyError},
};

// === impl Graph ===

impl Graph {
    /// Adds a node behind its parents.
    pub(crate) fn add(&mut self, node: GraphNode) -> NodeId {
        let id = NodeId::new(self.nodes.len());
        for parent in &node.parents {
            self.nodes[parent.0].children.push(id);
        }
        self.nodes.push(node);
        id
    }

    /// Adds a branch or output of this name behind its parent.
    pub(crate) fn add_output(&mut self, node: GraphNode, name: &str) -> NodeId {
        let mut siblings = node.parents.iter().flat_map(|parent| &self.nodes[parent.0].children);
        if siblings.any(|sibling| self.nodes[sibling.0].label.as_deref() == Some(name)) {
            self.refuse(TopologyError::BranchTwice { name: name.to_owned() });
        }
        self.add(GraphNode { label: Some(name.into()), ..node })
    }

    /// Adds a global table.
    pub(crate) fn add_global(&mut self, global: GlobalDef) -> GlobalIndex {
        if self.globals.iter().any(|other| other.topic == global.topic) {
            self.refuse(TopologyError::GlobalTopicTwice { topic: global.topic.to_string() });
        }
        self.globals.push(global);
        GlobalIndex::new(self.globals.len() - 1)
    }

    /// Adds a store for processors.
    pub(crate) fn add_store(&mut self, store: StoreDef) -> StoreIndex {
        self.stores.push(store);
        StoreIndex::new(self.stores.len() - 1)
    }

    /// Adds a store for a node; it is called like the node, with `suffix` behind.
    pub(crate) fn add_store_of(
        &mut self,
        node: NodeId,
        suffix: &'static str,
        kind: StoreKind,
        formats: (Format, Format),
    ) -> StoreIndex {
        self.add_store(StoreDef::new(StoreOwner::Node { node, suffix, formats }, kind, None))
    }

    /// Says which stores a node uses.
    pub(crate) fn uses(&mut self, node: NodeId, stores: Vec<StoreIndex>) {
        self.nodes[node.0].uses = stores;
    }

    /// Names a node; what follows it has names that begin with this.
    pub(crate) fn name_node(&mut self, node: NodeId, name: Arc<str>) {
        self.nodes[node.0].name = Some(name);
    }

    /// Adds a store for an operator. Its name is that of the node it was made for, and `ending`.
    pub(crate) fn add_operator_store(&mut self, ending: &'static str, formats: (Format, Format)) -> StoreIndex {
        let owner = StoreOwner::Operator { made_for: None, ending, formats };
        self.add_store(StoreDef::new(owner, StoreKind::TimestampedKeyValue, None))
    }

    /// Says which node an operator's store was made for, which gives it its name.
    pub(crate) fn store_made_for(&mut self, store: StoreIndex, node: NodeId) {
        if let StoreOwner::Operator { made_for, .. } = &mut self.stores[store.0].owner {
            made_for.get_or_insert(node);
        }
    }

    /// A store.
    pub(in crate::topology) fn store(&self, store: StoreIndex) -> &StoreDef {
        &self.stores[store.0]
    }

    /// A store, to say more about it.
    pub(crate) fn store_mut(&mut self, store: StoreIndex) -> &mut StoreDef {
        &mut self.stores[store.0]
    }

    /// Adds a repartition topic: `sink` writes to it, `source` reads from it. Gives the source. Without `partitions` it has as many as
    /// what it is joined with, or as the largest topic behind it.
    pub(crate) fn add_repartition(
        &mut self,
        name: Option<Arc<str>>,
        partitions: Option<u32>,
        parent: NodeId,
        data: DataType,
        sink: Factory,
        source: Factory,
    ) -> (RepartitionIndex, NodeId) {
        let (index, source) = self.add_repartition_for(Purpose::Keys, vec![parent], data, sink, source);
        self.repartitions[index.0].name = name;
        self.repartitions[index.0].partitions = partitions.map(|partitions| self.possible_partitions(partitions));
        (index, source)
    }

    /// Adds a repartition topic for this purpose: `sink` writes to it what all parents give, `source` reads from it. Gives the source.
    pub(crate) fn add_repartition_for(
        &mut self,
        purpose: Purpose,
        parents: Vec<NodeId>,
        data: DataType,
        sink: Factory,
        source: Factory,
    ) -> (RepartitionIndex, NodeId) {
        let index = RepartitionIndex::new(self.repartitions.len());
        let (topic, named_after) = (TopicRef::Repartition(index), parents[0]);
        let sink = self.add(GraphNode { parents, ..GraphNode::sink(named_after, topic.clone(), sink) });
        let source = self.add(GraphNode::source("repartition", vec![topic], data, source).named_after(named_after));
        self.repartitions.push(RepartitionDef { purpose, name: None, partitions: None, made_for: None, sink, source });
        (index, source)
    }

    /// A number of partitions as Kafka counts them; others are refused.
    fn possible_partitions(&mut self, partitions: u32) -> i32 {
        i32::try_from(partitions).ok().filter(|partitions| *partitions > 0).unwrap_or_else(|| {
            self.refuse(TopologyError::RepartitionCount { partitions });
            1
        })
    }

    /// Says which node a repartition topic was made for. The first one gives it its name.
    pub(crate) fn repartition_made_for(&mut self, repartition: RepartitionIndex, node: NodeId) {
        self.repartitions[repartition.0].made_for.get_or_insert(node);
    }

    /// Says that something cannot be as it was asked for: the topology will not build.
    pub(crate) fn refuse(&mut self, error: TopologyError) {
        self.refused.get_or_insert(error);
    }

    /// Says that two nodes meet in a join: the topics they come from must have the same number of partitions.
    pub(crate) fn join(&mut self, left: NodeId, right: NodeId) {
        self.joins.push((left, right));
    }

    /// A source of a stream of these topics and this data without options, when there is one already.
    pub(crate) fn find_source(&self, operator: &'static str, wanted: &[TopicRef], data: &DataType) -> Option<NodeId> {
        let same = |node: &GraphNode| match &node.role {
            Role::Source { topics, data: found } => {
                let plain = node.options == SourceOptions::default();
                plain && node.operator == operator && topics == wanted && found == data
            }
            Role::Operator | Role::Sink { .. } => false,
        };
        self.nodes.iter().position(same).map(NodeId::new)
    }

    /// A global table, to name it.
    pub(crate) fn global_mut(&mut self, global: GlobalIndex) -> &mut GlobalDef {
        &mut self.globals[global.0]
    }
}

// === impl GraphNode ===

impl GraphNode {
    /// A node between others.
    pub(crate) fn operator(operator: &'static str, parents: Vec<NodeId>, factory: Factory) -> Self {
        Self {
            role: Role::Operator,
            operator,
            label: None,
            named_after: parents.first().copied(),
            name: None,
            parents,
            children: Vec::new(),
            reads: Vec::new(),
            reads_globals: Vec::new(),
            uses: Vec::new(),
            takes_null_keys: false,
            options: SourceOptions::default(),
            table: None,
            factory,
        }
    }

    /// A node that reads topics.
    pub(crate) fn source(operator: &'static str, topics: Vec<TopicRef>, data: DataType, factory: Factory) -> Self {
        Self { role: Role::Source { topics, data }, ..Self::operator(operator, Vec::new(), factory) }
    }

    /// A node that writes to a topic.
    pub(crate) fn sink(parent: NodeId, topic: TopicRef, factory: Factory) -> Self {
        Self { role: Role::Sink { topic }, ..Self::operator("to", vec![parent], factory) }
    }

    /// Its topics are read like this.
    pub(crate) fn options(self, options: SourceOptions) -> Self {
        Self { options, ..self }
    }

    /// Its results are the changes of a table.
    pub(crate) fn table(self, table: TableDef) -> Self {
        Self { table: Some(table), ..self }
    }

    /// It looks up rows of this table.
    pub(crate) fn reads(mut self, table: NodeId) -> Self {
        self.reads.push(table);
        self
    }

    /// It looks up rows of this global table.
    pub(crate) fn reads_global(mut self, table: GlobalIndex) -> Self {
        self.reads_globals.push(table);
        self
    }

    /// It looks up rows of these global tables and stores.
    pub(crate) fn reads_globals(mut self, globals: Vec<GlobalIndex>) -> Self {
        self.reads_globals.extend(globals);
        self
    }

    /// It uses these stores.
    pub(crate) fn uses(self, uses: Vec<StoreIndex>) -> Self {
        Self { uses, ..self }
    }

    /// It gives results for records without a key.
    pub(crate) fn takes_null_keys(self, takes_null_keys: bool) -> Self {
        Self { takes_null_keys, ..self }
    }

    /// Its name begins with that of another node than its first parent.
    pub(crate) fn named_after(self, node: NodeId) -> Self {
        Self { named_after: Some(node), ..self }
    }
}

// === impl DataType ===

impl DataType {
    /// What serdes write and read.
    pub(crate) fn of<K: 'static, V: 'static>(serdes: &Serdes<K, V>) -> Self {
        let (key, value) = serdes.formats();
        Self { types: TypeId::of::<(K, V)>(), key, value }
    }
}
