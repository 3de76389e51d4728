//! What instances tell each other on the metadata topic. Specified for other readers in `docs/metadata-topic.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use crate::state::Role;
use crate::{
    log::{Epoch, TopicPartition},
    state::TaskId,
};

/// The name of an instance: unique among the live processes of an application, and the same after a restart if it keeps
/// its state directory.
pub type InstanceId = Arc<str>;

/// What one instance says about itself; only that instance writes it, and only while it is a member of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMetadata {
    /// Who speaks.
    pub instance_id: InstanceId,
    /// One start of the process: a later start of the same instance has a greater one. About the time of the
    /// start, in ms since the epoch.
    pub incarnation: u64,
    /// Counts what this incarnation has published, from 1. (`incarnation`, `seq`) orders the records of an instance.
    pub seq: u64,
    /// The membership under which it speaks.
    pub epoch: Epoch,
    /// Where its REST interface is reached.
    pub url: String,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its weight: an instance of capacity 2 gets twice as many tasks as one of capacity 1.
    #[serde(default = "default_capacity")]
    pub capacity: u32,
    /// The transactional ids of its producers. This incarnation has initialised all of them before it first said so.
    #[serde(default)]
    pub transactional_ids: Vec<String>,
    /// Of the topology it runs; members of a cluster must agree.
    pub topology_fingerprint: String,
    /// The tasks it has, or has just failed to run.
    #[serde(default)]
    pub tasks: BTreeMap<TaskId, TaskReport>,
    /// State of other tasks that is left on its disk.
    #[serde(default)]
    pub stored: BTreeMap<TaskId, Offsets>,
    /// It asks to be emptied.
    #[serde(default)]
    pub draining: bool,
}

/// A task as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// In which role the host has it.
    pub role: Role,
    /// How far it is.
    pub state: TaskState,
    /// Why it failed here, until it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much of its changelogs the host has. Offsets, never lag: lag is relative to a moving end.
    #[serde(default, skip_serializing_if = "Offsets::is_empty")]
    pub offsets: Offsets,
}

/// How far a task is on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// The host is about to start it, and nobody else may.
    Claimed,
    /// Its state is being read from the changelog; as a standby or warm-up it is behind by more than is acceptable.
    Restoring,
    /// At work; as a standby or warm-up it has caught up.
    Running,
    /// Finishing and committing, to be given away.
    Releasing,
    /// Closed by an error; the host does not have it.
    Failed,
}

/// The next offsets to restore from, by changelog partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<TopicPartition, i64>);

/// Who shall have which task. Only the leader of a generation publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Grows when the group's generations start anew (the group was deleted, or expired while nobody was there).
    #[serde(default)]
    pub term: u64,
    /// The generation of the group.
    pub generation: i32,
    /// Counts the assignments of one generation, from 1.
    pub version: u64,
    /// It only carries the last assignment over into a new generation, before anyone knows who is there: who has a task
    /// goes on with it, and nothing is started, released or held to be gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// Who published it.
    pub leader: InstanceId,
    /// His membership: if it was evicted before, the assignment has no effect. Not there in what earlier versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_member_id: Option<Arc<str>>,
    /// The topology whose tasks these are.
    pub topology_fingerprint: String,
    /// The live members. Who is not among them under his member id is gone: he was fenced before this was published. (In a
    /// provisional one, the members of the last.)
    pub members: BTreeMap<InstanceId, AssignedMember>,
    /// Where each task belongs.
    pub tasks: BTreeMap<TaskId, TaskPlacement>,
    /// Members (by the member id they had) that held tasks when they went, and whose producers were fenced.
    #[serde(default)]
    pub fenced: BTreeMap<InstanceId, Arc<str>>,
}

/// A live member as the leader knew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedMember {
    /// Its id in the group.
    pub member_id: Arc<str>,
    /// Its incarnation; not known while the member has not published its host metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// What has to be fenced if it goes.
    #[serde(default)]
    pub transactional_ids: Vec<String>,
}

/// Where a task belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlacement {
    /// Who processes it; `None` while no member can.
    pub active: Option<InstanceId>,
    /// Who follows its changelog to take over, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<InstanceId>,
    /// Who follows its changelog because the task shall move there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm_ups: Vec<InstanceId>,
    /// For whom the place of a standby is kept: instances that left a short while ago, and have state of the task on their disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_for: Vec<InstanceId>,
    /// Which of them had the task, and gets it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_in_for: Option<InstanceId>,
    /// Why `active` has it.
    pub reason: Reason,
}

/// Why a task was placed where it is. It stays as it is while the task does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody had it or its state: the ring decided.
    Ring,
    /// The host already had the task or most of its state.
    State,
    /// It was moved from its host to level the load.
    Balance,
    /// It failed elsewhere.
    Failure,
    /// Who had it is gone; this host had followed it and had caught up.
    Failover,
    /// It was moved from a host that is to be emptied.
    Drain,
    /// There is no member that can take it.
    #[default]
    NoMember,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The order of assignments: instances follow the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AssignmentOrder {
    /// See [`Assignment::term`].
    pub term: u64,
    /// See [`Assignment::generation`].
    pub generation: i32,
    /// See [`Assignment::version`].
    pub version: u64,
}

fn default_capacity() -> u32 {
    1
}

// === impl HostMetadata ===

impl HostMetadata {
    /// The tasks that nobody else may run because this host may: its active ones, from the claim to the release.
    pub fn held(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.iter().filter(|(_, report)| report.is_held()).map(|(task, _)| *task)
    }

    /// The tasks that this host has, or could take over with next to nothing to restore.
    #[must_use]
    pub fn caught_up(&self) -> BTreeSet<TaskId> {
        let caught_up = |report: &TaskReport| report.is_held() || report.is_caught_up();
        self.tasks.iter().filter(|(_, report)| caught_up(report)).map(|(task, _)| *task).collect()
    }

    /// The tasks that failed here and have not run since.
    #[must_use]
    pub fn failed(&self) -> BTreeSet<TaskId> {
        self.tasks.iter().filter(|(_, report)| report.reason.is_some()).map(|(task, _)| *task).collect()
    }

    /// How much state of each task this host has: the sum of its changelog offsets.
    #[must_use]
    pub fn state(&self) -> BTreeMap<TaskId, i64> {
        let hosted = self.tasks.iter().map(|(task, report)| (*task, &report.offsets));
        let stored = self.stored.iter().map(|(task, offsets)| (*task, offsets));
        stored.chain(hosted).filter(|(_, offsets)| !offsets.is_empty()).map(|(task, o)| (task, o.total())).collect()
    }

    /// Whether `other` of the same instance was published later than this.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        (self.incarnation, self.seq) < (other.incarnation, other.seq)
    }
}

// === impl TaskReport ===

impl TaskReport {
    /// Whether nobody else may run the task.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.role == Role::Active && self.state != TaskState::Failed
    }

    /// Whether the host follows the task and lacks no more of it than is acceptable.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.role != Role::Active && self.state == TaskState::Running
    }
}

// === impl Offsets ===

impl Offsets {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The offset of a changelog partition.
    #[must_use]
    pub fn get(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.get(partition).copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, i64)> {
        self.0.iter().map(|(partition, offset)| (partition, *offset))
    }

    /// Their sum: of two hosts of the same task, the one with the greater sum has less to restore.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.0.values().fold(0, |sum, offset| sum.saturating_add(*offset))
    }
}

impl FromIterator<(TopicPartition, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, i64)>>(offsets: I) -> Self {
        Self(offsets.into_iter().collect())
    }
}

impl Serialize for Offsets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(partition, offset)| (partition.to_string(), offset)))
    }
}

impl<'de> Deserialize<'de> for Offsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_name = BTreeMap::<String, i64>::deserialize(deserializer)?;
        let parsed = by_name.into_iter().map(|(name, offset)| {
            let partition = name.rsplit_once('-').and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
            let (topic, number) = partition
                .ok_or_else(|| de::Error::custom(format!("`{name}` is no topic partition: `<topic>-<partition>`")))?;
            Ok((TopicPartition::new(topic, number), offset))
        });
        parsed.collect()
    }
}

// === impl Assignment ===

impl Assignment {
    /// Its place among all assignments.
    #[must_use]
    pub fn order(&self) -> AssignmentOrder {
        AssignmentOrder { term: self.term, generation: self.generation, version: self.version }
    }

    /// Whether an instance is a live member under this member id.
    #[must_use]
    pub fn lists(&self, instance_id: &str, member_id: &str) -> bool {
        self.members.get(instance_id).is_some_and(|member| *member.member_id == *member_id)
    }

    /// Whether a host speaks as a live member; if not, what it says it holds is void. As long as that is not known, it does
    /// if it speaks in this generation.
    #[must_use]
    pub fn lists_host(&self, host: &HostMetadata) -> bool {
        let speaks_now = self.provisional && host.epoch.generation == self.generation;
        speaks_now || self.lists(&host.instance_id, &host.epoch.member_id)
    }

    /// What an instance shall have.
    #[must_use]
    pub fn tasks_of(&self, instance_id: &str) -> BTreeMap<TaskId, Role> {
        self.tasks.iter().filter_map(|(task, placement)| Some((*task, placement.role_of(instance_id)?))).collect()
    }
}

// === impl TaskPlacement ===

impl TaskPlacement {
    /// The role in which an instance shall have the task.
    #[must_use]
    pub fn role_of(&self, instance_id: &str) -> Option<Role> {
        let names = |instances: &[InstanceId]| instances.iter().any(|instance| **instance == *instance_id);
        if self.active.as_deref() == Some(instance_id) {
            Some(Role::Active)
        } else if names(&self.standbys) {
            Some(Role::Standby)
        } else if names(&self.warm_ups) {
            Some(Role::WarmUp)
        } else {
            None
        }
    }
}

// === impl AssignmentOrder ===

impl fmt::Display for AssignmentOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.generation, self.version)
    }
}
