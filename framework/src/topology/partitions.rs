//! How many partitions: tasks per sub-topology, internal topics, and what must be equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    InternalTopic, Resolved, TopologyError,
    graph::{RepartitionIndex, TopicRef},
    names,
};
use crate::state::TaskId;

/// The numbers of partitions of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    /// By the full name of each topic that is read or written.
    counts: BTreeMap<Arc<str>, i32>,
    /// How many tasks each sub-topology has.
    tasks: Vec<i32>,
    internal_topics: Vec<InternalTopic>,
}

// === impl Partitions ===

impl Partitions {
    /// All tasks, in order.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskId> {
        let sub_topologies = (0_u32..).zip(&self.tasks);
        sub_topologies.flat_map(|(id, tasks)| (0..*tasks).map(move |partition| TaskId::new(id, partition))).collect()
    }

    /// How many tasks a sub-topology has; 0 when there is no such sub-topology.
    #[must_use]
    pub fn tasks_of(&self, sub_topology: u32) -> i32 {
        usize::try_from(sub_topology).ok().and_then(|index| self.tasks.get(index)).copied().unwrap_or(0)
    }

    /// How many partitions a topic has that is read or written, internal ones (by their full names) included.
    #[must_use]
    pub fn count(&self, topic: &str) -> Option<i32> {
        self.counts.get(topic).copied()
    }

    /// The topics that the application needs for itself: repartition topics and changelogs.
    #[must_use]
    pub fn internal_topics(&self) -> &[InternalTopic] {
        &self.internal_topics
    }
}

// === impl Resolved ===

impl Resolved {
    /// Finds out how many partitions internal topics and how many tasks sub-topologies have, from the numbers of
    /// partitions of the external topics that exist. A sub-topology has as many tasks as the largest of its sources has
    /// partitions; topics that are joined must have the same number.
    ///
    /// # Errors
    ///
    /// When topics are missing, when joined topics have different numbers, or when an internal topic's name is impossible.
    pub fn partitions(&self, counts: &BTreeMap<String, i32>) -> Result<Partitions, TopologyError> {
        let external = self.external_topics();
        let missing: Vec<_> =
            external.iter().filter(|name| !counts.contains_key(&***name)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            return Err(TopologyError::MissingTopics { topics: missing });
        }
        let mut known: BTreeMap<TopicRef, i32> =
            external.iter().map(|name| (TopicRef::External(Arc::clone(name)), counts[&**name])).collect();
        let groups = self.co_partitioned();
        self.count_repartitions(&groups, &mut known);
        groups.iter().try_for_each(|group| self.check_equal(group, &known))?;

        let of_sources = |sources: &[TopicRef]| sources.iter().map(|source| known[source]).max().unwrap_or(0);
        let tasks: Vec<_> = self.built().cuts.iter().map(|cut| of_sources(&cut.sources)).collect();
        let internal_topics = self.internal_topics(&known, &tasks);
        internal_topics.iter().try_for_each(|topic| names::check_topic(&topic.name))?;
        let counts = known.iter().map(|(topic, count)| (self.topic(topic), *count)).collect();
        Ok(Partitions { counts, tasks, internal_topics })
    }

    /// Groups of topics that must have the same number of partitions: those behind the two sides of each join. Groups
    /// with a topic in common are one.
    fn co_partitioned(&self) -> Vec<BTreeSet<TopicRef>> {
        let mut groups: Vec<BTreeSet<TopicRef>> = Vec::new();
        for (left, right) in &self.graph().joins {
            let mut group = self.graph().topics_behind(*left);
            group.extend(self.graph().topics_behind(*right));
            groups.retain(|other| {
                let apart = group.is_disjoint(other);
                if !apart {
                    group.extend(other.iter().cloned());
                }
                apart
            });
            groups.push(group);
        }
        groups
    }

    /// A repartition topic has as many partitions as was said; else as many as the external topics that it is joined with, or as was said
    /// of a repartition topic that it is joined with; else as many as the largest of the topics behind it, or of the repartition topics
    /// that it is joined with.
    fn count_repartitions(&self, groups: &[BTreeSet<TopicRef>], known: &mut BTreeMap<TopicRef, i32>) {
        // Each round settles at least the first one that is not settled yet, as the others only depend on earlier ones.
        for _ in 0..=self.graph().repartitions.len() {
            for (index, repartition) in self.graph().repartitions.iter().enumerate() {
                let topic = TopicRef::Repartition(RepartitionIndex::new(index));
                let joined: BTreeSet<_> =
                    groups.iter().filter(|group| group.contains(&topic)).flatten().cloned().collect();
                let external = joined.iter().find(|topic| topic.external().is_some());
                let behind = self.graph().topics_behind(repartition.sink);
                let count = match (repartition.partitions, external) {
                    (Some(said), _) => Some(said),
                    (None, Some(external)) => known.get(external).copied(),
                    (None, None) => joined
                        .iter()
                        .find_map(|topic| self.said_partitions(topic))
                        .or_else(|| behind.iter().chain(&joined).filter_map(|topic| known.get(topic).copied()).max()),
                };
                known.extend(count.map(|count| (topic, count)));
            }
        }
    }

    /// How many partitions a repartition topic was said to have.
    fn said_partitions(&self, topic: &TopicRef) -> Option<i32> {
        match topic {
            TopicRef::Repartition(index) => self.graph().repartitions[index.index()].partitions,
            TopicRef::External(_) => None,
        }
    }

    fn check_equal(&self, group: &BTreeSet<TopicRef>, known: &BTreeMap<TopicRef, i32>) -> Result<(), TopologyError> {
        let topics: Vec<_> = group.iter().map(|topic| (self.topic(topic).to_string(), known[topic])).collect();
        if topics.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            return Err(TopologyError::NotCoPartitioned { topics });
        }
        Ok(())
    }

    fn internal_topics(&self, known: &BTreeMap<TopicRef, i32>, tasks: &[i32]) -> Vec<InternalTopic> {
        let repartitions = (0..self.graph().repartitions.len()).map(|index| {
            let topic = TopicRef::Repartition(RepartitionIndex::new(index));
            InternalTopic::repartition(self.topic(&topic), known[&topic])
        });
        let parts = self.sub_topologies.iter().zip(&self.built().cuts).zip(tasks);
        let changelogs = parts.flat_map(|((sub_topology, cut), tasks)| {
            sub_topology.stores.iter().zip(&cut.stores).filter_map(|(store, index)| {
                let name = store.changelog.as_ref()?;
                let asked = self.graph().stores[index.index()].changelog_config.clone();
                Some(InternalTopic { asked, ..InternalTopic::changelog(Arc::clone(name), *tasks, store.kind) })
            })
        });
        repartitions.chain(changelogs).collect()
    }
}
