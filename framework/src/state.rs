//! State: the store engine of one task.
//!
//! A task owns one [`TaskStores`]. Its writes of the current commit interval live in an *overlay*; a commit moves them,
//! together with changelog offsets and input positions, into the backend in one atomic write. So the backend
//! always holds the state at some commit, with exactly the offsets that belong to it, whatever crashes when.
//!
//! ```text
//! write ──► live overlay ──freeze──► frozen overlay ──commit──► backend (RocksDB, memory) ◄── restore
//!                │                        │                        │
//! the task's own reads and scans:  live, then frozen, then backend │
//! queries ([`TaskView`], any thread):                              └── committed state only
//! ```
//!
//! # Rules
//!
//! 1. One thread owns the stores of a task and writes; any thread may read committed state through a [`TaskView`].
//! 2. What a view answers is committed, and one answer is of one commit: row and position belong together.
//! 3. Data, changelog offsets and positions are written together. RocksDB runs without a write-ahead log (the changelog
//!    is the log) and flushes all families at once, so after a crash it holds an older commit, never half of one.
//! 4. State is never wiped: what is behind is caught up from the changelog, starting at the stored offset.
//! 5. A restore brings rows to disk table by table, and the offset behind each: until a task runs, rows may be newer than the
//!    changelog offset. They are restored from there again after a crash, which ends with the same rows.
//! 6. A view may outlive its task: closing waits for running reads, later ones answer [`StateError::Closed`].

mod backend;
mod buffer;
mod buffer_value;
mod dir;
mod disk;
mod error;
pub mod formats;
pub mod lists;
mod lru_map;
mod memory;
mod overlay;
mod point;
mod range;
mod rocks;
mod role;
mod run;
mod settings;
mod spec;
mod steps;
mod stores;
mod task_id;
mod time_ordered;
mod timed;
mod versioned;
mod view;

#[cfg(test)]
mod tests;

pub use self::{
    buffer::{BufferSize, Buffered},
    buffer_value::BufferValue,
    dir::StateDir,
    disk::{DiskWatch, MemoryDisk},
    error::StateError,
    formats::Row,
    point::CommitPoint,
    range::Direction,
    rocks::MemoryBudget,
    role::Role,
    settings::StateSettings,
    spec::{Retention, StoreId, StoreKind, StoreSpec},
    steps::{TableStep, TableWatch},
    stores::{Dirty, TaskStores},
    task_id::{Owner, TaskId, TaskIdError},
    timed::TimedKey,
    versioned::{Version, Written},
    view::{OwnedRow, OwnedVersion, Page, PageRow, TaskView},
};
