//! Questions about the graph.

use std::collections::{BTreeMap, BTreeSet};

use super::{DataType, Graph, GraphNode, NodeId, Role, TopicRef};
use crate::topology::{SourceOptions, TopologyError, error::Formats};

// === impl Graph ===

impl Graph {
    /// A node.
    pub(crate) fn node(&self, id: NodeId) -> &GraphNode {
        &self.nodes[id.0]
    }

    /// All nodes, parents before children.
    pub(in crate::topology) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId::new)
    }

    /// The topics that a node reads itself.
    pub(in crate::topology) fn source_topics(&self, id: NodeId) -> &[TopicRef] {
        match &self.node(id).role {
            Role::Source { topics, .. } => topics,
            Role::Operator | Role::Sink { .. } => &[],
        }
    }

    /// The topics that the records of a node come from, back to the next repartition topic.
    pub(in crate::topology) fn topics_behind(&self, id: NodeId) -> BTreeSet<TopicRef> {
        let mut topics: BTreeSet<TopicRef> = self.source_topics(id).iter().cloned().collect();
        for parent in &self.node(id).parents {
            topics.extend(self.topics_behind(*parent));
        }
        topics
    }

    /// Whether a node, or any downstream of it, gives results for records without a key.
    pub(in crate::topology) fn takes_null_keys_downstream(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let behind_the_topic = match &node.role {
            Role::Sink { topic: TopicRef::Repartition(index) } => Some(self.repartitions[index.0].source),
            Role::Sink { .. } | Role::Operator | Role::Source { .. } => None,
        };
        node.takes_null_keys
            || node.children.iter().chain(&behind_the_topic).any(|next| self.takes_null_keys_downstream(*next))
    }

    /// Finds topics that are read with different serdes, and what was refused.
    pub(in crate::topology) fn check(&self) -> Result<(), TopologyError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        self.check_options()?;
        let mut seen: BTreeMap<&str, Formats> = BTreeMap::new();
        let sources = self.nodes.iter().filter_map(|node| match &node.role {
            Role::Source { topics, data: DataType { key, value, .. } } => {
                Some((topics, Formats(key.clone(), value.clone())))
            }
            Role::Operator | Role::Sink { .. } => None,
        });
        let of_sources = sources.flat_map(|(topics, formats)| {
            let external = topics.iter().filter_map(|topic| match topic {
                TopicRef::External(topic) => Some(&**topic),
                TopicRef::Repartition(_) => None,
            });
            external.map(move |topic| (topic, formats.clone()))
        });
        let of_globals = self
            .globals
            .iter()
            .map(|global| (&*global.topic, Formats(global.topic_formats.0.clone(), global.topic_formats.1.clone())));
        for (topic, second) in of_sources.chain(of_globals) {
            match seen.get(topic) {
                Some(first) if *first != second => {
                    return Err(TopologyError::TopicTwice { topic: topic.to_owned(), first: first.clone(), second });
                }
                Some(_) => {}
                None => {
                    seen.insert(topic, second);
                }
            }
        }
        Ok(())
    }

    /// Options belong to a topic: whoever has some is its only source.
    fn check_options(&self) -> Result<(), TopologyError> {
        let mut seen: BTreeMap<&TopicRef, bool> = BTreeMap::new();
        for node in &self.nodes {
            let Role::Source { topics, .. } = &node.role else { continue };
            let has_options = node.options != SourceOptions::default();
            for topic in topics {
                match seen.insert(topic, has_options) {
                    Some(had_options) if had_options || has_options => {
                        return Err(TopologyError::OptionsTwice {
                            topic: topic.external().unwrap_or_default().to_owned(),
                        });
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }
}
