//! What an instance knows of its application: the topology, its topics, the names that belong to it.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    internal_topics::{self, Overrides},
    topics::{self, TopicsError},
};
use crate::{
    cluster::PlanTask,
    config::Config,
    log::{Log, NewTopic},
    processor::Handlers,
    state::TaskId,
    time::Clock,
    topology::{InternalTopic, Partitions, Resolved, TopologyError},
};

/// An application on a log.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) log: Arc<dyn Log>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) topology: Arc<Resolved>,
    pub(super) replication_factor: Option<i32>,
    /// Settings of internal topics that the configuration changes.
    pub(super) overrides: Overrides,
    /// Where dead letters go.
    pub(super) dead_letter_topic: Option<Arc<str>>,
    /// How much longer than their stores the changelogs of windows keep records, in ms.
    pub(super) additional_retention_ms: i64,
}

/// The topics of an application, created and checked.
#[derive(Debug)]
pub(super) struct Topics {
    /// Partition counts of all topics that are read or written.
    pub(super) partitions: BTreeMap<Arc<str>, i32>,
    /// All tasks.
    pub(super) tasks: Vec<TaskId>,
}

/// Why the topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// They are missing, or their settings do not fit.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Their partition counts do not fit each other.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

// === impl Application ===

impl Application {
    /// The application that the configuration names.
    pub(super) fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        topology: Arc<Resolved>,
        config: &Config,
        handlers: &Handlers,
    ) -> Self {
        let additional_retention = config.window_changelog_additional_retention;
        Self {
            log,
            clock,
            topology,
            replication_factor: config.replication_factor,
            dead_letter_topic: handlers.dead_letter_topic().cloned(),
            overrides: config.internal_topics.clone(),
            additional_retention_ms: i64::try_from(additional_retention.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The topic that every instance tells the others on.
    pub(super) fn metadata_topic(&self) -> String {
        format!("{}-metadata", self.topology.application_id())
    }

    /// The topic whose owner leads.
    pub(super) fn coordination_topic(&self) -> String {
        format!("{}-coordination", self.topology.application_id())
    }

    /// Creates the internal topics that are missing, and checks all topics.
    pub(super) fn prepare(&self) -> Result<Topics, PrepareError> {
        let mut admin = self.log.admin().map_err(TopicsError::from)?;
        let external = self.topology.external_topics();
        let dead_letters = self.dead_letter_topic.iter().filter(|topic| !external.contains(topic));
        let counts = topics::existing(&mut *admin, external.iter().chain(dead_letters).map(|topic| &**topic))?;
        let partitions = self.topology.partitions(&counts)?;
        let of_cluster = [
            of_cluster(self.metadata_topic(), &[("cleanup.policy", "compact")]),
            of_cluster(self.coordination_topic(), &[]),
        ];
        let needed = [partitions.internal_topics(), &of_cluster].concat();
        let mut wanted: Vec<NewTopic> = needed.iter().map(|topic| self.wanted(topic)).collect();
        let asked = partitions.internal_topics().iter();
        let asked = asked.map(|topic| (topic.name.to_string(), topic.asked.keys().cloned().collect()));
        let mut asked = asked.collect();
        let of_topology = &mut wanted[..partitions.internal_topics().len()];
        internal_topics::change(of_topology, partitions.internal_topics(), &self.overrides, &mut asked)?;
        topics::ensure(&mut *admin, &wanted, &needed, &asked, &*self.clock)?;
        Ok(Topics::new(counts, &partitions))
    }

    fn wanted(&self, topic: &InternalTopic) -> NewTopic {
        NewTopic {
            name: topic.name.to_string(),
            partitions: topic.partitions,
            replication_factor: self.replication_factor,
            config: topic.config_with_additional_retention(self.additional_retention_ms),
        }
    }
}

/// A topic of one partition that is not of the topology but of the cluster.
fn of_cluster(name: String, config: &[(&str, &str)]) -> InternalTopic {
    let config = config.iter().map(|(setting, value)| ((*setting).to_owned(), (*value).to_owned())).collect();
    InternalTopic { name: name.into(), partitions: 1, config, asked: BTreeMap::new() }
}

// === impl Topics ===

impl Topics {
    fn new(external: BTreeMap<String, i32>, internal: &Partitions) -> Self {
        let mut partitions: BTreeMap<Arc<str>, i32> =
            external.into_iter().map(|(name, count)| (name.into(), count)).collect();
        partitions.extend(internal.internal_topics().iter().map(|topic| (Arc::clone(&topic.name), topic.partitions)));
        Self { partitions, tasks: internal.tasks() }
    }

    /// The tasks as the planner wants them.
    pub(super) fn plan_tasks(&self, topology: &Resolved) -> Vec<PlanTask> {
        let stateful = |task: TaskId| {
            let stores = &topology.sub_topologies[task.sub_topology as usize].stores;
            stores.iter().any(|store| store.changelog.is_some())
        };
        self.tasks.iter().map(|task| PlanTask { task: *task, stateful: stateful(*task) }).collect()
    }
}
