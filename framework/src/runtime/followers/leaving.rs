//! How a task leaves the follower: closed, or to a worker with its stores open.

use std::collections::BTreeMap;

use super::{
    follower::{Follower, Stage},
    following::Following,
};
use crate::{
    processor::ProcessError,
    runtime::{
        HandedOver,
        opening::{self, is_damage_of},
    },
    state::{StateError, StoreId, TaskId, TaskStores},
};

// === impl Follower ===

impl Follower {
    /// What a worker gets of a task that is promoted.
    pub(super) fn hand_over(&mut self, id: TaskId) -> Result<HandedOver, ProcessError> {
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
    pub(super) fn close(&mut self, id: TaskId) -> Result<Option<BTreeMap<StoreId, i64>>, ProcessError> {
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

    pub(super) fn close_all(&mut self) -> Result<(), ProcessError> {
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
}
