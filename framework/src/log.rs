//! The log port: everything the framework asks of Kafka, as one family of traits.
//!
//! Two adapters fulfil it: [`kafka`], the engine for real work, and [`embedded`], an in-process log for demos,
//! development and deterministic simulation (not for production). One conformance suite runs against both.
//!
//! # Contract
//!
//! Every adapter keeps these rules; the conformance suite names the rule that each of its tests shows.
//!
//! 1. **Order.** Records of one partition are read in the order of their offsets, and offsets only grow. Gaps are
//!    legal (compaction, transaction markers): a reader must not count.
//! 2. **Fidelity.** Key, value (each may be null, which is not the same as empty), timestamp in ms and headers (in
//!    order, values may be null, names may repeat) are read as they were appended. Times before 1970 are refused, and 0
//!    may be read as 1 (librdkafka takes it for "now").
//! 3. **Partitions.** The adapter never picks a partition: callers do, with [`Partitioner`] (murmur2, as
//!    the Java producer does).
//! 4. **Batches.** A [`Reader::poll`] returns whole [`Batch`]es, each of one partition; a batch owns one buffer and its
//!    records are slices of it. `poll` may return early and empty; it never waits longer than its timeout.
//! 5. **End.** When a reader has returned everything up to the end that it may see, it says so with
//!    [`ReaderEvent::EndReached`], which carries the offset after the last record *and* after transaction markers.
//! 6. **Isolation.** A read-committed reader returns no record of an open or aborted transaction, and nothing that
//!    lies behind the first open one (the last stable offset).
//! 7. **Out of range.** A position below the first or above the last offset is reported as
//!    [`ReaderEvent::OutOfRange`]; nothing is skipped in silence.
//! 8. **Acknowledgement.** [`Producer::flush`] returns `Ok` only when every record appended so far is durable by the
//!    log's standard; a failed append is reported by `flush` even when `append` accepted it.
//! 9. **Idempotence.** A retry inside the adapter neither repeats nor reorders records.
//! 10. **Transactions.** All records and offsets of a transaction become visible together or never.
//!     [`TransactionalProducer::init`] fences every older producer of the same transactional id and aborts what it left
//!     open.
//! 11. **Groups.** Each change of membership makes a new generation; every member learns of it by
//!     [`MembershipEvent::Joined`] (of the newest, when there were several between two polls); exactly one member of a
//!     generation is the leader, and it stays while it lives.
//! 12. **Fencing by epoch.** A commit of offsets with an epoch that is not the current generation of a live member
//!     fails: [`Group::commit`] with [`LogError::Fenced`]; [`TransactionalProducer::send_offsets`] with
//!     [`LogError::Abortable`], because only the epoch is stale and the producer is good for the next transaction. A
//!     member that was voted out gets [`MembershipEvent::Lost`] before any later `Joined`, and then has a new member
//!     id.
//! 13. **Faults.** While the log cannot be reached, readers and memberships go on trying and say so by `Unavailable`
//!     events; bounded calls fail with [`LogError::Unavailable`] or [`LogError::Timeout`] within their deadline. When
//!     the log is back they go on where they were; nothing is lost or repeated.
//! 14. **Compaction.** In a compacted topic the last record of each key stays; a tombstone (null value) may go after it
//!     was readable for a while.
//! 15. **Blocking.** Calls block the calling thread. None may be made on the async runtime.

mod batch;
pub mod embedded;
mod error;
pub mod kafka;
mod partitioner;
mod port;
mod topic_id;

pub use self::{
    batch::{Batch, BatchBuilder, Headers, HeadersRef, RecordRef, TopicPartition},
    error::LogError,
    partitioner::{Partitioner, murmur2},
    port::{
        Admin, Append, Epoch, Fetched, Group, GroupMetadata, Isolation, Log, Member, Membership, MembershipEvent,
        MembershipOptions, NewTopic, Producer, ReadFrom, Reader, ReaderEvent, TopicInfo, TransactionalProducer,
    },
    topic_id::{TopicId, TopicIdError},
};
