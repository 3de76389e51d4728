//! A disk in memory, for simulations: what is flushed to it outlives the stores, as a disk outlives a process.
//!
//! It keeps of an owner's stores what the database would have after a crash: all of one commit, not always the last one, since what is
//! committed is in write buffers until they are flushed.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    CommitPoint, Owner, StateError, StoreId, StoreSpec, TaskId,
    memory::{Memory, Sorted},
    timed::{Advance, Progress},
};

/// A disk in memory. Clones are the same disk; it may be given to one [`StateDir`](super::StateDir) after the other.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<Owner, Image>>>);

/// Decides how a disk in memory does, on the thread that uses it.
pub trait DiskWatch: Debug + Send + Sync {
    /// Rows of `owner` were committed; says whether they are flushed now, as when a write buffer is full.
    ///
    /// # Errors
    /// The commit fails with this error.
    fn committed(&self, owner: Owner) -> io::Result<bool>;

    /// All rows of `owner` are flushed now.
    ///
    /// # Errors
    /// They are not, and the flush fails with this error.
    fn flush(&self, owner: Owner) -> io::Result<()>;
}

/// What is on the disk of an owner.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// By store.
    pub(super) rows: Vec<Sorted>,
    pub(super) point: CommitPoint,
    progress: Vec<Progress>,
    is_condemned: bool,
}

/// The place of an owner's stores on a disk in memory.
#[derive(Debug)]
pub(super) struct OnDisk {
    owner: Owner,
    disk: MemoryDisk,
    watch: Arc<dyn DiskWatch>,
    /// Per store whether it is on disk.
    persistent: Box<[bool]>,
    /// Per store how far it had come as of the last commit. Written by the owner's thread alone.
    progress: Mutex<Vec<Progress>>,
}

// === impl MemoryDisk ===

impl MemoryDisk {
    /// The tasks that have state here, in order.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        let of_task = |owner: &Owner| match owner {
            Owner::Task(task) => Some(*task),
            Owner::Global => None,
        };
        self.images().keys().filter_map(of_task).collect()
    }

    pub(super) fn remove(&self, owner: Owner) {
        self.images().remove(&owner);
    }

    pub(super) fn condemn(&self, owner: Owner) {
        self.images().entry(owner).or_default().is_condemned = true;
    }

    pub(super) fn is_condemned(&self, owner: Owner) -> bool {
        self.images().get(&owner).is_some_and(|image| image.is_condemned)
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<Owner, Image>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl OnDisk ===

impl OnDisk {
    /// Opens what is on the disk of an owner.
    pub(super) fn open(
        disk: &MemoryDisk,
        watch: &Arc<dyn DiskWatch>,
        owner: Owner,
        specs: &[StoreSpec],
    ) -> (Self, Memory) {
        let mut image = disk.images().entry(owner).or_default().clone();
        image.progress.resize(specs.len(), Progress::NONE);
        let memory = Memory::new(specs.len(), image.point);
        memory.load(image.rows);
        let persistent = specs.iter().map(|spec| spec.persistent).collect();
        let progress = Mutex::new(image.progress);
        (Self { owner, disk: disk.clone(), watch: Arc::clone(watch), persistent, progress }, memory)
    }

    /// How far a store had come as of the last commit.
    pub(super) fn progress(&self, store: StoreId) -> Progress {
        self.progresses()[store.index()]
    }

    /// Rows are about to be committed.
    pub(super) fn commits(&self, advances: &[Advance]) -> Result<bool, StateError> {
        let flushes = self.watch.committed(self.owner).map_err(|error| self.failed("write", &error))?;
        let mut progress = self.progresses();
        for Advance { store, to, .. } in advances.iter().filter(|advance| self.persistent[advance.store.index()]) {
            progress[store.index()] = *to;
        }
        Ok(flushes)
    }

    /// Writes down what is committed.
    pub(super) fn flush(&self, memory: &Memory) -> Result<(), StateError> {
        self.watch.flush(self.owner).map_err(|error| self.failed("flush", &error))?;
        let (rows, mut point) = memory.copy(&self.persistent);
        // Offsets of stores in memory die with them.
        point.changelog_offsets.retain(|store, _| self.persistent[store.index()]);
        point.changelog_ids.retain(|store, _| self.persistent[store.index()]);
        let image = Image { rows, point, progress: self.progresses().clone(), is_condemned: false };
        self.disk.images().insert(self.owner, image);
        Ok(())
    }

    fn progresses(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str, error: &io::Error) -> StateError {
        StateError::Database { owner: self.owner, dir: "(memory)".into(), what, reason: error.to_string() }
    }
}
