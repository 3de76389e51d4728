//! Sub-topologies: the parts of a graph that must run together.
//!
//! Nodes belong together when records go from one to the other without a topic in between, when one reads the other's
//! rows, when they use the same store, and when they read the same topic. A repartition topic is where a graph is cut.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    graph::{Graph, NodeId, Role, StoreIndex, StoreOwner, TopicRef},
    names::Names,
};

/// A sub-topology.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// Its nodes, parents before children.
    pub(super) nodes: Vec<NodeId>,
    /// The topics it reads, each once.
    pub(super) sources: Vec<TopicRef>,
    /// The topics it writes, each once.
    pub(super) sinks: Vec<TopicRef>,
    /// The stores of its tables and processors.
    pub(super) stores: Vec<StoreIndex>,
}

/// Where a sub-topology stands among the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It reads an external topic: by its first source.
    External(NodeId),
    /// It reads repartition topics only: by the first of their names.
    Repartition(Arc<str>),
}

/// Cuts a graph. The order, which numbers the sub-topologies, is that of Kafka Streams: those that read external topics
/// as they were declared, then the others by the names of their repartition topics.
pub(super) fn sub_topologies(graph: &Graph, names: &Names) -> Vec<Cut> {
    let mut groups = Groups::new(graph.nodes.len());
    let mut first_reader: BTreeMap<&TopicRef, NodeId> = BTreeMap::new();
    let mut first_user: BTreeMap<StoreIndex, NodeId> = BTreeMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        for store in &node.uses {
            let of_table = match graph.store(*store).owner {
                StoreOwner::Table(table) => table,
                _ => id,
            };
            groups.join(id, *first_user.entry(*store).or_insert(of_table));
        }
        node.parents.iter().chain(&node.reads).for_each(|other| groups.join(id, *other));
        for topic in graph.source_topics(id) {
            groups.join(id, *first_reader.entry(topic).or_insert(id));
        }
    }
    let mut cuts: BTreeMap<NodeId, Cut> = BTreeMap::new();
    for id in graph.node_ids() {
        cuts.entry(groups.of(id)).or_default().add(graph, id);
    }
    let mut cuts: Vec<(Rank, Cut)> = cuts.into_values().map(|cut| (cut.rank(graph, names), cut)).collect();
    cuts.sort_by(|(a, _), (b, _)| a.cmp(b));
    cuts.into_iter().map(|(_, cut)| cut).collect()
}

// === impl Cut ===

impl Cut {
    fn add(&mut self, graph: &Graph, id: NodeId) {
        self.nodes.push(id);
        let node = graph.node(id);
        match &node.role {
            Role::Source { topics, .. } => topics.iter().for_each(|topic| add_once(&mut self.sources, topic)),
            Role::Sink { topic } => add_once(&mut self.sinks, topic),
            Role::Operator => {}
        }
        self.stores.extend(node.table.as_ref().and_then(|table| table.store));
        for store in &node.uses {
            if !self.stores.contains(store) {
                self.stores.push(*store);
            }
        }
    }

    fn rank(&self, graph: &Graph, names: &Names) -> Rank {
        let external =
            self.nodes.iter().find(|id| graph.source_topics(**id).iter().any(|topic| topic.external().is_some()));
        let repartitions = self.sources.iter().filter_map(|topic| match topic {
            TopicRef::Repartition(index) => Some(names.repartition(*index)),
            TopicRef::External(_) => None,
        });
        match (external, repartitions.min()) {
            (Some(source), _) => Rank::External(*source),
            (None, Some(name)) => Rank::Repartition(Arc::clone(name)),
            (None, None) => unreachable!("every node descends from one that reads a topic"),
        }
    }
}

fn add_once(topics: &mut Vec<TopicRef>, topic: &TopicRef) {
    if !topics.contains(topic) {
        topics.push(topic.clone());
    }
}

/// Which nodes belong together: each points to one with a lower id, the first of a group to itself.
#[derive(Debug)]
struct Groups(Vec<NodeId>);

// === impl Groups ===

impl Groups {
    fn new(nodes: usize) -> Self {
        Self((0..nodes).map(NodeId::new).collect())
    }

    /// The first node of a node's group.
    fn of(&self, id: NodeId) -> NodeId {
        let next = self.0[id.index()];
        if next == id { id } else { self.of(next) }
    }

    fn join(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b).index()] = a.min(b);
    }
}
