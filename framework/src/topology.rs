//! The topology: what is read, how it is processed, what is stored and written; and how that is cut into sub-topologies.
//!
//! The DSL builds a graph of typed nodes, each with a factory. [`Topology`] is the finished graph, shared by all threads;
//! [`Topology::resolve`] gives its topics the names they have in one application; [`Resolved::instantiate`] makes the
//! nodes of one task.

mod cut;
mod describe;
mod error;
mod factory;
mod fingerprint;
mod global;
pub(crate) mod graph;
mod instantiate;
mod internal_topics;
mod mermaid;
mod names;
mod partitions;
mod processors;
mod resolved;
mod source_options;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use self::{cut::Cut, graph::Graph, names::Names};
pub use self::{
    describe::{Description, GlobalDescription, NodeDescription, NodeKind, SubTopologyDescription},
    error::TopologyError,
    global::GlobalProcessor,
    internal_topics::{InternalTopic, Least},
    partitions::Partitions,
    processors::Processors,
    resolved::{GlobalTable, Resolved, StoreLocation, SubTopology},
};
pub(crate) use self::{
    factory::Factory,
    global::Upkeep,
    instantiate::Instantiation,
    processors::{JudgedUpdate, Processed},
    source_options::{SourceOptions, Timing},
};

/// A finished topology. Cheap to clone; the clones are one.
#[derive(Clone)]
pub struct Topology {
    built: Arc<Built>,
}

/// What [`Topology`]s share.
pub(crate) struct Built {
    /// The topology's own name.
    name: Arc<str>,
    graph: Graph,
    names: Names,
    cuts: Vec<Cut>,
}

// === impl Topology ===

impl Topology {
    /// Checks a graph, names its parts and cuts it into sub-topologies.
    pub(crate) fn new(name: Arc<str>, graph: Graph) -> Result<Self, TopologyError> {
        graph.check()?;
        let names = Names::of(&graph)?;
        check_changelogs(&graph, &names)?;
        graph.check_versions(&names)?;
        graph.check_opened(&names)?;
        let cuts = cut::sub_topologies(&graph, &names);
        if cuts.is_empty() && graph.globals.is_empty() {
            return Err(TopologyError::Empty { topology: name.to_string() });
        }
        Ok(Self { built: Arc::new(Built { name, graph, names, cuts }) })
    }

    /// The name given to [`Topology::builder`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.built.name
    }

    /// Sub-topologies, nodes, stores and topics, as text (`Display`) and for serde. Internal topics are shown without the
    /// application id.
    #[must_use]
    pub fn describe(&self) -> Description {
        describe::describe(&self.built)
    }

    /// The topology as part of an application: with the names that its internal topics have there.
    #[must_use]
    pub fn resolve(&self, application_id: &str) -> Resolved {
        Resolved::new(Arc::clone(&self.built), application_id)
    }
}

/// Refuses settings with which a store could not be restored.
fn check_changelogs(graph: &Graph, names: &Names) -> Result<(), TopologyError> {
    for (name, store) in names.stores().iter().zip(&graph.stores) {
        let topic = InternalTopic::changelog(Arc::clone(name), 1, store.kind);
        for (setting, value) in &store.changelog_config {
            if let Some(reason) = topic.refuses(setting, value) {
                let (store, setting) = (name.to_string(), format!("{setting}={value}"));
                return Err(TopologyError::ChangelogConfig { store, setting, reason });
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("name", &self.built.name).finish_non_exhaustive()
    }
}
