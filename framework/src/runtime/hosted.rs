//! What an instance hosts, as its other threads may see it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::{RestoreProgress, RestoreReading};
use crate::state::{TaskId, TaskView};

/// The tasks hosted here. Written by the workers, read by queries; the lock is held for a map operation only.
#[derive(Debug, Default)]
pub(crate) struct Hosted {
    tasks: RwLock<BTreeMap<TaskId, HostedTask>>,
}

/// A task hosted here.
#[derive(Debug, Clone)]
pub(crate) struct HostedTask {
    /// Whether its stores are whole, or were at its last commit.
    pub(crate) state: HostedState,
    /// Its committed state.
    pub(crate) view: Arc<TaskView>,
    /// How far its restore is, if there is one.
    pub(crate) restore: Option<Arc<RestoreProgress>>,
}

/// How far a hosted task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostedState {
    /// Its stores are being brought up to the end of their changelogs.
    Restoring,
    /// It processes records.
    Running,
}

// === impl Hosted ===

impl Hosted {
    /// A task is being restored; `false` if it ran here before and only goes back to its last commit: what it has committed can be
    /// read meanwhile.
    pub(crate) fn restoring(&self, task: TaskId, view: Arc<TaskView>, progress: &Arc<RestoreProgress>) -> bool {
        let ran = self
            .get(task)
            .is_some_and(|before| before.state == HostedState::Running && Arc::ptr_eq(&before.view, &view));
        let state = if ran { HostedState::Running } else { HostedState::Restoring };
        self.set(task, HostedTask { state, view, restore: Some(Arc::clone(progress)) });
        !ran
    }

    pub(crate) fn running(&self, task: TaskId, view: Arc<TaskView>) {
        self.set(task, HostedTask { state: HostedState::Running, view, restore: None });
    }

    /// How far the restores are.
    pub(crate) fn restores(&self, now: Duration) -> impl Iterator<Item = (TaskId, RestoreReading)> {
        self.all().into_iter().filter_map(move |(task, hosted)| Some((task, hosted.restore?.read(now))))
    }

    fn set(&self, task: TaskId, hosted: HostedTask) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).insert(task, hosted);
    }

    pub(crate) fn remove(&self, task: TaskId) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }

    /// Everything that is hosted here is another instance's now.
    pub(crate) fn clear(&self) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The task, if it is hosted here.
    #[must_use]
    pub(crate) fn get(&self, task: TaskId) -> Option<HostedTask> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    /// All tasks hosted here.
    #[must_use]
    pub(crate) fn all(&self) -> BTreeMap<TaskId, HostedTask> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
