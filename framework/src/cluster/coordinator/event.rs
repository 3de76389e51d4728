//! What the coordinator is told.

use std::{collections::BTreeMap, sync::Arc};

#[cfg(doc)]
use super::{Action, Settings};
use crate::{
    cluster::{
        codec::MetadataRecord,
        metadata::{InstanceId, Offsets},
        planner::PlanTask,
    },
    log::{LogError, Member, MembershipEvent},
    state::TaskId,
};

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A record of the metadata topic, in the order of the topic; also those of this instance.
    Metadata(MetadataRecord),
    /// The metadata topic was read to the end that it had at the start.
    MetadataLoaded,
    /// What the membership tells.
    Membership(MembershipEvent),
    /// The answer to [`Action::QueryMembers`].
    Members {
        /// Of the question.
        generation: i32,
        /// The live members.
        result: Result<Vec<Member>, LogError>,
    },
    /// The answer to [`Action::CheckTopics`].
    Topics {
        /// Of the question.
        generation: i32,
        /// The tasks that follow from the partitions of the topics.
        result: Result<Vec<PlanTask>, LogError>,
    },
    /// The answer to [`Action::Fence`].
    Fenced {
        /// Of the order.
        generation: i32,
        /// Whose producers were to be fenced.
        instance_id: InstanceId,
        /// Whether they are.
        result: Result<(), LogError>,
    },
    /// What the runtime tells of a task.
    Task {
        /// Which.
        task: TaskId,
        /// What.
        event: TaskEvent,
    },
    /// The members that nobody hears now, by the membership under which they were heard last. Replaces what was said before.
    Suspects(BTreeMap<InstanceId, Arc<str>>),
    /// The answer to [`Action::DropAll`].
    AllDropped,
    /// How much state there is on this host, of open tasks and of others. Replaces what was said before.
    Offsets(BTreeMap<TaskId, Offsets>),
    /// This instance shall be emptied; answered by [`Action::Drained`].
    Drain,
    /// This instance shall give everything away and leave; answered by [`Action::Stopped`].
    Stop,
    /// Time has passed. Several times per [`Settings::retry_interval`].
    Tick,
}

/// What the runtime tells of a task that it was given by [`Action::StartTask`]. It tells the end of each task (one of the last three)
/// once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// Its state is being restored; as a follower, it lacks more of its changelogs than is acceptable.
    Restoring,
    /// It is at work; as a follower, it has caught up.
    Running,
    /// It is closed, as [`Action::ReleaseTask`] asked; or it is not active any more, and follows. What could not be committed is dropped.
    Released,
    /// It was closed, dirty, and nothing is wrong with it (its producer was fenced and initialised anew, its
    /// transaction was lost): it is started again, at once the first time, then less and less often.
    Dropped {
        /// Why.
        reason: String,
    },
    /// It was closed, dirty, by an error.
    Failed {
        /// Which.
        reason: String,
    },
}
