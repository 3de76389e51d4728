//! A task that is followed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    caught_up::CaughtUp,
    currency::{Currency, Moment},
};
use crate::{
    log::{Batch, LogError, Reader, TopicPartition},
    runtime::{Followed, HostedState, HostedTask, restore::Restore},
    state::{CommitPoint, Role, StateError, StoreId, TaskStores},
};

/// A standby or warm-up whose stores are open.
#[derive(Debug)]
pub(super) struct Following {
    stores: TaskStores,
    restore: Restore,
    caught_up: CaughtUp,
    /// It had caught up once: its first restore is over.
    had_caught_up: bool,
    currency: Currency,
    followed: Option<Followed>,
    /// Something came since the last look: then to be looked at in any case.
    is_touched: bool,
    /// Something came since the last turn.
    is_fed: bool,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Seen {
    /// Whether it has caught up, if that is news.
    pub(super) caught_up: Option<bool>,
    /// How many records it lacks.
    pub(super) lag: u64,
    /// What others may see of it.
    pub(super) hosted: HostedTask,
    /// What holds it back, once in a while.
    pub(super) held_back: Option<Arc<str>>,
}

/// With so few records to go, what has come is written at the end of a turn; with more, rows wait for others, to be written together.
const NEAR: u64 = 4096;

// === impl Following ===

impl Following {
    /// Stores whose changelogs were assigned `now`.
    pub(super) fn new(mut stores: TaskStores, restore: Restore, acceptable_lag: u64, now: Moment) -> Self {
        stores.set_follows(true);
        let ends = restore.stands().map(|(_, _, end)| end).collect();
        Self {
            stores,
            restore,
            caught_up: CaughtUp::new(acceptable_lag),
            had_caught_up: false,
            currency: Currency::new(now, ends),
            followed: None,
            is_touched: true,
            is_fed: false,
        }
    }

    pub(super) fn stores(&self) -> &TaskStores {
        &self.stores
    }

    /// The changelogs that are followed.
    pub(super) fn changelogs(&self) -> impl Iterator<Item = &TopicPartition> {
        self.restore.partitions()
    }

    /// Records have come.
    pub(super) fn apply(&mut self, batch: &Batch) -> Result<(), StateError> {
        (self.is_touched, self.is_fed) = (true, true);
        self.restore.apply(&mut self.stores, batch)
    }

    /// Writes what has come, before it is everyone's turn: there is no memory for more.
    pub(super) fn write(&mut self) -> Result<(), StateError> {
        self.stores.apply_gathered()
    }

    /// All that is committed up to this offset has come.
    pub(super) fn reached_end(&mut self, partition: &TopicPartition, next_offset: i64, now: Duration) {
        self.is_touched = true;
        self.restore.reached_end(partition, next_offset, now);
    }

    /// Whether to look at it before it is everyone's turn.
    pub(super) fn is_touched(&self) -> bool {
        self.is_touched
    }

    /// Writes what has come, and finds out how it stands. The ends that the reader knows are as of `known`.
    pub(super) fn look(
        &mut self,
        role: Role,
        reader: &dyn Reader,
        (now, known): (Duration, Moment),
    ) -> Result<Seen, StateError> {
        self.restore.look_at_ends(reader);
        let lag = self.restore.remaining();
        if lag <= NEAR || !self.is_fed {
            self.stores.apply_gathered()?;
        }
        (self.is_touched, self.is_fed) = (false, false);
        self.stores.check()?;
        if let Some(current_ms) = self.currency.look(self.restore.stands().map(|(_, next, end)| (next, end)), known) {
            self.stores.commit(&CommitPoint { current_ms: Some(current_ms), ..CommitPoint::default() })?;
        }
        let caught_up = self.caught_up.look(lag, self.currency.current_at().is_some());
        if caught_up == Some(true) {
            self.note_beginnings()?;
            self.had_caught_up = true;
        }
        let ends: BTreeMap<StoreId, i64> = self.restore.stands().map(|(store, _, end)| (store, end)).collect();
        let ends = match self.followed.take() {
            Some(before) if *before.ends == ends => before.ends,
            _ => Arc::new(ends),
        };
        let followed = self.followed.insert(Followed { lag, ends, current_at: self.currency.current_at() }).clone();
        let state = if self.caught_up.is() { HostedState::Running } else { HostedState::Restoring };
        let restore = (!self.had_caught_up).then(|| Arc::clone(self.restore.progress()));
        let (view, followed) = (self.stores.view(), Some(followed));
        let hosted = HostedTask { role, state, view, restore, followed, committing_since: None };
        Ok(Seen { caught_up, lag, hosted, held_back: self.restore.held_back(now) })
    }

    /// Stores whose changelogs have had no record for them get the offset they stand at: it says that this host has all there is.
    fn note_beginnings(&mut self) -> Result<(), StateError> {
        self.stores.apply_gathered()?;
        let known = &self.stores.committed().changelog_offsets;
        let stands = self.restore.stands().filter(|(store, ..)| !known.contains_key(store));
        let changelog_offsets = stands.map(|(store, next, _)| (store, next)).collect();
        self.stores.commit(&CommitPoint { changelog_offsets, ..CommitPoint::default() })
    }

    /// Gives the stores back, with what has not been written yet. A reader that does not let go of a changelog brings records for nobody.
    pub(super) fn into_stores(self, reader: Option<&mut dyn Reader>) -> (TaskStores, Result<(), LogError>) {
        let cancelled = reader.map_or(Ok(()), |reader| self.restore.cancel(reader));
        (self.stores, cancelled)
    }
}
