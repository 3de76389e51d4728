//! Bringing the stores of a task up to the end of their changelogs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::RestoreProgress;
use crate::{
    log::{Batch, LogError, ReadFrom, Reader, TopicId, TopicPartition},
    processor::ProcessError,
    state::{CommitPoint, StateError, StoreId, StoreSpec, TaskStores},
};

/// The changelogs of one task that are read: by a restore those that are behind, by a standby or warm-up all.
#[derive(Debug)]
pub(crate) struct Restore {
    until: Until,
    pending: BTreeMap<TopicPartition, Changelog>,
    /// Stores that are whole though nothing was ever restored: where their empty changelogs begin.
    empty: BTreeMap<StoreId, i64>,
    progress: Arc<RestoreProgress>,
    /// What was told last to hold the restore back, and when.
    told: Option<(TopicPartition, i64, Duration)>,
}

/// Which changelogs there are, and how far they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changelogs<'a> {
    /// The stores of the task.
    pub(crate) specs: &'a [StoreSpec],
    /// Its partition.
    pub(crate) partition: i32,
    /// The ids of the topics.
    pub(crate) ids: &'a ChangelogIds,
    /// How far.
    pub(crate) until: Until,
}

/// How far changelogs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the ends that they have when it begins: the task is to run then.
    End,
    /// On and on, until the follower is released.
    Released,
}

/// Which topics there are now under the names of changelogs, as far as the log knows ids.
pub(crate) type ChangelogIds = BTreeMap<Arc<str>, TopicId>;

/// What a restore begins with.
#[derive(Debug)]
pub(crate) enum Begun {
    /// What is stored, brought up to date.
    Restore(Restore),
    /// Nothing: what is stored cannot be brought up to date.
    Rebuild {
        /// Why.
        reason: String,
        /// Whether a changelog lacks what is stored, which may be the last copy of it then.
        is_last_copy: bool,
    },
}

#[derive(Debug)]
struct Changelog {
    store: StoreId,
    next: i64,
    /// The high watermark when the restore began (of a follower: the last one that is known), not the last stable offset: a transaction is committed before its markers are
    /// written, so what the owner before committed last may lie behind the last stable offset for a while (KAFKA-10167). Reading
    /// goes on, committed records only, until the end is reached; open transactions of the owner before were fenced.
    end: i64,
    /// Since when the reader gives nothing more though this is not the end: a transaction is open there.
    held_since: Option<Duration>,
}

/// How long a restore waits for an open transaction before that is told, and told again.
const HELD_BACK: Duration = Duration::from_secs(30);

/// For how long a changelog says that a key was deleted: the least `delete.retention.ms` that is taken, less an hour. State that is
/// older may hold keys whose deletion it would never hear of.
const DELETIONS_KNOWN: Duration = Duration::from_secs(23 * 3600);

// === impl Restore ===

impl Restore {
    /// Assigns the changelogs that are to be read to `reader`, from where the stores stand. `watermarks` reads uncommitted records.
    pub(crate) fn begin(
        stores: &mut TaskStores,
        &Changelogs { specs, partition, ids, until }: &Changelogs<'_>,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
        (now, now_ms): (Duration, i64),
    ) -> Result<Begun, ProcessError> {
        stores.apply_gathered()?;
        let point = stores.committed();
        if let Some(reason) = too_old(point, now_ms) {
            return Ok(Begun::Rebuild { reason, is_last_copy: false });
        }
        let progress = Arc::new(RestoreProgress::new(now, 0));
        let mut restore = Self { until, pending: BTreeMap::new(), empty: BTreeMap::new(), progress, told: None };
        let mut changelog_ids = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            let Some(topic) = &spec.changelog else { continue };
            let store = StoreId::new(index);
            let changelog = TopicPartition::new(topic.clone(), partition);
            let id = ids.get(topic).copied();
            changelog_ids.extend(id.map(|id| (store, id)));
            let step = restore.begin_store(store, changelog, id, point, reader, watermarks);
            match step {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    restore.cancel(reader)?;
                    return Ok(Begun::Rebuild { reason, is_last_copy: true });
                }
                Err(error) => {
                    restore.cancel(reader)?;
                    return Err(error.into());
                }
            }
        }
        // Half of a restore is as old as its beginning: deletions of what it holds already may be forgotten before it goes on.
        let current_ms = (point.current_ms.is_none() && !restore.is_done()).then_some(now_ms);
        stores.commit(&CommitPoint { current_ms, changelog_ids, ..CommitPoint::default() })?;
        restore.progress.set_remaining(restore.remaining());
        Ok(Begun::Restore(restore))
    }

    /// Assigns the changelog of a store, if it is to be read; or says why what is stored does not belong to it.
    fn begin_store(
        &mut self,
        store: StoreId,
        changelog: TopicPartition,
        id: Option<TopicId>,
        point: &CommitPoint,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
    ) -> Result<Option<String>, LogError> {
        let beginning = watermarks.beginning_offset(&changelog)?;
        let end = watermarks.end_offset(&changelog)?;
        let stored = point.changelog_offsets.get(&store).copied();
        let next = stored.unwrap_or(beginning);
        // The ids of the topic that the stored offset is of, and of this one, if they are two.
        let stored_id = point.changelog_ids.get(&store).copied().filter(|_| stored.is_some_and(|offset| offset > 0));
        let other = stored_id.zip(id).filter(|(stored, found)| stored != found);
        if beginning == end && (next > end || other.is_some()) {
            return Err(LogError::Refused {
                what: format!("restoring from {changelog}"),
                reason: format!(
                    "it is empty, and the state on this disk stands at its offset {next}: the topic was deleted or made anew, and this may be the \
                     last copy of the state; to begin without it, delete the state of this application here and the group's positions"
                ),
            });
        }
        if let Some((stored, found)) = other {
            return Ok(Some(format!(
                "it stands at offset {next} of {changelog} when the topic's id was {stored}; now it is {found}: the topic was deleted and made anew"
            )));
        }
        if !(beginning..=end).contains(&next) {
            return Ok(Some(format!(
                "it stands at offset {next} of {changelog}, which has {beginning} to {end}: that was truncated or made anew"
            )));
        }
        if next < end || self.until == Until::Released {
            let from = stored.map_or(ReadFrom::Beginning, ReadFrom::Offset);
            reader.assign(&changelog, from)?;
            self.pending.insert(changelog, Changelog { store, next, end, held_since: None });
        } else if stored.is_none() {
            self.empty.insert(store, next);
        }
        Ok(None)
    }

    /// Where the changelogs of stores begin that had nothing to restore and know no offset yet. Stored, it says that this host
    /// has all there is of them.
    pub(crate) fn empty(&self) -> &BTreeMap<StoreId, i64> {
        &self.empty
    }

    /// Whether the stores are whole.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> &Arc<RestoreProgress> {
        &self.progress
    }

    /// Offsets still to go; at most so many records.
    pub(crate) fn remaining(&self) -> u64 {
        self.pending.values().map(|changelog| (changelog.end - changelog.next).max(0).cast_unsigned()).sum()
    }

    /// Whether this restore waits for `partition`.
    pub(crate) fn wants(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
    }

    /// The changelogs that are read.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.pending.keys()
    }

    /// Per store what comes next and the end of its changelog, of those that are read.
    pub(crate) fn stands(&self) -> impl Iterator<Item = (StoreId, i64, i64)> + Clone {
        self.pending.values().map(|changelog| (changelog.store, changelog.next, changelog.end))
    }

    /// Takes over the ends that the reader knows by now.
    pub(crate) fn look_at_ends(&mut self, reader: &dyn Reader) {
        for (partition, changelog) in &mut self.pending {
            changelog.end = reader.known_end(partition).unwrap_or(changelog.end).max(changelog.next);
        }
        self.progress.set_remaining(self.remaining());
    }

    /// Applies records to their store, or lets them wait there for more.
    pub(crate) fn apply(&mut self, stores: &mut TaskStores, batch: &Batch) -> Result<(), StateError> {
        let Some(changelog) = self.pending.get_mut(batch.source()) else { return Ok(()) };
        let Some(last) = batch.len().checked_sub(1).and_then(|index| batch.get(index)) else { return Ok(()) };
        (changelog.next, changelog.held_since) = (last.offset + 1, None);
        self.progress.applied(batch.len(), batch.bytes());
        stores.gather(changelog.store, batch, changelog.next)
    }

    /// The reader has returned everything up to `next_offset`.
    pub(crate) fn reached_end(&mut self, partition: &TopicPartition, next_offset: i64, now: Duration) {
        if let Some(changelog) = self.pending.get_mut(partition) {
            if next_offset > changelog.next {
                (changelog.next, changelog.held_since) = (next_offset, None);
            }
            changelog.held_since.get_or_insert(now);
        }
        self.progress.set_remaining(self.remaining());
    }

    /// Why the restore does not go on, if that is so for long: once in a while, to be told. The progress says it all the time.
    pub(crate) fn held_back(&mut self, now: Duration) -> Option<Arc<str>> {
        let held = self.pending.iter().find_map(|(changelog, log)| {
            let held_for = now.saturating_sub(log.held_since?);
            (log.next < log.end && held_for >= HELD_BACK).then_some((changelog, log, held_for))
        });
        let Some((changelog, &Changelog { next, end, .. }, held_for)) = held else {
            if self.told.take().is_some() {
                self.progress.set_held_back(None);
            }
            return None;
        };
        if let Some((of, offset, at)) = &self.told
            && (of, *offset) == (changelog, next)
            && now.saturating_sub(*at) < HELD_BACK
        {
            return None;
        }
        self.told = Some((changelog.clone(), next, now));
        let TopicPartition { topic, partition } = changelog;
        let reason: Arc<str> = format!(
            "a transaction that is open at offset {next} of {changelog} hides what is behind it up to {end}, for more than {} s now; if its producer \
             is gone, the brokers have lost its end, and `kafka-transactions.sh abort --topic {topic} --partition {partition} --start-offset {next}` \
             ends it",
            held_for.as_secs()
        )
        .into();
        self.progress.set_held_back(Some(Arc::clone(&reason)));
        Some(reason)
    }

    /// Takes the changelogs that are done off the reader.
    pub(crate) fn settle(&mut self, reader: &mut dyn Reader) -> Result<(), LogError> {
        let done: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, log)| log.next >= log.end)
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in done {
            reader.unassign(&partition)?;
            self.pending.remove(&partition);
        }
        self.progress.set_remaining(self.remaining());
        Ok(())
    }

    /// Gives the restore up.
    pub(crate) fn cancel(self, reader: &mut dyn Reader) -> Result<(), LogError> {
        self.pending.keys().try_for_each(|partition| reader.unassign(partition))
    }
}

/// Why state of this point cannot be brought up to date by its changelogs, if it cannot.
fn too_old(point: &CommitPoint, now_ms: i64) -> Option<String> {
    let age_ms = now_ms.saturating_sub(point.current_ms?);
    let limit_ms = i64::try_from(DELETIONS_KNOWN.as_millis()).unwrap_or(i64::MAX);
    let has_state = point.changelog_offsets.values().any(|offset| *offset > 0);
    (has_state && age_ms > limit_ms).then(|| {
        format!(
            "it is {} h old, and its changelogs forget deletions after {} h",
            age_ms / 3_600_000,
            limit_ms / 3_600_000
        )
    })
}

#[cfg(test)]
mod tests;
