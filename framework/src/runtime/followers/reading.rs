//! What the follower reads, and what becomes of it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    currency::Moment,
    follower::{Follower, Slot, Stage},
};
use crate::{
    log::ReaderEvent,
    processor::ProcessError,
    runtime::{Report, opening::is_damage_of},
    state::{StateError, TaskId},
};

/// Records per fetch.
const FETCH_RECORDS: usize = 4096;
/// How often to look at tasks of which nothing has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// For how long the log counts as away after it was said to be. That is said again every second.
const AWAY: Duration = Duration::from_secs(2);
/// How old may be what a reader knows of the ends of changelogs: a fetch that brings nothing takes some 50 ms, and that a broker does not answer
/// at all is found out after half a second.
const ENDS_AGE: Duration = Duration::from_millis(600);

/// Why a task has to begin again.
enum Trouble {
    /// Its stored state is damaged.
    Damaged(StateError),
    /// The log does not have what comes next for it: what is stored is found to be of no use, and rebuilt.
    OutOfRange,
}

// === impl Follower ===

impl Follower {
    /// Reads once for all tasks, and applies what has come.
    pub(super) fn read(&mut self, wait: Duration) -> Result<(), ProcessError> {
        let Some(readers) = self.readers.as_mut().filter(|_| !self.sources.is_empty()) else { return Ok(()) };
        let fetched = match readers.reader.poll(FETCH_RECORDS, wait) {
            Ok(fetched) => fetched,
            Err(error) => {
                self.clients_failed(&error);
                return Ok(());
            }
        };
        let now = self.shared.clock.monotonic();
        // Records that were fetched before a task begins again are none of its new beginning.
        let mut troubled = BTreeMap::new();
        for batch in &fetched.batches {
            let Some((id, following)) = self.sources.get(batch.source()).and_then(|id| {
                match self.tasks.get_mut(id).map(|slot| &mut slot.stage) {
                    Some(Stage::Following(following)) if !troubled.contains_key(id) => Some((*id, following)),
                    _ => None,
                }
            }) else {
                continue;
            };
            match following.apply(batch) {
                Ok(()) => {}
                Err(error) if is_damage_of(id, &error) => drop(troubled.insert(id, Trouble::Damaged(error))),
                Err(error) => return Err(error.into()),
            }
            self.shared.metrics.standby_records.with_label_values(&[&id.to_string()]).inc_by(batch.len() as u64);
        }
        self.bound_memory(&mut troubled)?;
        for event in fetched.events {
            match event {
                ReaderEvent::EndReached { partition, next_offset } => {
                    if let Some(id) = self.sources.get(&partition)
                        && let Some(Slot { stage: Stage::Following(following), .. }) = self.tasks.get_mut(id)
                    {
                        following.reached_end(&partition, next_offset, now);
                    }
                }
                ReaderEvent::OutOfRange { partition, offset } => {
                    if let Some(id) = self.sources.get(&partition) {
                        tracing::warn!(task = %id, %partition, offset, "the log does not have what comes next for this follower");
                        troubled.entry(*id).or_insert(Trouble::OutOfRange);
                    }
                }
                ReaderEvent::Unavailable { reason } => {
                    self.away_until = now + AWAY;
                    self.report(Report::LogUnavailable { reason });
                }
            }
        }
        troubled.into_iter().try_for_each(|(id, trouble)| self.begin_again(id, trouble))
    }

    /// What all tasks together have gathered stays within the memory that there is for it: those that have most write it.
    fn bound_memory(&mut self, troubled: &mut BTreeMap<TaskId, Trouble>) -> Result<(), ProcessError> {
        let gathered = self.tasks.iter_mut().filter_map(|(id, slot)| match &mut slot.stage {
            Stage::Following(following) => Some((following.stores().gathered_bytes(), *id, following)),
            _ => None,
        });
        let mut gathered: Vec<_> = gathered.filter(|(bytes, ..)| *bytes > 0).collect();
        gathered.sort_unstable_by_key(|(bytes, id, _)| (*bytes, *id));
        let mut all: usize = gathered.iter().map(|(bytes, ..)| bytes).sum();
        let share = self.shared.state.memory.followers_share();
        while all > share
            && let Some((bytes, id, following)) = gathered.pop()
        {
            all -= bytes;
            match following.write() {
                Ok(()) => {}
                Err(error) if is_damage_of(id, &error) => drop(troubled.insert(id, Trouble::Damaged(error))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn begin_again(&mut self, id: TaskId, trouble: Trouble) -> Result<(), ProcessError> {
        let Some(Slot { role, stage: Stage::Following(following) }) = self.tasks.remove(&id) else { return Ok(()) };
        let stores = self.detach(id, *following);
        match trouble {
            Trouble::Damaged(error) => {
                drop(stores);
                self.rebuild(id, role, error)
            }
            Trouble::OutOfRange => self.begin(id, role, Some(stores)),
        }
    }

    /// Looks at the tasks for which something has come; once in a while at all.
    pub(super) fn look(&mut self) -> Result<(), ProcessError> {
        let Some(readers) = &self.readers else { return Ok(()) };
        let now = self.shared.clock.monotonic();
        let at_all = now >= self.next_look;
        if at_all {
            self.next_look = now + LOOK_INTERVAL;
        }
        if now >= self.away_until {
            let age_ms = i64::try_from(ENDS_AGE.as_millis()).unwrap_or(0);
            self.known = Moment { at: now.saturating_sub(ENDS_AGE), at_ms: self.shared.clock.now_ms() - age_ms };
        }
        let (mut reports, mut damaged) = (Vec::new(), Vec::new());
        for (id, slot) in &mut self.tasks {
            let Stage::Following(following) = &mut slot.stage else { continue };
            if !at_all && !following.is_touched() {
                continue;
            }
            let seen = match following.look(slot.role, &*readers.reader, (now, self.known)) {
                Ok(seen) => seen,
                Err(error) if is_damage_of(*id, &error) => {
                    damaged.push((*id, error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let lag = i64::try_from(seen.lag).unwrap_or(i64::MAX);
            self.shared.metrics.standby_lag.with_label_values(&[&id.to_string()]).set(lag);
            self.shared.hosted.set(*id, seen.hosted);
            if let Some(reason) = seen.held_back {
                tracing::warn!(task = %id, "following is held back: {reason}");
            }
            if let Some(caught_up) = seen.caught_up {
                tracing::info!(task = %id, role = ?slot.role, caught_up, lag, "following");
                let offsets = following.stores().committed().changelog_offsets.clone();
                reports.push(Report::Following { task: *id, caught_up, offsets });
            }
        }
        reports.into_iter().for_each(|report| self.report(report));
        if at_all {
            self.observe_memory();
        }
        damaged.into_iter().try_for_each(|(id, error)| self.begin_again(id, Trouble::Damaged(error)))
    }

    fn observe_memory(&mut self) {
        let (mut rows, mut in_memory) = (0, 0);
        for slot in self.tasks.values() {
            if let Stage::Following(following) = &slot.stage {
                rows += following.stores().held_bytes();
                in_memory += following.stores().in_memory_bytes();
            }
        }
        let fetched = self.readers.as_ref().map_or(0, |readers| readers.reader.fetched_bytes());
        self.memory.show([("rows", rows), ("in_memory", in_memory), ("fetched", fetched)]);
    }
}
