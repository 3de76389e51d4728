//! For how long tasks are at nobody's.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::World;
use crate::{
    runtime::HostedState,
    state::{Role, TaskId},
};

/// The times in which a task was at nobody's.
#[derive(Debug, Default)]
pub(in crate::testing::simulation) struct Gaps {
    active: Gap,
    readable: Gap,
}

#[derive(Debug, Default)]
struct Gap {
    /// Since when tasks are at nobody's.
    since: BTreeMap<TaskId, Duration>,
    longest: Option<(Duration, TaskId)>,
}

// === impl World: gaps ===

impl World {
    /// From now on gaps are measured.
    pub(in crate::testing::simulation) fn begin_gaps(&self) {
        *self.gaps.borrow_mut() = Some(Gaps::default());
    }

    /// The gaps since then.
    pub(in crate::testing::simulation) fn end_gaps(&self) -> Gaps {
        self.gaps.borrow_mut().take().unwrap_or_default()
    }

    /// Looks who has which task now.
    pub(super) fn measure_gaps(&self) {
        let mut gaps = self.gaps.borrow_mut();
        let Some(Gaps { active, readable }) = &mut *gaps else { return };
        let now = self.now();
        let (mut is_active, mut is_readable) = (BTreeMap::new(), BTreeMap::new());
        for living in self.instances.borrow().iter().filter_map(|instance| instance.living.as_ref()) {
            for (task, hosted) in living.seen.hosted() {
                if !living.life.is_dead() && hosted.state == HostedState::Running {
                    is_readable.insert(task, ());
                    if hosted.role == Role::Active {
                        is_active.insert(task, ());
                    }
                }
            }
        }
        for task in self.told.borrow().tasks() {
            active.look(now, task, is_active.contains_key(&task));
            readable.look(now, task, is_readable.contains_key(&task));
        }
    }
}

// === impl Gap ===

impl Gap {
    fn look(&mut self, now: Duration, task: TaskId, is_there: bool) {
        if is_there {
            self.since.remove(&task);
            return;
        }
        let since = *self.since.entry(task).or_insert(now);
        self.longest = self.longest.max(Some((now - since, task)));
    }

    fn longest(&self) -> Duration {
        self.longest.map_or(Duration::ZERO, |(time, _)| time)
    }
}

// === impl Gaps ===

impl Gaps {
    /// For how long a task was processed by nobody.
    pub(in crate::testing::simulation) fn longest(&self) -> Duration {
        self.active.longest()
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = |gap: &Gap| gap.longest.map_or("no time".into(), |(time, task)| format!("{time:?} ({task})"));
        write!(f, "not processed for {}, not readable for {}", gap(&self.active), gap(&self.readable))
    }
}
