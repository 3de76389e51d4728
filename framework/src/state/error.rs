//! What can go wrong with state, and what to do about it.

use std::{io, path::PathBuf};

use super::Owner;

/// An error of the state engine. Each message names the directory, task or store, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process (or another instance in this one) holds the directory.
    #[error(
        "state directory `{}` is in use by another instance: stop that one, or start this one with a different \
         --state-dir", .dir.display()
    )]
    DirectoryInUse {
        /// The application's state directory.
        dir: PathBuf,
    },
    /// The directory was written by a version of the framework that this one does not know.
    #[error(
        "state directory `{}` has layout version {found}, this program knows version {supported}: run a program that \
         knows it, or start with a different --state-dir (the state is then rebuilt from the changelogs)", .dir.display()
    )]
    UnknownLayout {
        /// The application's state directory.
        dir: PathBuf,
        /// What its VERSION file says.
        found: String,
        /// The version this program writes.
        supported: u32,
    },
    /// The application id cannot name a directory.
    #[error("application id `{application_id}` cannot name a directory: use letters, digits, `.`, `_` and `-`")]
    ApplicationId {
        /// The application id.
        application_id: String,
    },
    /// A file operation on the state directory failed.
    #[error("cannot {what} `{}`: check that the path exists, is writable and has free space", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The same state is open already in this process: close the other one first.
    #[error("the state of {owner} in `{}` is already open in this process: close it before opening it again", .dir.display())]
    AlreadyOpen {
        /// Whose state.
        owner: Owner,
        /// The application's state directory.
        dir: PathBuf,
    },
    /// The database does not open.
    #[error(
        "the database of {owner} in `{}` does not open: {reason}; check the disk, its free space and its permissions; if need \
         be move that directory aside: the state is then rebuilt from the changelog", .dir.display()
    )]
    Open {
        /// Whose state.
        owner: Owner,
        /// The directory of the database.
        dir: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// An open database failed to read or write: the owner must stop, what is committed is safe.
    #[error(
        "the database of {owner} in `{}` failed to {what}: {reason}; check the disk, its free space and the file LOG \
         in that directory", .dir.display()
    )]
    Database {
        /// Whose state.
        owner: Owner,
        /// The directory of the database.
        dir: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What RocksDB says.
        reason: String,
    },
    /// Restored rows did not become a table; they are restored again, from the stored offset.
    #[error(
        "cannot {what} `{}`, rows that {owner} restores: {reason}; check the disk and its free space", .path.display()
    )]
    TableFile {
        /// Whose state.
        owner: Owner,
        /// The table.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What RocksDB says.
        reason: String,
    },
    /// Stored bytes are not what this program writes.
    #[error(
        "{what} of {owner} cannot be read: {reason}; it was written by another version or is damaged: run that \
         version, or move the state of {owner} aside to rebuild it from the changelog"
    )]
    Format {
        /// Whose state.
        owner: Owner,
        /// What was read: a store's row, the offsets.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state is closed: its task moved away or the instance stops. Ask where the task is now.
    #[error("the state of {owner} is closed here")]
    Closed {
        /// Whose state.
        owner: Owner,
    },
}

// === impl StateError ===

impl StateError {
    /// Whether stored bytes are damaged or missing, so that the state has to be rebuilt; else something around it failed (space,
    /// permissions), and what is stored is good.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { reason, .. } | Self::Database { reason, .. } | Self::TableFile { reason, .. } => {
                reason.starts_with("Corruption") || reason.contains("No such file or directory")
            }
            Self::Format { .. } => true,
            _ => false,
        }
    }

    /// Whose state it is about; `None` when it is the directory of all.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::AlreadyOpen { owner, .. }
            | Self::Open { owner, .. }
            | Self::Database { owner, .. }
            | Self::TableFile { owner, .. }
            | Self::Format { owner, .. }
            | Self::Closed { owner } => Some(*owner),
            _ => None,
        }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            // What RocksDB says of ENOSPC.
            Self::Open { reason, .. } | Self::Database { reason, .. } | Self::TableFile { reason, .. } => {
                reason.contains("No space left on device")
            }
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
