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
mod fixed_key;
mod global_rows;
mod global_store;
mod globals;
mod grace_buffer;
mod handlers;
mod key_value_rows;
mod key_value_store;
mod lru_map;
mod node;
mod output;
mod plain_key_value_store;
mod plain_window_store;
mod punctuation;
mod record;
mod session_store;
mod store;
mod store_context;
mod timed_rows;
mod timed_store;
mod transformer;
mod unmatched_store;
mod versioned_store;
mod window_store;

pub use self::{
    buffer_store::BufferStore,
    context::Context,
    custom::{Origin, OutputId, Processor, ProcessorContext, ProcessorResult},
    dropped::{DropReason, Dropped},
    duplicate_window_store::{DuplicateWindowRow, DuplicateWindowStore},
    error::{ProcessError, RecordPart, Stage, Target},
    fixed_key::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord},
    global_rows::GlobalRows,
    global_store::GlobalContext,
    globals::Globals,
    handlers::{Failure, Handler, Handlers},
    key_value_store::{KeyValueRow, KeyValueStore},
    lru_map::LruMap,
    node::{Children, Node, Shared, Source},
    output::Output,
    plain_key_value_store::PlainKeyValueStore,
    plain_window_store::PlainWindowStore,
    punctuation::{PunctuationId, PunctuationKind},
    record::{Change, Record},
    session_store::{SessionRow, SessionStore},
    store::{StoreEntry, TimestampedStore},
    store_context::{HasGlobals, ProcessorStore, StoreContext, StorePlace},
    timed_store::{TimedEntry, TimedStore},
    transformer::{TransformContext, ValueTransformer},
    versioned_store::{VersionedStore, VersionedValue},
    window_store::{WindowRow, WindowStore},
};
pub(crate) use self::{
    coalesce::{Coalesce, Coalesced, Coalescing, PassedOn, SharedWaiting},
    context::{Position, Tolerance},
    custom::{Punctuated, user_error},
    duplicate_window_store::{Found, Pages, WindowValues, write_key},
    error::with_causes,
    fixed_key::FixedKey,
    global_store::{GlobalNode, GlobalUpdater},
    grace_buffer::GraceBuffer,
    handlers::{Known, Verdict},
    key_value_store::behind_prefix,
    punctuation::Schedules,
    unmatched_store::{JoinSide, TakeFrom, UnmatchedEntry, UnmatchedStore, UnmatchedValues, Visit},
};
pub use crate::config::OnError;
