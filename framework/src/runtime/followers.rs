//! Standbys and warm-ups: tasks that are active elsewhere, and whose changelogs are followed here, so that they can be taken over.
//!
//! One thread has all of them, with one reader that sees committed records only. What it applies is written together with its changelog
//! offsets, like by a restore, so that after a crash it goes on from there. Stores stay open when a task changes its role: a standby that
//! is promoted gives them to a worker, which restores what is left to the end; a task that is demoted gets them from its worker
//! (`hand_over`).

mod beginning;
mod caught_up;
mod currency;
mod follower;
mod following;
mod reading;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Sender, bounded};

use self::follower::Follower;
use super::{
    Giver, Report, Shared, Taker, hand_over,
    threads::{LONG, Thread, Turns, receive},
};
use crate::{
    log::LogError,
    state::{Role, TaskId},
};

/// What the follower is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Open a task and follow its changelogs.
    Follow { task: TaskId, role: Role },
    /// Follow a task whose open stores a worker gives.
    Take { task: TaskId, role: Role, from: Taker },
    /// Go on in the other of the two roles.
    FollowAs { task: TaskId, role: Role },
    /// Give the open stores to a worker, which makes the task active.
    HandOver { task: TaskId, to: Giver },
    /// Close a task.
    Release { task: TaskId },
    /// Close all tasks.
    DropAll,
    /// Close all tasks and end.
    Stop,
}

/// The follower's thread, and which tasks it has.
#[derive(Debug)]
pub(crate) struct Followers {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Box<dyn Thread>,
    followed: BTreeSet<TaskId>,
    /// It has not yet confirmed to have dropped everything.
    dropping: bool,
}

/// A follower whose panics are told.
struct Guarded {
    follower: Follower,
    reports: Sender<Report>,
}

/// Orders that may wait. The control thread waits when the follower is so far behind.
const ORDERS: usize = 1024;
/// How long it may take to close its stores at the end.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

// === impl Followers ===

impl Followers {
    /// Opens its clients and starts the thread.
    pub(crate) fn start(shared: &Arc<Shared>, reports: Sender<Report>) -> Result<Self, LogError> {
        let (orders, to_obey) = bounded(ORDERS);
        let (opened, open) = bounded(1);
        let of_follower = Arc::clone(shared);
        let make = move || {
            let panics = reports.clone();
            let (follower, result) = match Follower::open(of_follower, to_obey, reports) {
                Ok(follower) => (Some(Guarded { follower, reports: panics }), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _ = opened.send(result);
            follower.map(|follower| Box::new(follower) as _)
        };
        let failed = |error: &dyn std::fmt::Display| LogError::Fatal {
            reason: format!("cannot start the thread for standbys and warm-ups: {error}"),
        };
        let thread = shared.threads.run("millpond-follower".into(), Box::new(make)).map_err(|error| failed(&error))?;
        receive(&*shared.clock, &open, LONG).map_err(|_| failed(&"it ended at its start"))??;
        Ok(Self { shared: Arc::clone(shared), orders, thread, followed: BTreeSet::new(), dropping: false })
    }

    /// Whether a task is followed here, as far as it was told.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.followed.contains(&task)
    }

    /// Opens a task and follows its changelogs.
    pub(crate) fn follow(&mut self, task: TaskId, role: Role) {
        self.followed.insert(task);
        self.tell(Order::Follow { task, role });
    }

    /// Follows a task with the open stores that its worker gives.
    pub(crate) fn take(&mut self, task: TaskId, role: Role) -> Giver {
        let (giver, from) = hand_over();
        self.followed.insert(task);
        self.tell(Order::Take { task, role, from });
        giver
    }

    /// Goes on with a task in the other of the two roles.
    pub(crate) fn follow_as(&self, task: TaskId, role: Role) {
        if self.has(task) {
            self.tell(Order::FollowAs { task, role });
        }
    }

    /// Gives a task away, to be made active; `None` if it is not here any more.
    pub(crate) fn give(&mut self, task: TaskId) -> Option<Taker> {
        let (to, taker) = hand_over();
        self.followed.remove(&task).then(|| {
            self.tell(Order::HandOver { task, to });
            taker
        })
    }

    /// Closes a task; `false` if it is not here.
    pub(crate) fn release(&mut self, task: TaskId) -> bool {
        let has = self.followed.remove(&task);
        if has {
            self.tell(Order::Release { task });
        }
        has
    }

    /// A task ended by itself; `false` if it is not here.
    pub(crate) fn forget(&mut self, task: TaskId) -> bool {
        self.followed.remove(&task)
    }

    /// Closes all tasks; [`Followers::dropped`] is told when they are.
    pub(crate) fn drop_all(&mut self) {
        self.followed.clear();
        self.dropping = true;
        self.tell(Order::DropAll);
    }

    /// It has dropped everything.
    pub(crate) fn dropped(&mut self) {
        self.dropping = false;
    }

    /// Whether it has yet to drop everything.
    pub(crate) fn is_dropping(&self) -> bool {
        self.dropping
    }

    /// Tells it to close everything and end. [`Followers::join`] waits for it.
    pub(crate) fn stop(&mut self) {
        self.followed.clear();
        self.tell(Order::Stop);
    }

    /// Waits for the thread to end.
    pub(crate) fn join(self) {
        let Self { shared, orders, thread, .. } = self;
        drop(orders);
        let deadline = shared.clock.monotonic() + JOIN_DEADLINE;
        while !thread.is_finished() && shared.clock.monotonic() < deadline {
            shared.clock.sleep(LOOK_AGAIN);
        }
        if !thread.is_finished() {
            tracing::error!("the thread of standbys and warm-ups is stuck and was left behind");
        } else if !thread.join() {
            tracing::error!("the thread of standbys and warm-ups panicked");
        }
    }

    fn tell(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::warn!("the thread of standbys and warm-ups has ended");
        }
    }
}

// === impl Guarded ===

impl Turns for Guarded {
    fn turn(&mut self, patience: Duration) -> bool {
        let Self { follower, reports } = self;
        catch_unwind(AssertUnwindSafe(|| follower.turn(patience))).unwrap_or_else(|_| {
            let error = "it panicked; this is a bug of millpond, please report it with standard error".to_owned();
            let _ = reports.send(Report::FollowerFailed { error });
            false
        })
    }
}
