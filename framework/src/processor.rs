//! Records on their way through the nodes of a task.
//!
//! A task's nodes form a tree of typed values: each node owns its [`Children`] and pushes records into them, depth
//! first. Nothing is boxed, cast or serialized on the way; a record is cloned only where a node has several children.
//! What nodes share (the task's stores, the output, the record's position, time) is the [`Context`].

mod context;
mod dropped;
mod error;
mod globals;
mod handlers;
mod node;
mod output;
mod record;
mod store;
mod timed_store;

pub use self::{
    context::Context,
    dropped::{DropReason, Dropped},
    error::{ProcessError, RecordPart, Stage, Target},
    globals::Globals,
    handlers::{Failure, Handler, Handlers},
    node::{Children, Node, Shared, Source},
    output::Output,
    record::{Change, Record},
    store::{StoreEntry, TimestampedStore},
    timed_store::{TimedEntry, TimedStore},
};
pub(crate) use self::{
    context::Tolerance,
    error::with_causes,
    handlers::{Known, Verdict},
};
pub use crate::config::OnError;
