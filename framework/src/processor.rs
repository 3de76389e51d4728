//! Records on their way through the nodes of a task.
//!
//! A task's nodes form a tree of typed values: each node owns its [`Children`] and pushes records into them, depth
//! first. Nothing is boxed, cast or serialized on the way; a record is cloned only where a node has several children.
//! What nodes share (the task's stores, the output, the record's position, time) is the [`Context`].

mod buffer_store;
mod context;
mod custom;
mod dropped;
mod error;
mod globals;
mod grace_buffer;
mod handlers;
mod key_value_store;
mod node;
mod output;
mod punctuation;
mod record;
mod store;
mod timed_store;
mod versioned_store;

pub use self::{
    buffer_store::BufferStore,
    context::Context,
    custom::{Origin, Processor, ProcessorContext, ProcessorResult},
    dropped::{DropReason, Dropped},
    error::{ProcessError, RecordPart, Stage, Target},
    globals::Globals,
    handlers::{Failure, Handler, Handlers},
    key_value_store::{KeyValueRow, KeyValueStore},
    node::{Children, Node, Shared, Source},
    output::Output,
    punctuation::{PunctuationId, PunctuationKind},
    record::{Change, Record},
    store::{StoreEntry, TimestampedStore},
    timed_store::{TimedEntry, TimedStore},
    versioned_store::{VersionedStore, VersionedValue},
};
pub(crate) use self::{
    context::Tolerance,
    custom::{Punctuated, user_error},
    error::with_causes,
    grace_buffer::GraceBuffer,
    handlers::{Known, Verdict},
    punctuation::Schedules,
};
pub use crate::config::OnError;
