//! The names of nodes, stores and repartition topics.
//!
//! A node's *path* is that of the node it follows and its own operator: `flights/filter/group-by/count`; the second one of
//! a kind at the same place gets a number (`flights/filter-2`). A table that was named with `materialized` starts a new
//! path with that name. So a name says where a node stands, and adding an operator elsewhere does not change it.
//! What is not named has its name from its path, with `-` for `/`. See `docs/adr/0002-names.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    TopologyError,
    graph::{GlobalIndex, Graph, NodeId, RepartitionIndex, Role, StoreIndex, StoreOwner, TopicRef},
};

/// The names of everything in a graph. Those of repartition topics are without application id and ending.
#[derive(Debug)]
pub(crate) struct Names {
    nodes: Vec<Arc<str>>,
    stores: Vec<Arc<str>>,
    repartitions: Vec<Arc<str>>,
    globals: Vec<Arc<str>>,
}

// === impl Names ===

impl Names {
    /// Names everything, or says which name is impossible or given twice.
    pub(super) fn of(graph: &Graph) -> Result<Self, TopologyError> {
        let paths = paths(graph);
        // What was made for a node has the name of its store, else its own.
        let made_for = |node: NodeId| {
            let store = graph.node(node).table.as_ref().and_then(|table| table.store);
            let name = store.and_then(|store| graph.stores[store.index()].name.clone());
            name.unwrap_or_else(|| generated(&paths[node.index()]))
        };
        let stores: Vec<_> = graph
            .stores
            .iter()
            .map(|store| match (&store.name, &store.owner) {
                (Some(name), _) => Arc::clone(name),
                (None, StoreOwner::Table(table)) => generated(&paths[table.index()]),
                (None, StoreOwner::Node { node, suffix, .. }) => generated(&(paths[node.index()].clone() + suffix)),
                (None, StoreOwner::Operator { made_for: Some(node), ending, .. }) => {
                    format!("{}{ending}", made_for(*node)).into()
                }
                (None, StoreOwner::Operator { made_for: None, .. } | StoreOwner::Processors { .. }) => {
                    unreachable!("stores of processors are given a name, those of operators what they were made for")
                }
            })
            .collect();
        let globals: Vec<_> = graph
            .globals
            .iter()
            .map(|global| global.name.clone().unwrap_or_else(|| generated(&format!("{}/global-table", global.topic))))
            .collect();
        let repartitions: Vec<_> = graph
            .repartitions
            .iter()
            .map(|repartition| {
                let name = match (&repartition.name, repartition.made_for) {
                    (Some(name), _) => Arc::clone(name),
                    (None, Some(node)) => made_for(node),
                    (None, None) => generated(&paths[repartition.source.index()]),
                };
                match repartition.purpose.name_ending() {
                    "" => name,
                    ending => format!("{name}{ending}").into(),
                }
            })
            .collect();

        stores.iter().chain(&globals).try_for_each(|name| check("a store", name))?;
        repartitions.iter().try_for_each(|name| check("a repartition topic", name))?;
        topics(graph).into_iter().try_for_each(|name| check("a topic", name))?;
        let mut labels = graph.nodes.iter().filter_map(|node| node.label.as_deref());
        labels.try_for_each(|name| check("a branch or output", name))?;
        if let Some(store) = twice(stores.iter().chain(&globals)) {
            return Err(TopologyError::StoreNameTwice { store });
        }
        if let Some(name) = twice(&repartitions) {
            return Err(TopologyError::RepartitionNameTwice { name });
        }
        let nodes = graph.node_ids().map(|id| node_name(graph, &paths, &repartitions, id)).collect();
        Ok(Self { nodes, stores, repartitions, globals })
    }

    /// The name of a node.
    pub(super) fn node(&self, node: NodeId) -> &Arc<str> {
        &self.nodes[node.index()]
    }

    /// The name of a table's store.
    pub(super) fn store(&self, store: StoreIndex) -> &Arc<str> {
        &self.stores[store.index()]
    }

    /// The names of all stores of tasks, in their order.
    pub(super) fn stores(&self) -> &[Arc<str>] {
        &self.stores
    }

    /// The name of a repartition topic, without application id and ending.
    pub(super) fn repartition(&self, repartition: RepartitionIndex) -> &Arc<str> {
        &self.repartitions[repartition.index()]
    }

    /// The name of a global table's store.
    pub(super) fn global(&self, global: GlobalIndex) -> &Arc<str> {
        &self.globals[global.index()]
    }

    /// The names of all global tables' stores, in their order.
    pub(super) fn globals(&self) -> &[Arc<str>] {
        &self.globals
    }
}

/// The paths of all nodes, each of them once.
fn paths(graph: &Graph) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let store = node.table.as_ref().and_then(|table| table.store);
        let own_name = store.and_then(|store| graph.stores[store.index()].name.as_deref()).or(node.name.as_deref());
        // Parents come first, so that their paths are known.
        let followed = node.named_after.map(|parent| paths[parent.index()].as_str());
        let path = match (own_name, followed, graph.source_topics(id)) {
            (Some(name), ..) => name.to_owned(),
            // Behind a repartition topic, paths go on as if it were not there.
            (None, Some(path), [TopicRef::Repartition(_), ..]) => {
                paths.push(path.to_owned());
                continue;
            }
            (None, Some(path), _) => format!("{path}/{}", node.label.as_deref().unwrap_or(node.operator)),
            (None, None, topics) => {
                let topics: Vec<_> = topics.iter().map(|topic| topic.external().unwrap_or_default()).collect();
                match node.table {
                    Some(_) => format!("{}/{}", topics.join("+"), node.operator),
                    None => topics.join("+"),
                }
            }
        };
        let times = uses.entry(path.clone()).or_default();
        *times += 1;
        paths.push(if *times == 1 { path } else { format!("{path}-{times}") });
    }
    paths
}

/// How a node is called in descriptions and errors.
fn node_name(graph: &Graph, paths: &[String], repartitions: &[Arc<str>], id: NodeId) -> Arc<str> {
    let of_topic = |index: RepartitionIndex, node: &str| {
        let ending = graph.repartitions[index.index()].purpose.topic_ending();
        format!("{}{ending}-{node}", repartitions[index.index()]).into()
    };
    match &graph.node(id).role {
        Role::Sink { topic: TopicRef::Repartition(index) } => of_topic(*index, "sink"),
        Role::Source { topics, .. } => match topics.as_slice() {
            [TopicRef::Repartition(index), ..] => of_topic(*index, "source"),
            _ => paths[id.index()].as_str().into(),
        },
        Role::Operator | Role::Sink { .. } => paths[id.index()].as_str().into(),
    }
}

/// A name of a resource from a path.
fn generated(path: &str) -> Arc<str> {
    path.replace(['/', '+'], "-").into()
}

/// All external topics.
fn topics(graph: &Graph) -> BTreeSet<&str> {
    let of_nodes = graph.nodes.iter().flat_map(|node| match &node.role {
        Role::Source { topics, .. } => topics.as_slice(),
        Role::Sink { topic } => std::slice::from_ref(topic),
        Role::Operator => &[],
    });
    of_nodes.filter_map(TopicRef::external).chain(graph.globals.iter().map(|global| &*global.topic)).collect()
}

fn check(what: &'static str, name: &str) -> Result<(), TopologyError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let possible =
        !matches!(name, "" | "." | "..") && name.len() <= TopologyError::NAME_LIMIT && name.bytes().all(legal);
    possible.then_some(()).ok_or_else(|| TopologyError::Name { what, name: name.to_owned() })
}

/// Checks the full name of an internal topic.
pub(super) fn check_topic(name: &str) -> Result<(), TopologyError> {
    check("an internal topic", name)
}

fn twice<'n>(names: impl IntoIterator<Item = &'n Arc<str>>) -> Option<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name)).map(ToString::to_string)
}
