//! What an instance hosts, as its other threads may see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use super::{RestoreProgress, RestoreReading};
use crate::state::{Role, StoreId, TaskId, TaskView};

/// The tasks hosted here. Written by the workers and the follower, read by queries; the lock is held for a map operation only.
#[derive(Debug, Default)]
pub(crate) struct Hosted {
    tasks: RwLock<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    all: BTreeMap<TaskId, HostedTask>,
    /// All is being dropped: whoever has not heard of that yet hosts nothing any more.
    are_dropped: bool,
}

/// A task hosted here.
#[derive(Debug, Clone)]
pub(crate) struct HostedTask {
    /// In which role.
    pub(crate) role: Role,
    /// Whether its stores are whole, or were at its last commit; of a standby or warm-up, whether it has caught up.
    pub(crate) state: HostedState,
    /// Its committed state.
    pub(crate) view: Arc<TaskView>,
    /// How far its restore is, if there is one; of a standby or warm-up, until it has caught up for the first time.
    pub(crate) restore: Option<Arc<RestoreProgress>>,
    /// How a standby or warm-up stands in its changelogs; of a task that is being promoted, how it stood. `None` of an active task, and until
    /// the follower has looked.
    pub(crate) followed: Option<Followed>,
    /// Since when (monotonic clock) a commit of an active task is under way: it may be final on the log, and is not in the view yet.
    pub(crate) committing_since: Option<Duration>,
}

/// How a standby or warm-up stands in its changelogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed {
    /// How many offsets of its changelogs it lacks; at most so many records, those of open transactions included.
    pub(crate) lag: u64,
    /// The ends of its changelogs (high watermarks), by store.
    pub(crate) ends: Arc<BTreeMap<StoreId, i64>>,
    /// Everything that the active task had committed by then (monotonic clock) is here; `None` before it has caught up for the first
    /// time. It grows old while the log is away.
    pub(crate) current_at: Option<Duration>,
}

/// How far a hosted task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostedState {
    /// Its stores are being brought up to the end of their changelogs.
    Restoring,
    /// It processes records, or has caught up with who does.
    Running,
}

// === impl Hosted ===

impl Hosted {
    /// A task is being restored; `false` if it ran here before and only goes back to its last commit: what it has committed can be
    /// read meanwhile.
    pub(crate) fn restoring(&self, task: TaskId, view: Arc<TaskView>, progress: &Arc<RestoreProgress>) -> bool {
        let before = self.get(task).filter(|before| Arc::ptr_eq(&before.view, &view));
        let ran =
            before.as_ref().is_some_and(|before| (before.role, before.state) == (Role::Active, HostedState::Running));
        let state = if ran { HostedState::Running } else { HostedState::Restoring };
        let restore = Some(Arc::clone(progress));
        // One that is promoted goes on being as old as it was, and whether a commit that failed is final shows when it runs again.
        let (followed, committing_since) =
            before.map_or((None, None), |before| (before.followed, before.committing_since));
        self.set(task, HostedTask { role: Role::Active, state, view, restore, followed, committing_since });
        !ran
    }

    pub(crate) fn running(&self, task: TaskId, view: Arc<TaskView>) {
        let (role, state) = (Role::Active, HostedState::Running);
        self.set(task, HostedTask { role, state, view, restore: None, followed: None, committing_since: None });
    }

    /// A commit of these tasks begins. One that failed before it may be final as well.
    pub(crate) fn committing(&self, tasks: &BTreeSet<TaskId>, now: Duration) {
        let mut hosted = self.write();
        for task in tasks {
            if let Some(task) = hosted.all.get_mut(task) {
                task.committing_since.get_or_insert(now);
            }
        }
    }

    /// What was committed is in the views.
    pub(crate) fn committed(&self, tasks: &BTreeSet<TaskId>) {
        let mut hosted = self.write();
        for task in tasks {
            if let Some(task) = hosted.all.get_mut(task) {
                task.committing_since = None;
            }
        }
    }

    /// An active task is followed from now on, or a follower has another of the two roles.
    pub(crate) fn follows(&self, task: TaskId, role: Role) {
        if let Some(hosted) = self.write().all.get_mut(&task) {
            if hosted.role == Role::Active {
                (hosted.state, hosted.restore) = (HostedState::Restoring, None);
            }
            hosted.role = role;
        }
    }

    /// How far the restores are.
    pub(crate) fn restores(&self, now: Duration) -> impl Iterator<Item = (TaskId, Role, RestoreReading)> {
        self.all().into_iter().filter_map(move |(task, hosted)| Some((task, hosted.role, hosted.restore?.read(now))))
    }

    pub(crate) fn set(&self, task: TaskId, hosted: HostedTask) {
        let mut tasks = self.write();
        if !tasks.are_dropped {
            tasks.all.insert(task, hosted);
        }
    }

    pub(crate) fn remove(&self, task: TaskId) {
        self.write().all.remove(&task);
    }

    /// Everything that is hosted here is another instance's now.
    pub(crate) fn clear(&self) {
        self.write().all.clear();
    }

    /// The same, until [`Hosted::dropped`]: a worker may be long in the middle of something before it hears of it, and begin a task then.
    pub(crate) fn drop_all(&self) {
        let mut tasks = self.write();
        tasks.all.clear();
        tasks.are_dropped = true;
    }

    /// Everybody has dropped all there was.
    pub(crate) fn dropped(&self) {
        self.write().are_dropped = false;
    }

    /// The task, if it is hosted here.
    #[must_use]
    pub(crate) fn get(&self, task: TaskId) -> Option<HostedTask> {
        self.read().all.get(&task).cloned()
    }

    /// All tasks hosted here.
    #[must_use]
    pub(crate) fn all(&self) -> BTreeMap<TaskId, HostedTask> {
        self.read().all.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Tasks> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tasks> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl HostedTask ===

impl HostedTask {
    /// How many records a standby or warm-up lacks at most; `None` of an active task, and while that is not known.
    #[must_use]
    pub(crate) fn lag(&self) -> Option<u64> {
        self.followed.as_ref().filter(|_| self.role != Role::Active).map(|followed| followed.lag)
    }

    /// When it had everything that the active task had committed, for one that follows or did until a moment ago (monotonic clock).
    #[must_use]
    pub(crate) fn current_at(&self) -> Option<Duration> {
        self.followed.as_ref()?.current_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{StateSettings, TaskStores};

    #[test]
    fn a_worker_that_has_not_heard_of_a_loss_hosts_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let (hosted, task) = (Hosted::default(), TaskId::new(0, 1));
        let stores = TaskStores::open(&StateSettings::default(), task, [].into())?;
        hosted.running(task, stores.view());
        hosted.drop_all();
        hosted.running(task, stores.view());
        assert!(hosted.all().is_empty());
        hosted.dropped();
        hosted.running(task, stores.view());
        assert!(hosted.get(task).is_some());
        Ok(())
    }
}
