//! A topology for people and tools.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{
    Built,
    cut::Cut,
    graph::{NodeId, Role, TopicRef},
};

/// What a topology consists of. `Display` gives the text that Kafka Streams' users know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The topology's name.
    pub topology: Arc<str>,
    /// The sub-topologies, by id.
    pub sub_topologies: Vec<SubTopologyDescription>,
    /// The global tables.
    pub globals: Vec<GlobalDescription>,
}

/// A sub-topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubTopologyDescription {
    /// The id.
    pub id: u32,
    /// Its nodes, parents before children.
    pub nodes: Vec<NodeDescription>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDescription {
    /// The name.
    pub name: Arc<str>,
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// The stores it keeps or reads, global ones included.
    pub stores: Vec<Arc<str>>,
    /// The nodes it takes records from.
    pub parents: Vec<Arc<str>>,
    /// The nodes it gives records to.
    pub children: Vec<Arc<str>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeKind {
    /// It reads topics.
    Source {
        /// The topics.
        topics: Vec<Arc<str>>,
    },
    /// It takes and gives records.
    Processor,
    /// It writes to a topic.
    Sink {
        /// The topic.
        topic: Arc<str>,
    },
}

/// A global table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GlobalDescription {
    /// The topic it is read from.
    pub topic: Arc<str>,
    /// Its store.
    pub store: Arc<str>,
}

/// Describes a topology. Internal topics are named without the application id.
pub(super) fn describe(built: &Built) -> Description {
    let sub_topologies = (0_u32..).zip(&built.cuts).map(|(id, cut)| sub_topology(built, id, cut)).collect();
    let globals = built
        .graph
        .globals
        .iter()
        .zip(built.names.globals())
        .map(|(global, store)| GlobalDescription { topic: Arc::clone(&global.topic), store: Arc::clone(store) });
    Description { topology: Arc::clone(&built.name), sub_topologies, globals: globals.collect() }
}

fn sub_topology(built: &Built, id: u32, cut: &Cut) -> SubTopologyDescription {
    SubTopologyDescription { id, nodes: cut.nodes.iter().map(|id| node(built, *id)).collect() }
}

fn node(built: &Built, id: NodeId) -> NodeDescription {
    let node = built.graph.node(id);
    let mut stores = Vec::new();
    if node.table.as_ref().is_some_and(|table| table.store.is_some()) {
        built.graph.stores_behind(id, &mut stores);
    }
    node.reads.iter().for_each(|table| built.graph.stores_behind(*table, &mut stores));
    stores.extend(&node.uses);
    let stores = stores.into_iter().map(|store| built.names.store(store));
    let globals = node.reads_globals.iter().map(|global| built.names.global(*global));
    let names = |ids: &[NodeId]| ids.iter().map(|id| Arc::clone(built.names.node(*id))).collect();
    NodeDescription {
        name: Arc::clone(built.names.node(id)),
        kind: match &node.role {
            Role::Source { topics, .. } => {
                NodeKind::Source { topics: topics.iter().map(|it| topic(built, it)).collect() }
            }
            Role::Operator => NodeKind::Processor,
            Role::Sink { topic: it } => NodeKind::Sink { topic: topic(built, it) },
        },
        stores: stores.chain(globals).cloned().collect(),
        parents: names(&node.parents),
        children: names(&node.children),
    }
}

fn topic(built: &Built, topic: &TopicRef) -> Arc<str> {
    match topic {
        TopicRef::External(name) => Arc::clone(name),
        TopicRef::Repartition(index) => {
            let ending = built.graph.repartitions[index.index()].purpose.topic_ending();
            format!("{}{ending}", built.names.repartition(*index)).into()
        }
    }
}

// === impl Description ===

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Topology: {}", self.topology)?;
        for sub_topology in &self.sub_topologies {
            writeln!(f, "   Sub-topology: {}", sub_topology.id)?;
            sub_topology.nodes.iter().try_for_each(|node| node.fmt(f))?;
        }
        for global in &self.globals {
            writeln!(f, "   Global table: {} (store: {})", global.topic, global.store)?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, stores, .. } = self;
        match &self.kind {
            NodeKind::Source { topics } => {
                let stores =
                    if stores.is_empty() { String::new() } else { format!(", stores: [{}]", stores.join(", ")) };
                writeln!(f, "    Source: {name} (topics: [{}]{stores})", topics.join(", "))?;
            }
            NodeKind::Processor => writeln!(f, "    Processor: {name} (stores: [{}])", stores.join(", "))?,
            NodeKind::Sink { topic } => writeln!(f, "    Sink: {name} (topic: {topic})")?,
        }
        if !matches!(self.kind, NodeKind::Sink { .. }) {
            writeln!(
                f,
                "      --> {}",
                if self.children.is_empty() { "none".to_owned() } else { self.children.join(", ") }
            )?;
        }
        if !matches!(self.kind, NodeKind::Source { .. }) {
            writeln!(f, "      <-- {}", self.parents.join(", "))?;
        }
        Ok(())
    }
}
