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
        opening::{self, is_damage_of},
        restore::ChangelogIds,
        task::IDLE_WAIT,
        threads::{Turns, receive_within},
    },
    state::{Role, StateError, StoreId, TaskId, TaskStores},
};

/// The state of the thread that has all standbys and warm-ups.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    orders: Receiver<Order>,
    reports: Sender<Report>,
    /// `None` after they failed, until they are opened anew.
    pub(super) readers: Option<Readers>,
    /// When to open the readers anew, and how long to wait when they fail again soon.
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
    /// It could not begin, because the log was away or the clients failed: when to try again, and its stores if they are open.
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

// === impl Follower ===

impl Follower {
    pub(super) fn open(
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        reports: Sender<Report>,
    ) -> Result<Self, LogError> {
        Ok(Self {
            readers: Some(Readers::open(&shared)?),
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
        })
    }

    /// One step of the loop; `false` when it was told to stop.
    fn step(&mut self, patience: Duration) -> Result<bool, ProcessError> {
        self.changelog_ids = None;
        let is_handed = self.tasks.values().any(|slot| matches!(slot.stage, Stage::Handed(_)));
        let idle = if is_handed { SOON } else { WAIT }.min(patience);
        // Without a changelog there is nothing to read: the wait is for what comes from the control thread.
        let mut wait = match self.sources.is_empty() {
            true if self.tasks.is_empty() => IDLE_WAIT.min(patience),
            true => idle,
            false => Duration::ZERO,
        };
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
        self.take_handed()?;
        self.begin_waiting()?;
        self.read(idle)?;
        self.look()?;
        Ok(true)
    }

    /// Carries an order out; `false` when it was the last.
    fn obey(&mut self, order: Order) -> Result<bool, ProcessError> {
        match order {
            Order::Follow { task, role } => match self.tasks.get_mut(&task) {
                // It is open, or on its way to be.
                Some(slot) if !matches!(slot.stage, Stage::Handed(_)) => slot.role = role,
                // What was to be handed over has ended.
                _ => {
                    self.tasks.remove(&task);
                    self.begin(task, role, None)?;
                }
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

    /// Begins with tasks whose stores have come.
    fn take_handed(&mut self) -> Result<(), ProcessError> {
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
                HandedOver::Stores(stores) => self.begin(id, role, Some(*stores))?,
                HandedOver::NotOpen => self.begin(id, role, None)?,
                // It has failed, and that was told. (`Taker` follows the other itself.)
                HandedOver::Gone | HandedOver::From(_) => self.shared.hosted.remove(id),
            }
        }
        Ok(())
    }

    /// What a worker gets of a task that is promoted.
    fn hand_over(&mut self, id: TaskId) -> Result<HandedOver, ProcessError> {
        let Some(slot) = self.tasks.remove(&id) else { return Ok(HandedOver::Gone) };
        let mut stores = match slot.stage {
            Stage::Handed(taker) => return Ok(HandedOver::From(taker)),
            Stage::Waiting { stores: None, .. } => return Ok(HandedOver::NotOpen),
            Stage::Waiting { stores: Some(stores), .. } => *stores,
            Stage::Following(following) => self.detach(id, *following),
        };
        match stores.apply_gathered() {
            Ok(()) => Ok(HandedOver::Stores(Box::new(stores))),
            Err(error) => {
                drop(stores);
                self.set_damage_aside(id, error)?;
                Ok(HandedOver::NotOpen)
            }
        }
    }

    /// Closes a task. Says where its stores stand; `None` if they were not open.
    fn close(&mut self, id: TaskId) -> Result<Option<BTreeMap<StoreId, i64>>, ProcessError> {
        let Some(slot) = self.tasks.remove(&id) else { return Ok(None) };
        self.shared.hosted.remove(id);
        let mut stores = match slot.stage {
            // Who gives them closes them, or they are closed with the channel.
            Stage::Handed(_) | Stage::Waiting { stores: None, .. } => return Ok(None),
            Stage::Waiting { stores: Some(stores), .. } => *stores,
            Stage::Following(following) => self.detach(id, *following),
        };
        let closed = stores.apply_gathered().and_then(|()| {
            let offsets = stores.committed().changelog_offsets.clone();
            stores.close().map(|()| offsets)
        });
        match closed {
            Ok(offsets) => Ok(Some(offsets)),
            Err(error) => self.set_damage_aside(id, error).map(|()| Some(BTreeMap::new())),
        }
    }

    fn close_all(&mut self) -> Result<(), ProcessError> {
        let ids: Vec<_> = self.tasks.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.close(id).map(drop))
    }

    /// Takes a task off the reader.
    pub(super) fn detach(&mut self, id: TaskId, following: Following) -> TaskStores {
        for changelog in following.changelogs() {
            self.sources.remove(changelog);
        }
        // One that was never set is none to remove.
        let _ = self.shared.metrics.standby_lag.remove_label_values(&[&id.to_string()]);
        let (stores, cancelled) = match &mut self.readers {
            Some(readers) => following.into_stores(Some(&mut *readers.reader)),
            None => following.into_stores(None),
        };
        if let Err(error) = cancelled {
            tracing::warn!(task = %id, %error, "the reader did not let go of a changelog");
        }
        stores
    }

    /// What damaged stores hold is lost here. They are closed.
    pub(super) fn set_damage_aside(&self, id: TaskId, error: StateError) -> Result<(), ProcessError> {
        if !is_damage_of(id, &error) {
            return Err(error.into());
        }
        Ok(opening::set_aside(&self.shared, id, &error)?)
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
