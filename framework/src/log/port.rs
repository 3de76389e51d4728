//! The traits of the log port. Their contract is the numbered list in [`crate::log`].

use std::{any::Any, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{Batch, Headers, LogError, TopicId, TopicPartition};

/// A log: the factory of all its clients. Cheap to clone behind an `Arc`, shared by all threads of an instance.
pub trait Log: Send + Sync + fmt::Debug {
    /// Asks whether the log answers, and waits up to `timeout` for it; [`LogError::Unavailable`] says why it does not.
    fn reach(&self, timeout: Duration) -> Result<(), LogError>;
    /// A client for topics and their settings.
    fn admin(&self) -> Result<Box<dyn Admin>, LogError>;
    /// A reader without partitions; [`Reader::assign`] gives it some.
    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError>;
    /// An idempotent producer without transactions.
    fn producer(&self) -> Result<Box<dyn Producer>, LogError>;
    /// A transactional producer; it is of no use before [`TransactionalProducer::init`].
    fn transactional_producer(
        &self,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError>;
    /// Joins a consumer group; the membership lives as long as the value.
    fn join(&self, options: MembershipOptions) -> Result<Box<dyn Membership>, LogError>;
}

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All records.
    ReadUncommitted,
    /// Only records of committed transactions and those outside transactions.
    ReadCommitted,
}

// === Topics ===

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Replication factor; `None` is the broker's default.
    pub replication_factor: Option<i32>,
    /// Topic settings by their Kafka names, e.g. `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

/// What exists under a topic's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Which topic of this name it is; `None` where the log knows no ids (brokers before 2.8).
    pub id: Option<TopicId>,
}

/// Topics and their settings.
pub trait Admin: Send + fmt::Debug {
    /// The named topics that exist; those that do not are left out, and none is told twice. One request, whatever their number.
    fn topics(&mut self, names: &[&str]) -> Result<Vec<TopicInfo>, LogError>;
    /// Creates topics. One that exists already is left as it is and is no error: check it with [`Admin::topics`].
    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<(), LogError>;
    /// Deletes topics; one that does not exist is no error.
    fn delete_topics(&mut self, names: &[&str]) -> Result<(), LogError>;
    /// All settings of a topic, defaults included.
    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>, LogError>;
    /// Deletes the records below the given offsets.
    fn delete_records(&mut self, before: &[(TopicPartition, i64)]) -> Result<(), LogError>;
}

// === Reading ===

/// Where a reader starts in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first record that is still there.
    Beginning,
    /// After the last record at this time.
    End,
    /// The record with this offset, or the next one after it.
    Offset(i64),
}

/// What one [`Reader::poll`] brought.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Records, in the order of offsets per partition.
    pub batches: Vec<Batch>,
    /// What happened beside.
    pub events: Vec<ReaderEvent>,
}

/// Something a reader has to tell beside records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderEvent {
    /// Everything visible was returned; reading goes on at `next_offset`. Said again whenever the end is reached anew.
    EndReached {
        /// The partition.
        partition: TopicPartition,
        /// The offset of the next record to come.
        next_offset: i64,
    },
    /// The position does not exist (any more); the partition stands still until it is assigned anew.
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position that was asked for.
        offset: i64,
    },
    /// The log cannot be reached now; the reader goes on trying.
    Unavailable {
        /// What the client library says.
        reason: String,
    },
}

/// Reads manually assigned partitions. Belongs to one thread.
pub trait Reader: Send + fmt::Debug {
    /// Adds a partition, or moves an assigned one to a new position.
    fn assign(&mut self, partition: &TopicPartition, from: ReadFrom) -> Result<(), LogError>;
    /// Removes a partition; records of it that are still on their way are never returned afterwards.
    fn unassign(&mut self, partition: &TopicPartition) -> Result<(), LogError>;
    /// Stops fetching a partition for a while (back-pressure). Nothing is skipped.
    fn pause(&mut self, partition: &TopicPartition) -> Result<(), LogError>;
    /// Goes on after [`Reader::pause`].
    fn resume(&mut self, partition: &TopicPartition) -> Result<(), LogError>;
    /// Waits up to `timeout` for records, and returns up to about `max_records` of them.
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Fetched, LogError>;
    /// The offset after the last record as the last fetch of this assigned partition told it; `None` before the first. No network
    /// call. It may count what this reader's isolation hides.
    fn known_end(&self, partition: &TopicPartition) -> Option<i64>;
    /// Memory of records that were fetched ahead and not returned yet, in bytes, as of some seconds ago.
    fn fetched_bytes(&self) -> usize;
    /// The first offset that exists, asked from the log.
    fn beginning_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError>;
    /// The offset after the last record this reader's isolation may see (read committed: the last stable
    /// offset), asked from the log.
    fn end_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError>;
    /// The offset of the first record with this timestamp (ms since the epoch) or a later one, asked from the log; `None` when there is
    /// none. It may be that of a record that this reader's isolation hides.
    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError>;
}

// === Writing ===

/// A record to append.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// The partition, chosen by the caller.
    pub partition: i32,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers.
    pub headers: &'a Headers,
}

/// Appends records. Belongs to one thread.
pub trait Producer: Send + fmt::Debug {
    /// Queues a record. Waits while the queue is full; fails when it stays full for the delivery timeout.
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError>;
    /// Serves acknowledgements without waiting. Call it between batches.
    fn serve(&mut self);
    /// Waits until all appended records are acknowledged, or reports the first that failed.
    fn flush(&mut self, timeout: Duration) -> Result<(), LogError>;
    /// The highest offset that was acknowledged to this producer in a partition.
    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64>;
}

/// A producer whose appends and offsets become visible together.
pub trait TransactionalProducer: Producer {
    /// Fences older producers of the same id and aborts what they left open.
    fn init(&mut self, timeout: Duration) -> Result<(), LogError>;
    /// Begins a transaction. Only after [`TransactionalProducer::init`] or the end of the one before.
    fn begin(&mut self) -> Result<(), LogError>;
    /// Adds input positions (the offset of the next record to read) to the transaction.
    fn send_offsets(&mut self, offsets: &[(TopicPartition, i64)], group: &GroupMetadata) -> Result<(), LogError>;
    /// Flushes and commits.
    fn commit(&mut self, timeout: Duration) -> Result<(), LogError>;
    /// Aborts; nothing of the transaction is ever visible to read-committed readers.
    fn abort(&mut self, timeout: Duration) -> Result<(), LogError>;
}

// === Groups ===

/// Who a member is in one generation of its group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Grows with every change of the membership.
    pub generation: i32,
    /// Given by the log; a new one means that everything the old one owned is lost.
    pub member_id: Arc<str>,
}

/// How to join a group.
#[derive(Debug, Clone)]
pub struct MembershipOptions {
    /// The group: the application id.
    pub group_id: String,
    /// The name that [`Group::members`] shows: the instance id.
    pub client_id: String,
    /// The one-partition topic whose owner is the leader; it must exist.
    pub coordination_topic: String,
    /// How long a silent member stays in the group.
    pub session_timeout: Duration,
    /// How long a member may go without [`Membership::poll`].
    pub max_poll_interval: Duration,
}

/// What a membership tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// This instance is a member of a new generation.
    Joined {
        /// Its epoch.
        epoch: Epoch,
        /// Whether this member leads the generation.
        leader: bool,
    },
    /// This instance was voted out: what it owned is lost. It joins again by itself.
    Lost {
        /// Why.
        reason: String,
    },
    /// The log cannot be reached now.
    Unavailable {
        /// What the client library says.
        reason: String,
    },
}

/// Being a member of a group. Polled by one dedicated thread.
pub trait Membership: Send + fmt::Debug {
    /// Keeps the membership alive and waits up to `timeout` for an event.
    fn poll(&mut self, timeout: Duration) -> Result<Option<MembershipEvent>, LogError>;
    /// The group, to be shared with other threads.
    fn group(&self) -> Arc<dyn Group>;
    /// Leaves the group and joins it again as another member: what is told next is that it joined. While the log is away it may go on as the
    /// same member, and is then told as such.
    fn rejoin(&mut self) -> Result<(), LogError>;
    /// Leaves the group at once, so that the others need not wait for the session timeout.
    fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// A member of a group as the log sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id in this generation.
    pub member_id: Arc<str>,
    /// The client id it joined with: the instance id.
    pub client_id: String,
}

/// Offsets and members of a group; usable from any thread.
pub trait Group: Send + Sync + fmt::Debug {
    /// The current epoch of this instance; `None` while it is not a member.
    fn epoch(&self) -> Option<Epoch>;
    /// Commits input positions (the offset of the next record to read), fenced by the epoch (rule 12).
    fn commit(&self, epoch: &Epoch, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError>;
    /// Committed positions; waits for pending transactional ones, so that what an aborted or committed transaction did is known.
    fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Option<i64>>, LogError>;
    /// What [`TransactionalProducer::send_offsets`] needs to be fenced by this epoch.
    fn metadata(&self, epoch: &Epoch) -> Result<GroupMetadata, LogError>;
    /// The live members. Slow (up to a second): for the leader after a new generation, not for a loop.
    fn members(&self) -> Result<Vec<Member>, LogError>;
}

/// A snapshot of a group membership, opaque to everyone but its adapter.
pub struct GroupMetadata {
    /// The epoch of the snapshot.
    pub epoch: Epoch,
    /// The adapter's own representation.
    pub(crate) inner: Box<dyn Any + Send + Sync>,
}

// === impl GroupMetadata ===

impl fmt::Debug for GroupMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupMetadata").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
