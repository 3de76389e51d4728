//! The cluster: who is there, who shall have which task, and how a task changes hands.
//!
//! Everything here is pure: events in, actions out, time as an argument. One [`Coordinator`] per instance takes in what the
//! group, the metadata topic and the runtime tell, and says what to publish, to fence, to start and to release. The
//! format of the topic is specified in `docs/metadata-topic.md`.
//!
//! # One generation
//!
//! ```text
//!            every instance                                      the leader
//! Joined ──► publishes its host metadata under the new epoch     asks the group for its members, checks the topics
//!            │                                                   confirms the last placement (provisional)
//! confirmed: │ tasks go on committing  ◄────────────────────────┘
//!            │                                                   waits for everyone's host metadata, or a deadline
//!            │                                                   fences who is gone
//! assigned:  │ releases what is not its own   ◄──────────────────plans, publishes; plans again when something changes
//!            │ claims what is, when nobody holds it
//!            │ reads its claim back, starts
//! ```
//!
//! Tasks that do not move never notice but by the new epoch that they commit with.
//!
//! # Why at most one instance has a task
//!
//! The metadata topic has one partition, so all instances see the same records in the same order, each up to where it has read.
//!
//! 1. *An instance has a task only while its record in the topic says that it holds it.* It claims the task first, and starts it when it
//!    reads the claim back; it takes the task out of its record after it was closed.
//! 2. *It starts a task only if, when it reads its claim back,* the highest assignment is of its own generation, names it as a
//!    member and as the owner, *and no other live member holds the task.* Of two instances that claim the same task, the one whose
//!    record comes later reads the other's first, and waits.
//! 3. *Live* is who the assignment names with the member id of its record. Who is not, was fenced before the assignment was published:
//!    its producers' transactions are aborted, its epoch is not valid any more, so it cannot commit, whatever it still does. (Both are
//!    needed: a process that was put out and does not know it may initialise its producers again. It must never commit without
//!    positions, which carry the epoch.)
//! 4. *The leader knows what everyone holds.* After it has joined a generation, an instance starts nothing by assignments of earlier ones,
//!    and drops the claims it has not started; so its first record of the new generation tells all it may have until
//!    there is an assignment of that generation. A member that has not reported by the deadline keeps what it has and gets nothing new.
//!
//! # Who leads
//!
//! The group says who leads a generation, and an instance follows only assignments of the generation it is a member of.
//! So of two leaders the old one has no effect: its assignment is of a generation that is over, or it is read before
//! the new leader's, by instances that have not heard of the new generation; they cannot commit what they start then, and rule 2
//! keeps others from the task until they have given it up. A leader plans from the highest assignment that it has read; it has read its
//! own record of the generation back, and so every assignment that was published before.
//!
//! # Who comes back
//!
//! A process that lost its membership drops everything and initialises its producers anew before it publishes under the next epoch. A
//! process that was restarted initialises its transactional ids before it publishes for the first time. Initialising aborts what
//! was open under the same id and fences whoever used it. So when an instance is a live member again and has
//! published, nothing of its earlier life can be committed any more, and the leader need not fence it (doing so would fence the new
//! life instead). What is left is ids that only the earlier life used: a restart with fewer threads. These the leader fences.
//! If the instance is back in the group but does not publish, the leader fences its earlier life after the deadline; the new one
//! then finds its producers fenced, and initialises them again.

mod codec;
mod coordinator;
mod description;
mod error;
mod eviction;
mod metadata;
mod planner;
mod probes;
mod registry;
mod view;

#[cfg(test)]
mod simulation;

pub use self::{
    codec::{FORMAT_VERSION, MetadataDecoder, MetadataError, MetadataRecord},
    coordinator::{Action, Coordinator, Event, Identity, Settings, TaskEvent},
    description::{
        ClusterDescription, DescriptionError, InstanceDescription, SubTopologyDescription, TaskDescription,
        TaskHostDescription,
    },
    error::ClusterError,
    eviction::Eviction,
    metadata::{
        AssignedMember, Assignment, AssignmentOrder, HostMetadata, InstanceId, Offsets, Reason, Role, TaskPlacement,
        TaskReport, TaskState,
    },
    planner::{
        Acceptance, Explanation, Forecast, Placements, PlanInput, PlanMember, PlanTask, explain, forecast, plan,
    },
    probes::{AliveAnswer, ProbeFailure, Probes},
    view::{ClusterView, InstanceView, TaskView},
};
