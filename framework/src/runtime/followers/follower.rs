//! The follower: what it is told, and its turns.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Order, currency::Moment, following::Following};
use crate::{
    log::{Isolation, LogError, Reader, TopicPartition},
    processor::{ProcessError, with_causes},
    runtime::{
        HandedOver, Report, Shared, Taker,
        memory::MemoryShown,
        restore::ChangelogIds,
        task::IDLE_WAIT,
        threads::{Turns, receive_within},
    },
    state::{Role, TaskId, TaskStores},
};

/// The state of the thread that has all standbys and warm-ups.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    orders: Receiver<Order>,
    reports: Sender<Report>,
    /// `None` before there is something to read, and after they failed.
    pub(super) readers: Option<Readers>,
    /// When the readers may be opened anew, and how long to wait when they fail again soon.
    pub(super) reopen_at: Duration,
    pub(super) backoff: Duration,
    pub(super) tasks: BTreeMap<TaskId, Slot>,
    /// Which task follows a changelog.
    pub(super) sources: HashMap<TopicPartition, TaskId>,
    /// The ids of all changelogs, once they were asked for in this turn: tasks of one assignment begin together.
    pub(super) changelog_ids: Option<Arc<ChangelogIds>>,
    /// When to look at all tasks next.
    pub(super) next_look: Duration,
    /// Until when the log counts as away.
    pub(super) away_until: Duration,
    /// As of when the ends of changelogs are known.
    pub(super) known: Moment,
    pub(super) memory: MemoryShown,
}

/// The clients.
pub(super) struct Readers {
    /// Reads the changelogs, committed records only, whatever the guarantee is now: it may have been another one before.
    pub(super) reader: Box<dyn Reader>,
    /// Asked for the ends of changelogs; reads nothing.
    pub(super) watermarks: Box<dyn Reader>,
}

/// A task of the follower.
pub(super) struct Slot {
    pub(super) role: Role,
    pub(super) stage: Stage,
}

/// How far it is.
pub(super) enum Stage {
    /// Its open stores are on their way here.
    Handed(Taker),
    /// It has yet to begin: from when on, and its stores if they are open. Later than at once when the log was away or the clients failed.
    Waiting { at: Duration, stores: Option<Box<TaskStores>> },
    /// Its changelogs are read.
    Following(Box<Following>),
}

/// How long it waits for records, orders being what it looks at next.
const WAIT: Duration = Duration::from_millis(10);
/// How soon to look again for stores that are on their way.
const SOON: Duration = Duration::from_millis(1);

// === impl Readers ===

impl Readers {
    pub(super) fn open(shared: &Shared) -> Result<Self, LogError> {
        let reader = shared.log.reader(Isolation::ReadCommitted)?;
        Ok(Self { reader, watermarks: shared.log.reader(Isolation::ReadUncommitted)? })
    }
}

// === impl Slot ===

impl Slot {
    /// A task that is to begin.
    fn new(role: Role, stores: Option<Box<TaskStores>>) -> Self {
        Self { role, stage: Stage::Waiting { at: Duration::ZERO, stores } }
    }
}

// === impl Follower ===

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>, reports: Sender<Report>) -> Self {
        Self {
            readers: None,
            reopen_at: Duration::ZERO,
            backoff: Duration::ZERO,
            tasks: BTreeMap::new(),
            sources: HashMap::new(),
            changelog_ids: None,
            next_look: Duration::ZERO,
            away_until: Duration::ZERO,
            known: Moment { at: shared.clock.monotonic(), at_ms: shared.clock.now_ms() },
            memory: MemoryShown::new(&shared.metrics),
            shared,
            orders,
            reports,
        }
    }

    /// One step of the loop; `false` when it was told to stop.
    fn step(&mut self, patience: Duration) -> Result<bool, ProcessError> {
        self.changelog_ids = None;
        let idle = self.idle(patience);
        // Without a changelog there is nothing to read: the wait is for what comes from the control thread.
        let mut wait = if self.sources.is_empty() { idle } else { Duration::ZERO };
        loop {
            match receive_within(&self.orders, wait) {
                Ok(order) => {
                    if !self.obey(order)? {
                        return Ok(false);
                    }
                    wait = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) => break,
                // Nobody is left to say so.
                Err(RecvTimeoutError::Disconnected) => return self.close_all().map(|()| false),
            }
        }
        self.take_handed();
        self.begin_waiting()?;
        self.read(idle)?;
        self.look()?;
        Ok(true)
    }

    /// How long to wait for something to do.
    fn idle(&self, patience: Duration) -> Duration {
        let now = self.shared.clock.monotonic();
        let is_due = |slot: &Slot| match &slot.stage {
            Stage::Waiting { at, .. } => now >= *at && (self.readers.is_some() || now >= self.reopen_at),
            Stage::Handed(_) | Stage::Following(_) => false,
        };
        let is_handed = |slot: &Slot| matches!(slot.stage, Stage::Handed(_));
        let wait = match &self.tasks {
            tasks if tasks.values().any(is_due) => Duration::ZERO,
            tasks if tasks.values().any(is_handed) => SOON,
            tasks if tasks.is_empty() => IDLE_WAIT,
            _ => WAIT,
        };
        wait.min(patience)
    }

    /// Carries an order out; `false` when it was the last.
    fn obey(&mut self, order: Order) -> Result<bool, ProcessError> {
        match order {
            Order::Follow { task, role } => match self.tasks.get_mut(&task) {
                // It is open, or on its way to be.
                Some(slot) if !matches!(slot.stage, Stage::Handed(_)) => slot.role = role,
                // What was to be handed over has ended.
                _ => drop(self.tasks.insert(task, Slot::new(role, None))),
            },
            Order::Take { task, role, from } => {
                self.close(task)?;
                self.tasks.insert(task, Slot { role, stage: Stage::Handed(from) });
            }
            Order::FollowAs { task, role } => {
                if let Some(slot) = self.tasks.get_mut(&task) {
                    slot.role = role;
                    self.shared.hosted.follows(task, role);
                }
            }
            Order::HandOver { task, to } => {
                let handed = self.hand_over(task)?;
                if let Err(HandedOver::Stores(stores)) = to.give(handed) {
                    self.shared.hosted.remove(task);
                    stores.close()?;
                }
            }
            Order::Release { task } => {
                let offsets = self.close(task)?;
                self.report(Report::Released { task, offsets });
            }
            Order::DropAll => {
                self.close_all()?;
                self.report(Report::FollowersDropped);
            }
            Order::Stop => return self.close_all().map(|()| false),
        }
        Ok(true)
    }

    /// Tasks whose stores have come are to begin.
    fn take_handed(&mut self) {
        let mut taken = Vec::new();
        for (id, slot) in &mut self.tasks {
            if let Stage::Handed(taker) = &mut slot.stage
                && let Some(handed) = taker.take()
            {
                taken.push((*id, slot.role, handed));
            }
        }
        for (id, role, handed) in taken {
            self.tasks.remove(&id);
            match handed {
                HandedOver::Stores(stores) => drop(self.tasks.insert(id, Slot::new(role, Some(stores)))),
                HandedOver::NotOpen => drop(self.tasks.insert(id, Slot::new(role, None))),
                // It has failed, and that was told. (`Taker` follows the other itself.)
                HandedOver::Gone | HandedOver::From(_) => self.shared.hosted.remove(id),
            }
        }
    }

    pub(super) fn report(&self, report: Report) {
        // The receiver is the control thread, which outlives this one but for the very end.
        let _ = self.reports.send(report);
    }
}

impl Turns for Follower {
    fn turn(&mut self, patience: Duration) -> bool {
        self.step(patience).unwrap_or_else(|error| {
            let error = with_causes(&error);
            tracing::error!(error, "standbys and warm-ups cannot be followed any more");
            self.report(Report::FollowerFailed { error });
            false
        })
    }
}
