//! The steps in which restored rows come to disk many at a time, for tests of what is left when one of them is the last.

use std::{fmt::Debug, io};

/// A step of making a table of restored rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TableStep {
    /// Rows are written to a file that is no part of a store yet.
    Write,
    /// The file becomes part of a store. The store's offset is behind it then.
    Add,
    /// The offsets of the tables so far come to disk; before a store's first table, the offset that it is behind.
    Flush,
}

/// Is told of each step, on the thread that makes it. See [`StateDir::watched_by`](super::StateDir::watched_by).
pub trait TableWatch: Debug + Send + Sync {
    /// A step comes now.
    ///
    /// # Errors
    /// The step is not made, and fails with this error.
    fn before(&self, step: TableStep) -> io::Result<()>;

    /// A step was made.
    ///
    /// # Errors
    /// What was to come behind it fails with this error.
    fn after(&self, step: TableStep) -> io::Result<()>;
}
