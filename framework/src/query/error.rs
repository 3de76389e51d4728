//! Why a request was not answered, in the terms of the query layer.

use std::sync::Arc;

use super::{Code, Position, ServedAs};

/// Why a request was not answered. The message is the `detail` of the problem body, the [`Code`] decides its status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The store has no entry for the key.
    #[error("store `{store}` has no entry for the key `{key}`")]
    NotFound {
        /// The store.
        store: Arc<str>,
        /// The key as the request gave it.
        key: String,
        /// What was looked at.
        seen: Box<Seen>,
    },
    /// No store of that name is declared queryable.
    #[error("there is no queryable store `{store}`; `GET /stores` lists those there are")]
    UnknownStore {
        /// The name in the request.
        store: String,
    },
    /// Nothing answers at this path.
    #[error("nothing answers at `{path}`; a `/` inside a key is written `%2F`")]
    UnknownPath {
        /// The path.
        path: String,
    },
    /// The path exists, the method does not.
    #[error("`{path}` does not take {method}")]
    MethodNotAllowed {
        /// The path.
        path: String,
        /// The method.
        method: String,
    },
    /// The key's text does not parse as the store's key type.
    #[error("no key of store `{store}`: {reason}")]
    InvalidKey {
        /// The store.
        store: Arc<str>,
        /// What is wrong.
        reason: String,
    },
    /// The key's text is longer than this instance takes.
    #[error("the key is longer than the limit of {limit_bytes} bytes")]
    KeyTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// A header or a parameter is wrong.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong.
        reason: String,
    },
    /// The owner is still restoring the store.
    #[error("store `{store}` is being restored on instance `{owner}`")]
    StoreRestoring {
        /// The store.
        store: Arc<str>,
        /// The partition; `None` for a global table.
        partition: Option<i32>,
        /// The instance that restores.
        owner: String,
    },
    /// No live instance owns the key's partition.
    #[error("no live instance owns partition {partition} of store `{store}` at the moment")]
    NoLiveOwner {
        /// The store.
        store: Arc<str>,
        /// The key's partition.
        partition: i32,
    },
    /// The owner could not be asked.
    #[error(
        "instance `{owner}`, which owns partition {partition} of store `{store}`, cannot be reached at {url}: {reason}"
    )]
    OwnerUnreachable {
        /// The store.
        store: Arc<str>,
        /// The key's partition.
        partition: i32,
        /// The owner.
        owner: String,
        /// Where it said it can be reached.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The instances do not agree yet who owns the partition.
    #[error(
        "partition {partition} of store `{store}` is moving: instance `{owner}` was asked and does not own it (any more)"
    )]
    OwnerChanging {
        /// The store.
        store: Arc<str>,
        /// The key's partition.
        partition: i32,
        /// The instance that was asked.
        owner: String,
    },
    /// A forwarded request came to an instance that does not own the key.
    #[error(
        "this instance does not own partition {partition} of store `{store}`, and a forwarded request is not forwarded again"
    )]
    HopLimit {
        /// The store.
        store: Arc<str>,
        /// The key's partition.
        partition: i32,
    },
    /// The request's deadline passed.
    #[error("the deadline of {allowed_ms} ms passed while waiting for {waiting_for}")]
    DeadlineExceeded {
        /// The deadline.
        allowed_ms: u128,
        /// What did not come.
        waiting_for: String,
    },
    /// Too many requests are in flight on this instance.
    #[error("this instance has {limit} requests in flight and takes no more")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
    /// The instance has not yet learned its stores from the log.
    #[error("this instance is starting: it has not learned the partitions of its stores yet")]
    Starting,
    /// The instance is not ready to serve.
    #[error("not ready: {}", .reasons.join("; "))]
    NotReady {
        /// Why, one reason each.
        reasons: Vec<String>,
    },
    /// The instance does not live.
    #[error("not alive: {}", .reasons.join("; "))]
    NotLive {
        /// Why, one reason each.
        reasons: Vec<String>,
    },
    /// The owner's answer is larger than this instance passes on.
    #[error("the answer of instance `{owner}` is larger than the limit of {limit_bytes} bytes; ask it at {url}")]
    AnswerTooLarge {
        /// The owner.
        owner: String,
        /// Where it can be reached.
        url: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// Stored bytes do not decode as the declared type.
    #[error("an entry of store `{store}` does not decode as {format}; the log of this instance says more")]
    Undecodable {
        /// The store.
        store: Arc<str>,
        /// The declared format.
        format: String,
    },
    /// Reading the store failed.
    #[error("store `{store}` cannot be read; the log of this instance says more")]
    StoreFailed {
        /// The store.
        store: Arc<str>,
    },
    /// Something failed that has no code of its own.
    #[error("{what} failed; the log of this instance says more")]
    Internal {
        /// What was tried.
        what: String,
    },
}

/// What an answer rests on: an absent key is as well-founded as a present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The partition; `None` for a global table.
    pub partition: Option<i32>,
    /// The committed input position of what was read; `None` when it is not known: of a standby.
    pub position: Option<Position>,
    /// In what role it was read.
    pub role: ServedAs,
    /// How old it may be, in ms.
    pub staleness_ms: u64,
}

// === impl QueryError ===

impl QueryError {
    /// The code, which never changes for a variant.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::UnknownStore { .. } => Code::UnknownStore,
            Self::UnknownPath { .. } => Code::UnknownPath,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::InvalidKey { .. } => Code::InvalidKey,
            Self::KeyTooLong { .. } => Code::KeyTooLong,
            Self::InvalidRequest { .. } => Code::InvalidRequest,
            Self::StoreRestoring { .. } => Code::StoreRestoring,
            Self::NoLiveOwner { .. } => Code::NoLiveOwner,
            Self::OwnerUnreachable { .. } => Code::OwnerUnreachable,
            Self::OwnerChanging { .. } => Code::OwnerChanging,
            Self::HopLimit { .. } => Code::HopLimit,
            Self::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            Self::Overloaded { .. } => Code::Overloaded,
            Self::Starting => Code::Starting,
            Self::NotReady { .. } => Code::NotReady,
            Self::NotLive { .. } => Code::NotLive,
            Self::AnswerTooLarge { .. } => Code::AnswerTooLarge,
            Self::Undecodable { .. } => Code::Undecodable,
            Self::StoreFailed { .. } => Code::StoreFailed,
            Self::Internal { .. } => Code::Internal,
        }
    }
}
