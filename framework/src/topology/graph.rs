//! The graph that the DSL builds: nodes, tables, stores, repartition topics, global tables.

mod build;
mod tables;
mod versions;
mod walk;

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

use super::{Factory, SourceOptions, TopologyError};
use crate::{serde::Format, state::StoreKind};

/// A node by its place in the graph. Parents have lower ids than their children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);

/// A store by its place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StoreIndex(usize);

/// A repartition topic by its place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RepartitionIndex(usize);

/// A global table by its place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GlobalIndex(usize);

/// Everything the DSL was told.
#[derive(Default)]
pub(crate) struct Graph {
    pub(super) nodes: Vec<GraphNode>,
    pub(super) stores: Vec<StoreDef>,
    pub(super) repartitions: Vec<RepartitionDef>,
    pub(super) globals: Vec<GlobalDef>,
    /// Pairs of nodes whose source topics must be co-partitioned.
    pub(super) joins: Vec<(NodeId, NodeId)>,
    /// Nodes that look rows of a table up as of a time that may be so many ms ago.
    pub(super) reads_history: Vec<(NodeId, NodeId, i64)>,
    /// Stores of tables that processors use, each with the name of the kind that it must be of.
    pub(super) opened: Vec<(StoreIndex, &'static str)>,
    /// The first thing that was asked for and cannot be.
    pub(super) refused: Option<TopologyError>,
}

/// A node: what it does, and how it is made for a task.
pub(crate) struct GraphNode {
    pub(super) role: Role,
    /// Its part of the name; see [`super::names`].
    pub(super) operator: &'static str,
    /// What stands for it in names, when it was given a name of its own.
    pub(super) label: Option<Arc<str>>,
    /// The node whose name its own begins with.
    pub(super) named_after: Option<NodeId>,
    /// Its name, when it was given one.
    pub(super) name: Option<Arc<str>>,
    pub(super) parents: Vec<NodeId>,
    pub(super) children: Vec<NodeId>,
    /// The tables whose rows it looks up.
    pub(super) reads: Vec<NodeId>,
    /// The global tables whose rows it looks up.
    pub(super) reads_globals: Vec<GlobalIndex>,
    /// The stores of no table that it uses.
    pub(super) uses: Vec<StoreIndex>,
    /// Whether it gives results for records without a key, so that they must not be left out upstream.
    pub(super) takes_null_keys: bool,
    /// How its topics are read, when it is a source.
    pub(super) options: SourceOptions,
    /// What it is as a table, when its results are changes of one.
    pub(super) table: Option<TableDef>,
    pub(super) factory: Factory,
}

/// Where a node stands.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Reads topics.
    Source {
        /// The topics.
        topics: Vec<TopicRef>,
        /// The type of the keys and values it passes on, and their formats.
        data: DataType,
    },
    /// Takes and gives records.
    Operator,
    /// Writes to a topic.
    Sink {
        /// The topic.
        topic: TopicRef,
    },
}

/// What keys and values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataType {
    /// The types of keys and values.
    pub(crate) types: TypeId,
    /// The format of keys.
    pub(crate) key: Format,
    /// The format of values.
    pub(crate) value: Format,
}

/// A topic of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TopicRef {
    /// One that exists outside of the application.
    External(Arc<str>),
    /// One of the application's own.
    Repartition(RepartitionIndex),
}

/// What a node is as a table.
pub(crate) struct TableDef {
    pub(super) kind: TableKind,
    /// The tables it is made of, when it is made of tables.
    pub(super) parents: Vec<NodeId>,
    /// Where its rows are kept, if they are.
    pub(super) store: Option<StoreIndex>,
    /// Whether its changes carry old values.
    pub(super) sends_old: bool,
    /// `Serdes<K, V>` of its rows.
    pub(super) serdes: Box<dyn Any + Send + Sync>,
    /// The formats of its rows.
    pub(super) formats: (Format, Format),
    /// What is in its keys, when they are windows or sessions that its store knows as such.
    pub(super) windows: Option<WindowKeys>,
    /// Whether its updates wait for the commit, of each row only the last one.
    pub(super) coalesced: bool,
    /// When its keys are windows: how much later than their end they close, in ms.
    pub(super) closes_after_ms: Option<i64>,
}

/// The keys of a store of windows or sessions.
pub(crate) struct WindowKeys {
    /// `Arc<dyn Serde<K>>` of the keys in them.
    pub(super) serde: Box<dyn Any + Send + Sync>,
    /// The size of windows in ms; 0 for sessions.
    pub(super) size_ms: i64,
}

/// How a table knows its old values; see [`Graph::send_old_values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// Read from a topic: from its store, which it has only if someone needs it.
    Source,
    /// Aggregated from a stream: from its store, which it always has.
    Aggregate,
    /// Made of another table's changes one by one: from its store, or from the old values of that table.
    Derived,
    /// Joined: from the old values of both tables.
    Joined,
    /// The changes of another table, later: from the old values of that table. Its store has what waits, not its rows.
    Suppressed,
}

/// What a store is for.
pub(crate) enum StoreOwner {
    /// It keeps the rows of a table.
    Table(NodeId),
    /// A node uses it, and maybe others.
    Node {
        /// The node whose name its own begins with.
        node: NodeId,
        /// What its name has behind that.
        suffix: &'static str,
        /// The formats of its rows.
        formats: (Format, Format),
    },
    /// Processors use it.
    Processors {
        /// The formats of its rows.
        formats: (Format, Format),
        /// `Serdes<K, V>` of its rows.
        serdes: Box<dyn Any + Send + Sync>,
        /// The size of its windows in ms, when it has such.
        window_size_ms: i64,
    },
    /// An operator uses it, beside the rows of its table.
    Operator {
        /// The node that it was made for; it has its name from there.
        made_for: Option<NodeId>,
        /// What its name ends with.
        ending: &'static str,
        /// The formats of its rows.
        formats: (Format, Format),
    },
}

/// A store.
#[derive(Debug)]
pub(crate) struct StoreDef {
    pub(super) owner: StoreOwner,
    pub(super) kind: StoreKind,
    /// Its name, when it was given one.
    pub(super) name: Option<Arc<str>>,
    pub(super) queryable: bool,
    /// Whether it lives on disk.
    pub(super) persistent: bool,
    /// Whether it has a changelog.
    pub(super) logged: bool,
    /// Settings that its changelog is to have, by their Kafka names.
    pub(super) changelog_config: BTreeMap<String, String>,
}

/// A repartition topic.
#[derive(Debug)]
pub(crate) struct RepartitionDef {
    pub(super) purpose: Purpose,
    /// Its name, when it was given one.
    pub(super) name: Option<Arc<str>>,
    /// How many partitions it has, when that was said.
    pub(super) partitions: Option<i32>,
    /// The node that it was made for; it has its name from there otherwise.
    pub(super) made_for: Option<NodeId>,
    /// The node that writes to it.
    pub(super) sink: NodeId,
    /// The node that reads from it.
    pub(super) source: NodeId,
}

/// What a repartition topic is for, which the end of its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Records go to where their keys belong.
    Keys,
    /// Rows go to those they refer to with a foreign key.
    Subscriptions,
    /// What is told to rows about those they refer to comes back.
    Responses,
}

/// A global table or store.
pub(crate) struct GlobalDef {
    pub(crate) topic: Arc<str>,
    pub(crate) kind: StoreKind,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) queryable: bool,
    /// Whether it lives on disk.
    pub(crate) persistent: bool,
    /// The formats of its rows.
    pub(crate) formats: (Format, Format),
    /// The formats of the records of its topic.
    pub(crate) topic_formats: (Format, Format),
    /// How records become rows.
    pub(crate) upkeep: super::global::Upkeep,
}

// === impl NodeId, StoreIndex, RepartitionIndex, GlobalIndex ===

macro_rules! index {
    ($($id:ident),*) => {$(
        impl $id {
            /// The thing at this place of the graph.
            pub(super) const fn new(index: usize) -> Self {
                Self(index)
            }

            /// Its place in the graph.
            pub(super) const fn index(self) -> usize {
                self.0
            }
        }
    )*};
}

index!(NodeId, StoreIndex, RepartitionIndex, GlobalIndex);

// === impl TopicRef ===

impl TopicRef {
    /// The name of a topic that exists outside of the application.
    pub(super) fn external(&self) -> Option<&str> {
        match self {
            Self::External(name) => Some(name),
            Self::Repartition(_) => None,
        }
    }
}

// === impl Purpose ===

impl Purpose {
    /// What comes behind the name of the node that a topic was made for.
    pub(super) const fn name_ending(self) -> &'static str {
        match self {
            Self::Keys => "",
            Self::Subscriptions => "-subscription-registration",
            Self::Responses => "-subscription-response",
        }
    }

    /// What comes behind the name of a topic.
    pub(super) const fn topic_ending(self) -> &'static str {
        match self {
            Self::Keys => "-repartition",
            Self::Subscriptions | Self::Responses => "-topic",
        }
    }
}

// === impl StoreOwner ===

impl fmt::Debug for StoreOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(node) => f.debug_tuple("Table").field(node).finish(),
            Self::Node { node, suffix, .. } => f.debug_tuple("Node").field(node).field(suffix).finish(),
            Self::Processors { formats, .. } => f.debug_tuple("Processors").field(formats).finish(),
            Self::Operator { made_for, ending, .. } => f.debug_tuple("Operator").field(made_for).field(ending).finish(),
        }
    }
}

// === impl StoreDef ===

impl StoreDef {
    pub(crate) fn new(owner: StoreOwner, kind: StoreKind, name: Option<Arc<str>>) -> Self {
        let changelog_config = BTreeMap::new();
        Self { owner, kind, name, queryable: false, persistent: true, logged: true, changelog_config }
    }

    /// Keeps it in memory, not on disk.
    pub(crate) fn in_memory(&mut self) {
        self.persistent = false;
    }

    /// Leaves it without a changelog.
    pub(crate) fn without_changelog(&mut self) {
        self.logged = false;
    }

    /// Sets settings of its changelog.
    pub(crate) fn configure_changelog<'s>(&mut self, settings: impl IntoIterator<Item = (&'s str, &'s str)>) {
        let settings = settings.into_iter().map(|(setting, value)| (setting.to_owned(), value.to_owned()));
        self.changelog_config.extend(settings);
    }

    /// Names it.
    pub(crate) fn named(&mut self, name: Arc<str>) {
        self.name = Some(name);
    }

    /// Lets the REST interface read it; `false` when it has no rows to be read.
    pub(crate) fn queryable(&mut self) -> bool {
        self.queryable = self.kind.has_rows_by_key();
        self.queryable
    }
}
