//! A topology as part of an application: topics with their full names, stores with their place.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    Built, Description, GlobalProcessor, Instantiation, Processors, TopologyError, describe, fingerprint,
    graph::{GlobalIndex, Graph, NodeId, StoreOwner, TopicRef},
    names::Names,
};
use crate::{
    config::OffsetReset,
    state::{StoreId, StoreSpec},
};

/// A topology with the names that its topics have in an application.
pub struct Resolved {
    /// The sub-topologies; each one's id is its place here.
    pub sub_topologies: Vec<SubTopology>,
    /// The global tables. Their stores are one engine's; each one's [`StoreId`] is its place here.
    pub globals: Vec<GlobalTable>,
    application_id: Arc<str>,
    coalesces_all: bool,
    built: Arc<Built>,
}

/// A part of a topology that runs as one task per partition.
#[derive(Debug, Clone)]
pub struct SubTopology {
    /// The id, which is the first part of its tasks' ids.
    pub id: u32,
    /// The full names of the topics it reads, repartition topics included.
    pub sources: Vec<Arc<str>>,
    /// The full names of the topics it writes, repartition topics included.
    pub sinks: Vec<Arc<str>>,
    /// The repartition topics among its sources.
    pub repartition_topics: Vec<Arc<str>>,
    /// Its stores; each one's [`StoreId`] is its place here.
    pub stores: Arc<[StoreSpec]>,
}

/// A table that every instance reads whole.
#[derive(Debug, Clone)]
pub struct GlobalTable {
    /// The topic it is read from, which is its changelog too.
    pub topic: Arc<str>,
    /// Its store.
    pub store: StoreSpec,
}

/// Where a store lives.
#[derive(Debug, Clone, Copy)]
pub enum StoreLocation<'r> {
    /// In the tasks of a sub-topology.
    Tasks {
        /// The sub-topology.
        sub_topology: u32,
        /// The store among those of the task.
        id: StoreId,
        /// The store.
        spec: &'r StoreSpec,
    },
    /// On every instance.
    Global {
        /// The store among those of the global tables.
        id: StoreId,
        /// The store.
        spec: &'r StoreSpec,
    },
}

// === impl Resolved ===

impl Resolved {
    pub(super) fn new(built: Arc<Built>, application_id: &str) -> Self {
        let mut resolved = Self {
            sub_topologies: Vec::new(),
            globals: Vec::new(),
            application_id: application_id.into(),
            coalesces_all: false,
            built,
        };
        resolved.sub_topologies = (0..resolved.built.cuts.len()).map(|index| resolved.sub_topology(index)).collect();
        resolved.globals = (0..resolved.built.graph.globals.len()).map(|index| resolved.global(index)).collect();
        resolved
    }

    /// The application id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.application_id
    }

    /// Sub-topologies, nodes, stores and topics, as text (`Display`) and for serde.
    #[must_use]
    pub fn describe(&self) -> Description {
        describe::describe(&self.built)
    }

    /// A short text that is the same for topologies that are described the same, in every version of this program.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint::of(&self.describe().to_string())
    }

    /// The external topics that the topology reads or writes, in alphabetical order.
    #[must_use]
    pub fn external_topics(&self) -> Vec<Arc<str>> {
        let of_tasks = self.built.cuts.iter().flat_map(|cut| cut.sources.iter().chain(&cut.sinks));
        let names = of_tasks.filter_map(|topic| match topic {
            TopicRef::External(name) => Some(Arc::clone(name)),
            TopicRef::Repartition(_) => None,
        });
        let names: BTreeSet<_> = names.chain(self.globals.iter().map(|global| Arc::clone(&global.topic))).collect();
        names.into_iter().collect()
    }

    /// Coalesces the updates of all tables that are read or aggregated, and kept: what
    /// [`Materialized::coalesced`](crate::dsl::Materialized::coalesced) does for one.
    #[must_use]
    pub fn coalesce_all(self, coalesces_all: bool) -> Self {
        Self { coalesces_all, ..self }
    }

    pub(super) fn coalesces_all(&self) -> bool {
        self.coalesces_all
    }

    /// Where a store lives; `None` when there is none of this name.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<StoreLocation<'_>> {
        let in_tasks = self.sub_topologies.iter().find_map(|sub_topology| {
            let index = sub_topology.stores.iter().position(|spec| &*spec.name == name)?;
            let spec = &sub_topology.stores[index];
            Some(StoreLocation::Tasks { sub_topology: sub_topology.id, id: StoreId::new(index), spec })
        });
        in_tasks.or_else(|| {
            let index = self.globals.iter().position(|global| &*global.store.name == name)?;
            Some(StoreLocation::Global { id: StoreId::new(index), spec: &self.globals[index].store })
        })
    }

    /// Where its source says to begin in a topic without a position.
    pub(crate) fn offset_reset(&self, topic: &str) -> Option<OffsetReset> {
        let of_topic = |node: &NodeId| self.graph().source_topics(*node).iter().any(|it| it.external() == Some(topic));
        self.graph().node_ids().filter(of_topic).find_map(|node| self.graph().node(node).options.offset_reset)
    }

    /// Makes the nodes of a task of a sub-topology.
    ///
    /// # Errors
    ///
    /// When there is no such sub-topology.
    pub fn instantiate(&self, sub_topology: u32) -> Result<Processors, TopologyError> {
        let index = usize::try_from(sub_topology).unwrap_or(usize::MAX);
        let (Some(cut), Some(resolved)) = (self.built.cuts.get(index), self.sub_topologies.get(index)) else {
            let highest = u32::try_from(self.sub_topologies.len().saturating_sub(1)).unwrap_or(u32::MAX);
            return Err(TopologyError::UnknownSubTopology { id: sub_topology, highest });
        };
        let mut instantiation = Instantiation::new(self, cut);
        let mut sources: Vec<_> = cut.sources.iter().map(|_| Vec::new()).collect();
        for id in &cut.nodes {
            let topics = self.graph().source_topics(*id);
            for (topic, readers) in cut.sources.iter().zip(&mut sources) {
                if topics.contains(topic) {
                    readers.push(*id);
                }
            }
        }
        Ok(Processors::new(resolved.sources.clone(), sources, &mut instantiation))
    }

    /// What turns the records of a global table's or store's topic into rows; `None` behind the last of them.
    #[must_use]
    pub fn global_processor(&self, global: usize) -> Option<GlobalProcessor> {
        let name = Arc::clone(&self.globals.get(global)?.store.name);
        Some(GlobalProcessor::new(StoreId::new(global), name, &self.graph().globals[global].upkeep))
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.built.graph
    }

    pub(super) fn names(&self) -> &Names {
        &self.built.names
    }

    pub(super) fn built(&self) -> &Built {
        &self.built
    }

    /// The full name of a topic.
    pub(super) fn topic(&self, topic: &TopicRef) -> Arc<str> {
        match topic {
            TopicRef::External(name) => Arc::clone(name),
            TopicRef::Repartition(index) => {
                let ending = self.graph().repartitions[index.index()].purpose.topic_ending();
                format!("{}-{}{ending}", self.application_id, self.names().repartition(*index)).into()
            }
        }
    }

    fn sub_topology(&self, index: usize) -> SubTopology {
        let cut = &self.built.cuts[index];
        let stores = cut.stores.iter().map(|index| {
            let store = &self.graph().stores[index.index()];
            let name = Arc::clone(self.names().store(*index));
            let (key_format, value_format) = match &store.owner {
                StoreOwner::Table(table) => self.graph().table(*table).formats.clone(),
                StoreOwner::Processors { formats, .. }
                | StoreOwner::Node { formats, .. }
                | StoreOwner::Operator { formats, .. } => formats.clone(),
            };
            StoreSpec {
                changelog: store.logged.then(|| format!("{}-{name}-changelog", self.application_id).into()),
                name,
                kind: store.kind,
                key_format,
                value_format,
                queryable: store.queryable,
                persistent: store.persistent,
            }
        });
        let is_repartition = |topic: &&TopicRef| topic.external().is_none();
        SubTopology {
            id: u32::try_from(index).expect("sub-topologies are far fewer than 2^32"),
            sources: cut.sources.iter().map(|topic| self.topic(topic)).collect(),
            sinks: cut.sinks.iter().map(|topic| self.topic(topic)).collect(),
            repartition_topics: cut.sources.iter().filter(is_repartition).map(|topic| self.topic(topic)).collect(),
            stores: stores.collect(),
        }
    }

    fn global(&self, index: usize) -> GlobalTable {
        let global = &self.graph().globals[index];
        let (key_format, value_format) = global.formats.clone();
        let store = StoreSpec {
            name: Arc::clone(self.names().global(GlobalIndex::new(index))),
            kind: global.kind,
            changelog: None,
            key_format,
            value_format,
            queryable: global.queryable,
            persistent: global.persistent,
        };
        GlobalTable { topic: Arc::clone(&global.topic), store }
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("application_id", &self.application_id)
            .field("sub_topologies", &self.sub_topologies)
            .field("globals", &self.globals)
            .finish_non_exhaustive()
    }
}
