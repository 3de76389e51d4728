//! Descriptions: which sub-topologies there are, and from which source records come to which stores and sinks, as Kafka Streams says it
//! (`vectors/describe/<topology>.txt`).
//!
//! Nodes are not compared one by one: what is one node there may be two here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, slice,
    sync::Arc,
};

use integration_tests::{conformance::folder, topologies};
use millpond::topology::{Description, GlobalDescription, NodeDescription, NodeKind};

use super::names::{is_counted, is_written_otherwise};

/// A sub-topology, or a global table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// Whether every instance reads all of it.
    global: bool,
    /// By source topic.
    sources: BTreeMap<String, Reached>,
}

/// Where records of a topic come to.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    sinks: BTreeSet<String>,
    /// Stores that a user named.
    stores: BTreeSet<String>,
    /// How many others there are.
    unnamed_stores: usize,
}

/// A part as it is described.
#[derive(Debug, Default)]
struct Described {
    global: bool,
    /// By name.
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Default)]
struct Node {
    topics: Vec<String>,
    sink: Option<String>,
    stores: Vec<String>,
    children: Vec<String>,
}

#[test]
fn records_go_where_kafka_streams_lets_them_go() {
    let mut compared = 0;
    for case in topologies::all() {
        let Ok(text) = fs::read_to_string(folder::own().join("describe").join(format!("{}.txt", case.name))) else {
            continue;
        };
        let topology = case.topology().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (there, here) = (theirs(&text), ours(&topology.describe()));
        let known = there.iter().flat_map(Described::names).filter(|name| !is_counted(name)).collect();
        let compare = |parts: &[Described]| {
            let mut parts: Vec<_> = parts.iter().map(|part| part.reduce(&known)).collect();
            parts.sort();
            parts
        };
        let (found, expected) = (compare(&here), compare(&there));
        if !is_written_otherwise(case.name, found == expected) {
            assert_eq!(found, expected, "{}\nthere: {text}\nhere: {}", case.name, topology.describe());
        }
        compared += 1;
    }
    assert!(compared >= 24, "only {compared} topologies were compared");
}

/// What we say.
fn ours(description: &Description) -> Vec<Described> {
    let texts = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let global = |global: &GlobalDescription| {
        let node = Node {
            topics: texts(slice::from_ref(&global.topic)),
            stores: texts(slice::from_ref(&global.store)),
            ..Node::default()
        };
        Described { global: true, nodes: [("table".to_owned(), node)].into() }
    };
    // A store of a global table is everybody's: there, nodes that look rows of it up do not name it.
    let is_global = |store: &String| description.globals.iter().any(|global| *global.store == **store);
    let node = |node: &NodeDescription| {
        let (topics, sink) = match &node.kind {
            NodeKind::Source { topics } => (texts(topics), None),
            NodeKind::Processor => (Vec::new(), None),
            NodeKind::Sink { topic } => (Vec::new(), Some(topic.to_string())),
        };
        let stores = texts(&node.stores).into_iter().filter(|store| !is_global(store)).collect();
        (node.name.to_string(), Node { topics, sink, stores, children: texts(&node.children) })
    };
    let parts = description.sub_topologies.iter();
    let parts = parts.map(|part| Described { global: false, nodes: part.nodes.iter().map(node).collect() });
    parts.chain(description.globals.iter().map(global)).collect()
}

/// What Kafka Streams says.
fn theirs(text: &str) -> Vec<Described> {
    let list = |text: &str| {
        text.split(", ").filter(|name| !matches!(*name, "" | "none")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut parts: Vec<Described> = Vec::new();
    let mut last = String::new();
    for line in text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()) {
        let bracketed = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}: ["))?;
            Some(list(rest.split_once(']')?.0))
        };
        if let Some(header) = line.strip_prefix("Sub-topology: ") {
            parts.push(Described { global: header.contains("global store"), ..Described::default() });
            continue;
        }
        let nodes = &mut parts.last_mut().expect("nodes belong to a sub-topology").nodes;
        if let Some(children) = line.strip_prefix("--> ") {
            nodes.get_mut(&last).expect("children belong to a node").children = list(children);
        } else if let Some((_, rest)) = line.split_once(": ") {
            last = rest.split(' ').next().unwrap_or_default().to_owned();
            let sink = line.split_once("(topic: ").map(|(_, topic)| topic.trim_end_matches(')').to_owned());
            let (topics, stores) = (bracketed("topics").unwrap_or_default(), bracketed("stores").unwrap_or_default());
            nodes.insert(last.clone(), Node { topics, sink, stores, children: Vec::new() });
        }
    }
    parts
}

// === impl Described ===

impl Described {
    /// The names of topics and stores.
    fn names(&self) -> impl Iterator<Item = String> {
        self.nodes.values().flat_map(|node| node.topics.iter().chain(&node.sink).chain(&node.stores).cloned())
    }

    fn reduce(&self, known: &BTreeSet<String>) -> Part {
        let mut sources: BTreeMap<String, Reached> = BTreeMap::new();
        for node in self.nodes.values() {
            for topic in &node.topics {
                let reached = self.reached(node, known);
                sources.entry(plain(topic, known)).or_default().add(reached);
            }
        }
        Part { global: self.global, sources }
    }

    /// What records come to that a node reads.
    fn reached(&self, from: &Node, known: &BTreeSet<String>) -> Reached {
        let (mut sinks, mut all) = (BTreeSet::new(), BTreeSet::new());
        let (mut waiting, mut seen) = (vec![from], BTreeSet::new());
        while let Some(node) = waiting.pop() {
            sinks.extend(node.sink.iter().map(|topic| plain(topic, known)));
            all.extend(&node.stores);
            waiting.extend(node.children.iter().filter(|child| seen.insert(*child)).map(|child| &self.nodes[child]));
        }
        let stores: BTreeSet<_> = all.iter().filter(|store| known.contains(**store)).map(ToString::to_string).collect();
        Reached { sinks, unnamed_stores: all.len() - stores.len(), stores }
    }
}

// === impl Reached ===

impl Reached {
    /// What another source of the same topic comes to.
    fn add(&mut self, other: Self) {
        self.sinks.extend(other.sinks);
        self.stores.extend(other.stores);
        self.unnamed_stores = self.unnamed_stores.max(other.unnamed_stores);
    }
}

/// A topic by its name, when users know it.
fn plain(topic: &str, known: &BTreeSet<String>) -> String {
    if known.contains(topic) { topic.to_owned() } else { "unnamed".to_owned() }
}
