//! Records on their way through the nodes of a task.
//!
//! A task's nodes form a tree of typed values: each node owns its [`Children`] and pushes records into them, depth
//! first. Nothing is boxed, cast or serialized on the way; a record is cloned only where a node has several children.
//! What nodes share (the task's stores, the output, the record's position, time) is the [`Context`].

mod buffer_store;
mod coalesce;
mod context;
mod custom;
mod dropped;
mod duplicate_window_store;
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
mod unmatched_store;
mod versioned_store;

pub use self::{
    buffer_store::BufferStore,
    context::Context,
    custom::{Origin, Processor, ProcessorContext, ProcessorResult},
    dropped::{DropReason, Dropped},
    duplicate_window_store::{DuplicateWindowStore, WindowRow},
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
    coalesce::{Coalesce, Coalesced, Coalescing, PassedOn, SharedWaiting},
    context::{Position, Tolerance},
    custom::{Punctuated, user_error},
    duplicate_window_store::{Found, Pages, WindowValues, write_key},
    error::with_causes,
    grace_buffer::GraceBuffer,
    handlers::{Known, Verdict},
    punctuation::Schedules,
    unmatched_store::{JoinSide, TakeFrom, UnmatchedEntry, UnmatchedStore, UnmatchedValues, Visit},
};
pub use crate::config::OnError;
