//! What the coordinator says.

use std::sync::Arc;

#[cfg(doc)]
use super::{Event, TaskEvent};
use crate::{
    cluster::{
        error::ClusterError,
        eviction::Eviction,
        metadata::{Assignment, HostMetadata, InstanceId, Role},
    },
    log::Epoch,
    state::TaskId,
};

/// What to do. Actions are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Append the host metadata of this instance to the metadata topic.
    PublishHost(Arc<HostMetadata>),
    /// Append an assignment to the metadata topic.
    PublishAssignment(Arc<Assignment>),
    /// Append an eviction to the metadata topic.
    PublishEviction(Arc<Eviction>),
    /// Append a tombstone for an eviction to the metadata topic.
    PublishEvictionTombstone {
        /// Whose.
        instance_id: InstanceId,
    },
    /// Append a tombstone for an instance's host metadata to the metadata topic.
    PublishTombstone {
        /// Which.
        instance_id: InstanceId,
    },
    /// Ask for the live members of the group: [`Event::Members`].
    QueryMembers {
        /// Give it back.
        generation: i32,
    },
    /// Create the internal topics that are missing, check all topics, and tell the tasks: [`Event::Topics`].
    CheckTopics {
        /// Give it back.
        generation: i32,
    },
    /// Initialise transactions under these ids, so that nothing of a member that is gone can still be committed:
    /// [`Event::Fenced`].
    Fence {
        /// Give it back.
        generation: i32,
        /// Whose they are; give it back.
        instance_id: InstanceId,
        /// The ids.
        transactional_ids: Vec<String>,
    },
    /// Open a task and run it in this role. It commits with this epoch until [`Action::UpdateEpoch`].
    StartTask {
        /// Which.
        task: TaskId,
        /// As what.
        role: Role,
        /// What it commits with.
        epoch: Epoch,
    },
    /// Make the open standby or warm-up the active task, then tell its progress as after a start. If it is not open any
    /// more, do nothing: its end was told, and is on its way here.
    PromoteTask {
        /// Which.
        task: TaskId,
        /// What it commits with.
        epoch: Epoch,
    },
    /// Finish, commit and close a task, then tell [`TaskEvent::Released`] even when the last commit failed.
    ///
    /// With `follow`, an active task becomes that follower: its stores stay open, and what could not be committed is dropped. Whoever
    /// has them then tells [`TaskEvent::Released`], and of the follower as after a start.
    ReleaseTask {
        /// Which.
        task: TaskId,
        /// The role to go on in.
        follow: Option<Role>,
    },
    /// The open standby or warm-up goes on in this other role of the two.
    FollowAs {
        /// Which.
        task: TaskId,
        /// As what.
        role: Role,
    },
    /// Close all tasks, drop what is uncommitted, abort transactions and initialise all producers anew; then tell
    /// [`Event::AllDropped`].
    DropAll,
    /// All tasks that are open now commit with this epoch from now on. Until it comes after a new generation, their
    /// commits wait; they go on processing.
    UpdateEpoch {
        /// What they commit with.
        epoch: Epoch,
    },
    /// A membership of this instance, the present one or one that is over already, was ended by others: count it.
    Evicted,
    /// Leave the group and join it again as another member, which [`crate::log::MembershipEvent::Joined`] then tells. The tasks are
    /// dropped already.
    Rejoin,
    /// This instance has nothing left, as [`Event::Drain`] asked: stop it.
    Drained,
    /// This instance has given everything away and taken back its host metadata: leave the group.
    Stopped,
    /// This instance cannot go on: stop the process.
    Fatal(ClusterError),
}
