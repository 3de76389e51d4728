//! Worker threads, tasks, commit, restore; standbys and warm-ups.
//!
//! The control thread (see [`crate::app`]) tells the workers which tasks to run by [`Command`]s and hears of them by [`Report`]s. A worker
//! owns everything its tasks need, so records are processed without a lock; what other threads may read of a task (its
//! committed state) is in [`Hosted`].

mod committer;
mod failures;
mod followers;
mod globals;
mod hand_over;
mod hosted;
mod memory;
mod opening;
mod outbox;
mod pool;
mod production;
mod progress;
mod queue;
mod restore;
mod task;
mod threads;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use self::{
    followers::Followers,
    globals::GlobalsThread,
    hand_over::{Giver, HandedOver, Taker, hand_over},
    hosted::{Followed, Hosted, HostedState, HostedTask},
    pool::Workers,
    progress::{RestoreProgress, RestoreReading},
    threads::{LONG, MakeTurns, OsThreads, Thread, Threads, Turns, receive_within},
};
use crate::{
    config::{Guarantee, MemoryShares, OffsetReset, Timestamps},
    log::{Epoch, Group, Isolation, Log, TopicPartition},
    metrics::Metrics,
    processor::{Globals, Handlers},
    state::{Role, StateSettings, StoreId, TaskId},
    time::Clock,
    topology::{Resolved, SubTopology},
};

/// What a worker is told.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Restore a task and run it.
    Start {
        /// The task.
        task: TaskId,
        /// The epoch to commit under.
        epoch: Epoch,
        /// Where its open stores come from, if it was followed here.
        stores: Option<Taker>,
    },
    /// Commit and close a task: another instance takes it.
    Release {
        /// The task.
        task: TaskId,
        /// As what it is followed here from now on, and who gets its open stores.
        follow: Option<(Role, Giver)>,
    },
    /// Close all tasks, what is not committed is lost; then get a new producer.
    DropAll,
    /// The tasks stay; commit under this epoch from now on.
    Epoch(Epoch),
    /// Commit, close all tasks and end.
    Stop,
}

/// What a worker or the follower tells.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    /// The stores of a task are being brought up to date.
    Restoring {
        /// The task.
        task: TaskId,
    },
    /// A task processes records.
    Running {
        /// The task.
        task: TaskId,
        /// Where its stores stand in their changelogs.
        offsets: BTreeMap<StoreId, i64>,
    },
    /// A standby or warm-up is open, has caught up, or does not keep up any more.
    Following {
        /// The task.
        task: TaskId,
        /// Whether it lacks no more of its changelogs than is acceptable.
        caught_up: bool,
        /// Where its stores stand in their changelogs.
        offsets: BTreeMap<StoreId, i64>,
    },
    /// A task was committed, and closed or given to the follower; or a standby or warm-up was closed.
    Released {
        /// The task.
        task: TaskId,
        /// Where its stores stand in their changelogs; `None` if they were closed before.
        offsets: Option<BTreeMap<StoreId, i64>>,
    },
    /// A worker has dropped all its tasks and has a new producer.
    AllDropped {
        /// The worker.
        worker: usize,
    },
    /// The follower has closed all its tasks.
    FollowersDropped,
    /// A task stopped by an error.
    Failed {
        /// The task.
        task: TaskId,
        /// The error.
        error: String,
    },
    /// A task that had failed got over what it had failed at.
    Recovered {
        /// The task.
        task: TaskId,
    },
    /// The log cannot be reached.
    LogUnavailable {
        /// What the client says.
        reason: String,
    },
    /// The log can be reached again.
    LogReachable,
    /// A worker ended by an error: the instance must stop.
    WorkerFailed {
        /// The worker.
        worker: usize,
        /// The error.
        error: String,
    },
    /// The follower ended by an error: the instance must stop.
    FollowerFailed {
        /// The error.
        error: String,
    },
}

/// The settings of the workers.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeSettings {
    /// The guarantee.
    pub(crate) guarantee: Guarantee,
    /// How often to commit.
    pub(crate) commit_interval: Duration,
    /// How long a transaction may stay open.
    pub(crate) transaction_timeout: Duration,
    /// How long a task waits for records of its empty inputs; `None`: not even for those that are on the log.
    pub(crate) max_task_idle: Option<Duration>,
    /// How much memory may be used for what.
    pub(crate) memory: MemoryShares,
    /// Which time records have.
    pub(crate) timestamps: Timestamps,
    /// Where to begin without a position.
    pub(crate) offset_reset: Option<OffsetReset>,
    /// How many worker threads.
    pub(crate) threads: usize,
    /// How many records a standby or warm-up may lack and count as caught up.
    pub(crate) acceptable_recovery_lag: u64,
}

/// What all workers of an instance share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The log.
    pub(crate) log: Arc<dyn Log>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Who runs the loops.
    pub(crate) threads: Arc<dyn Threads>,
    /// The metrics.
    pub(crate) metrics: Metrics,
    /// The topology with its topic names.
    pub(crate) topology: Arc<Resolved>,
    /// Its sub-topologies, by id.
    pub(crate) sub_topologies: Vec<Arc<SubTopology>>,
    /// Partition counts of all topics that are read or written.
    pub(crate) partitions: Arc<BTreeMap<Arc<str>, i32>>,
    /// The global tables.
    pub(crate) globals: Arc<Globals>,
    /// Who decides about records that fail.
    pub(crate) handlers: Handlers,
    /// Where stores live.
    pub(crate) state: StateSettings,
    /// The group this instance is a member of.
    pub(crate) group: Arc<dyn Group>,
    /// What is hosted here, for queries.
    pub(crate) hosted: Arc<Hosted>,
    /// The settings.
    pub(crate) settings: RuntimeSettings,
    /// Prefix of the transactional ids: `<application id>/<instance id>`. Neither id has a `/`, so no two instances share one.
    pub(crate) transactional_prefix: String,
    /// When each worker last made progress, in ms of the monotonic clock.
    pub(crate) progress: Vec<AtomicU64>,
    /// The metadata topic's partition.
    pub(crate) metadata: TopicPartition,
    /// How far the control thread has read it, and told the workers what follows from it: the offset of the next record.
    pub(crate) metadata_read: AtomicI64,
    /// Set when the workers are told to stop: one that waits for the log gives up waiting.
    pub(crate) stopping: AtomicBool,
}

// === impl RuntimeSettings ===

impl RuntimeSettings {
    /// What readers may see.
    pub(crate) fn isolation(&self) -> Isolation {
        match self.guarantee {
            Guarantee::ExactlyOnce => Isolation::ReadCommitted,
            Guarantee::AtLeastOnce => Isolation::ReadUncommitted,
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Notes that a worker makes progress now.
    pub(crate) fn mark_progress(&self, worker: usize) {
        let now = self.clock.monotonic().as_millis() as u64;
        self.progress[worker].store(now, Ordering::Relaxed);
    }

    /// The transactional id of a worker.
    pub(crate) fn transactional_id(&self, worker: usize) -> String {
        format!("{}/{worker}", self.transactional_prefix)
    }

    /// Whether a task is one of this topology, with the partitions that its topics had when this instance started.
    pub(crate) fn knows(&self, task: TaskId) -> bool {
        (task.sub_topology as usize) < self.sub_topologies.len() && !self.inputs(task).is_empty()
    }

    /// The sub-topology of a task of this topology.
    pub(crate) fn sub_topology(&self, task: TaskId) -> Arc<SubTopology> {
        Arc::clone(&self.sub_topologies[task.sub_topology as usize])
    }

    /// The partitions that a task reads, with the index of their topic among the sub-topology's sources.
    pub(crate) fn inputs(&self, task: TaskId) -> Vec<(usize, TopicPartition)> {
        let sub_topology = self.sub_topology(task);
        let has_partition = |topic: &Arc<str>| self.partitions.get(topic).is_some_and(|count| task.partition < *count);
        (0..)
            .zip(&sub_topology.sources)
            .filter(|(_, topic)| has_partition(topic))
            .map(|(index, topic)| (index, TopicPartition::new(Arc::clone(topic), task.partition)))
            .collect()
    }
}
