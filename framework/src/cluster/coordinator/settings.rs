//! Who an instance is, and how patient.

use std::time::Duration;

use crate::cluster::metadata::InstanceId;

/// Who this instance is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name.
    pub instance_id: InstanceId,
    /// When this process started, in ms since the epoch. Records of earlier starts are told apart by
    /// it; if the topic knows a later one, because clocks differ, it is raised above that.
    pub started_ms: u64,
    /// Where its REST interface is reached.
    pub url: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its weight; 0 counts as 1.
    pub capacity: u32,
    /// The transactional ids of its producers. All of them must be initialised before the first event is given to
    /// the coordinator.
    pub transactional_ids: Vec<String>,
    /// Of the topology it runs.
    pub topology_fingerprint: String,
}

/// Deadlines and counts. The defaults fit a cluster on one continent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the leader of a new generation waits for the members' host metadata before it plans without those
    /// that are missing.
    pub report_deadline: Duration,
    /// How long a cluster that starts again waits for members that may have state which the others lack. As long as Kafka's own
    /// `group.initial.rebalance.delay.ms`.
    pub state_wait: Duration,
    /// How often the leader looks whether the topics have changed.
    pub topics_interval: Duration,
    /// When to do again what failed or was not seen on the topic.
    pub retry_interval: Duration,
    /// When to ask again what was not answered, not even by an error.
    pub answer_deadline: Duration,
    /// How often offsets are published, if nothing else is.
    pub offsets_interval: Duration,
    /// When a failed task is tried again where it failed, if nobody else takes it; doubles with each failure.
    pub failure_backoff: Duration,
    /// Up to this.
    pub max_failure_backoff: Duration,
    /// How long a task is kept away from where it failed.
    pub failure_memory: Duration,
    /// How many standbys a task with state gets.
    pub num_standby_replicas: usize,
    /// Whether members that nobody hears are evicted. Only where commits are fenced by producers: exactly once.
    pub evicts: bool,
    /// How long each member that could evict a silent leader gives those before it.
    pub leader_patience: Duration,
    /// How many tasks are warmed up at a time where they shall move to; at least 1.
    pub max_warmup_replicas: usize,
    /// How long the place of a standby is kept for an instance that is gone.
    pub standby_replacement_delay: Duration,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            report_deadline: Duration::from_secs(3),
            state_wait: Duration::from_secs(3),
            topics_interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(1),
            answer_deadline: Duration::from_secs(60),
            offsets_interval: Duration::from_secs(10),
            failure_backoff: Duration::from_secs(5),
            max_failure_backoff: Duration::from_secs(60),
            failure_memory: Duration::from_secs(600),
            num_standby_replicas: 0,
            evicts: false,
            leader_patience: Duration::from_millis(400),
            max_warmup_replicas: 2,
            standby_replacement_delay: Duration::ZERO,
        }
    }
}
