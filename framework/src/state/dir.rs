//! The state directory of an application on one machine.
//!
//! ```text
//! <state dir>/<application id>/
//!     VERSION           version of this layout; durable before anything else is there (VERSION.new while it is written)
//!     .lock             empty; locked by the instance that uses the directory, for as long as its process lives
//!     tasks/<task>/     state of a task
//!         rocksdb/      the database of its stores; RocksDB locks its own LOCK in there
//!         restored.sst  a table of restored rows: written whole, then linked into the database; what a crash left is removed at the next open
//!         DAMAGED       found damaged while it was in use: all of it is moved aside when it is opened next
//!     global/           state of the global tables, the same as of a task
//!     damaged/<task>/, damaged/global/
//!                       what was found damaged last, or lacking in its changelogs; nothing reads it
//! ```
//!
//! While no instance runs, the folder of a task, `global` or all of it may be deleted: it is restored from the changelogs, but for stores
//! without one. `damaged` may be deleted at any time; of a changelog that was cut off it may be the last copy. `VERSION` and single files of a
//! database may not.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{DiskWatch, MemoryDisk, Owner, StateError, TableStep, TableWatch, TaskId};

/// Version of the layout of the directory and of everything in it.
const LAYOUT_VERSION: u32 = 1;
/// See [`StateDir::condemn`].
const CONDEMNED: &str = "DAMAGED";

/// The state directory of an application, locked for this instance while the value lives.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    /// Whose state is open in this process. Written by those who open and close task stores, on any thread.
    open: Mutex<BTreeSet<Owner>>,
    /// For tests.
    watch: Option<Arc<dyn TableWatch>>,
    place: Place,
}

/// What the directory is on.
#[derive(Debug)]
enum Place {
    /// Files.
    Files {
        /// Holds the lock on `.lock`; the operating system releases it when the file is closed, however the process ends.
        _lock: File,
    },
    Memory(MemoryDisk, Arc<dyn DiskWatch>),
}

/// The right to open the state of one owner; given back on drop.
#[derive(Debug)]
pub(super) struct Occupied {
    dir: Arc<StateDir>,
    owner: Owner,
}

// === impl StateDir ===

impl StateDir {
    /// Opens the directory of an application below `state_dir`, creates it where it is missing, and locks it.
    ///
    /// # Errors
    /// [`StateError::DirectoryInUse`] when another instance holds it, [`StateError::UnknownLayout`] when a version of the
    /// framework wrote it that this one does not know.
    pub fn open(state_dir: &Path, application_id: &str) -> Result<Self, StateError> {
        let mut components = Path::new(application_id).components();
        let (Some(Component::Normal(_)), None) = (components.next(), components.next()) else {
            return Err(StateError::ApplicationId { application_id: application_id.to_owned() });
        };
        let root = state_dir.join(application_id);
        fs::create_dir_all(&root).map_err(io_error("create", &root))?;
        let lock = lock(&root)?;
        check_version(&root)?;
        let dir = Self { root, open: Mutex::default(), watch: None, place: Place::Files { _lock: lock } };
        for path in [dir.tasks_dir(), dir.global_dir()] {
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        }
        Ok(dir)
    }

    /// A directory on a disk in memory, for simulations. Nothing keeps two of them from using one disk.
    #[must_use]
    pub fn in_memory(disk: MemoryDisk, watch: Arc<dyn DiskWatch>) -> Self {
        Self { root: PathBuf::from("(memory)"), open: Mutex::default(), watch: None, place: Place::Memory(disk, watch) }
    }

    /// The disk in memory, if it is on one.
    pub(super) fn memory_disk(&self) -> Option<(&MemoryDisk, &Arc<dyn DiskWatch>)> {
        match &self.place {
            Place::Files { .. } => None,
            Place::Memory(disk, watch) => Some((disk, watch)),
        }
    }

    /// Tells a test of the steps in which restored rows come here.
    #[must_use]
    pub fn watched_by(mut self, watch: Arc<dyn TableWatch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// `<state dir>/<application id>`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the state of a task lies; it may not exist.
    #[must_use]
    pub fn task_dir(&self, task: TaskId) -> PathBuf {
        self.tasks_dir().join(task.to_string())
    }

    /// Where the state of the global tables lies.
    #[must_use]
    pub fn global_dir(&self) -> PathBuf {
        self.root.join("global")
    }

    /// The tasks that have state here, open or not, in order.
    ///
    /// # Errors
    /// [`StateError::Io`] when the directory cannot be read.
    pub fn tasks(&self) -> Result<Vec<TaskId>, StateError> {
        if let Some((disk, _)) = self.memory_disk() {
            return Ok(disk.tasks());
        }
        let path = self.tasks_dir();
        let entries = fs::read_dir(&path).map_err(io_error("list", &path))?;
        let mut tasks = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error("list", &path))?.file_name();
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(task) => tasks.push(task),
                None => tracing::warn!(dir = %path.display(), ?name, "an entry is not the state of a task: left alone"),
            }
        }
        tasks.sort_unstable();
        Ok(tasks)
    }

    /// Where the state of an owner lies.
    pub(super) fn dir_of(&self, owner: Owner) -> PathBuf {
        match owner {
            Owner::Task(task) => self.task_dir(task),
            Owner::Global => self.global_dir(),
        }
    }

    /// Moves state of an owner away that is damaged, or that its changelogs lack, for a look at it; it begins anew. Only the last one is kept. If somebody deleted it, there
    /// is nothing to move.
    ///
    /// # Errors
    /// [`StateError::AlreadyOpen`] while it is open, [`StateError::Io`].
    pub fn set_aside(self: &Arc<Self>, owner: Owner) -> Result<PathBuf, StateError> {
        let _occupied = self.occupy(owner)?;
        let (from, folder) = (self.dir_of(owner), self.root.join("damaged"));
        if let Some((disk, _)) = self.memory_disk() {
            disk.remove(owner);
            return Ok(folder);
        }
        let to = folder.join(from.file_name().expect("the state of an owner has a folder of its own"));
        fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        if to.try_exists().map_err(io_error("look for", &to))? {
            fs::remove_dir_all(&to).map_err(io_error("remove", &to))?;
        }
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(to),
            result => result.map(|()| to).map_err(io_error("move aside", &from)),
        }
    }

    /// Notes that the state of an owner is damaged, for when it cannot be closed and moved aside now: it is when it is opened next.
    ///
    /// # Errors
    /// [`StateError::Io`] when that cannot be noted.
    pub fn condemn(&self, owner: Owner) -> Result<(), StateError> {
        if let Some((disk, _)) = self.memory_disk() {
            disk.condemn(owner);
            return Ok(());
        }
        let note = self.dir_of(owner).join(CONDEMNED);
        File::create(&note).and_then(|file| file.sync_all()).map_err(io_error("write", &note))
    }

    /// Whether the state of an owner is to be moved aside before it is opened.
    pub(super) fn is_condemned(&self, owner: Owner) -> Result<bool, StateError> {
        if let Some((disk, _)) = self.memory_disk() {
            return Ok(disk.is_condemned(owner));
        }
        let note = self.dir_of(owner).join(CONDEMNED);
        note.try_exists().map_err(io_error("look for", &note))
    }

    /// Removes the state of a task.
    ///
    /// # Errors
    /// [`StateError::AlreadyOpen`] while it is open, [`StateError::Io`].
    pub fn remove(self: &Arc<Self>, task: TaskId) -> Result<(), StateError> {
        let _occupied = self.occupy(Owner::Task(task))?;
        if let Some((disk, _)) = self.memory_disk() {
            disk.remove(Owner::Task(task));
            return Ok(());
        }
        let dir = self.task_dir(task);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(io_error("remove", &dir)),
        }
    }

    /// Claims the state of an owner for one engine in this process.
    pub(super) fn occupy(self: &Arc<Self>, owner: Owner) -> Result<Occupied, StateError> {
        if self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(owner) {
            Ok(Occupied { dir: Arc::clone(self), owner })
        } else {
            Err(StateError::AlreadyOpen { owner, dir: self.root.clone() })
        }
    }

    fn tasks_dir(&self) -> PathBuf {
        self.root.join("tasks")
    }
}

// === impl Occupied ===

impl Occupied {
    /// Makes a step, of which a test is told.
    pub(super) fn at(&self, step: TableStep, make: impl FnOnce() -> Result<(), StateError>) -> Result<(), StateError> {
        let Some(watch) = &self.dir.watch else { return make() };
        let told = |result: io::Result<()>| result.map_err(io_error("write tables to", &self.dir.dir_of(self.owner)));
        told(watch.before(step))?;
        make()?;
        told(watch.after(step))
    }

    /// See [`StateDir::condemn`].
    pub(super) fn condemn(&self) -> Result<(), StateError> {
        self.dir.condemn(self.owner)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.dir.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.owner);
    }
}

/// What [`Path`] an operation failed on, as a [`StateError::Io`].
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { what, path: path.to_owned(), source }
}

fn lock(root: &Path) -> Result<File, StateError> {
    let path = root.join(".lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::DirectoryInUse { dir: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

/// Checks the layout's version; a directory that is still without state gets the current one.
fn check_version(root: &Path) -> Result<(), StateError> {
    let path = root.join("VERSION");
    let unknown = |found: &str| StateError::UnknownLayout {
        dir: root.to_owned(),
        found: found.to_owned(),
        supported: LAYOUT_VERSION,
    };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == LAYOUT_VERSION.to_string() => Ok(()),
        Ok(text) => Err(unknown(&format!("`{}`", text.trim().escape_default()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // `tasks` is made after VERSION is durable: without VERSION it is somebody else's.
            if root.join("tasks").try_exists().map_err(io_error("look for", &root.join("tasks")))? {
                return Err(unknown("(its VERSION file is missing)"));
            }
            write_version(root, &path)
        }
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// Writes the file whole or not at all, and durably, before anything relies on it.
fn write_version(root: &Path, path: &Path) -> Result<(), StateError> {
    let temporary = root.join("VERSION.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{LAYOUT_VERSION}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(root)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(state_dir: &Path) -> Result<StateDir, StateError> {
        StateDir::open(state_dir, "app")
    }

    #[test]
    fn is_locked_while_it_lives() {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let first = open(state_dir.path()).expect("the first opens");
        let message = open(state_dir.path()).expect_err("the second does not").to_string();
        assert!(
            message.contains(first.root().to_str().expect("UTF-8")) && message.contains("--state-dir"),
            "{message}"
        );
        StateDir::open(state_dir.path(), "other").expect("another application has its own");
        drop(first);
        open(state_dir.path()).expect("free again");
    }

    #[test]
    fn refuses_a_layout_it_does_not_know() {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let version = open(state_dir.path()).expect("a new directory").root().join("VERSION");
        assert_eq!(fs::read_to_string(&version).expect("written at once"), "1\n");
        open(state_dir.path()).expect("its own version");

        fs::write(&version, "2\n").expect("a writable file");
        let message = open(state_dir.path()).expect_err("a later version").to_string();
        assert!(message.contains("version `2`") && message.contains("knows version 1"), "{message}");

        fs::remove_file(&version).expect("a writable directory");
        let error = open(state_dir.path()).expect_err("state without a version");
        assert!(matches!(error, StateError::UnknownLayout { .. }), "{error}");
    }

    #[test]
    fn lists_tasks_and_leaves_strangers_alone() {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let dir = open(state_dir.path()).expect("a new directory");
        for name in ["1_0", "0_10", "0_2", "lost+found", "0_02"] {
            fs::create_dir(dir.tasks_dir().join(name)).expect("a writable directory");
        }
        let tasks = dir.tasks().expect("a readable directory");
        assert_eq!(tasks, [TaskId::new(0, 2), TaskId::new(0, 10), TaskId::new(1, 0)]);
    }

    #[test]
    fn damaged_state_is_moved_aside_and_deleted_state_is_none() {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let dir = Arc::new(open(state_dir.path()).expect("a new directory"));
        let task = TaskId::new(0, 1);
        fs::create_dir(dir.task_dir(task)).expect("a writable directory");
        let aside = dir.set_aside(Owner::Task(task)).expect("nobody has it open");
        assert!(aside.exists() && !dir.task_dir(task).exists());
        dir.set_aside(Owner::Task(task)).expect("there is nothing to move");
    }

    #[test]
    fn an_application_id_cannot_leave_the_directory() {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        for id in ["", ".", "..", "../up", "a/b", "/root"] {
            let error = StateDir::open(state_dir.path(), id).expect_err(id);
            assert!(matches!(error, StateError::ApplicationId { .. }), "{id}: {error}");
        }
    }
}
