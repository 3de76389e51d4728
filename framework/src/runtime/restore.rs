//! Bringing the stores of a task up to the end of their changelogs.

use std::collections::BTreeMap;

use crate::{
    log::{Batch, LogError, ReadFrom, Reader, TopicPartition},
    state::{StateError, StoreId, StoreSpec, TaskStores},
};

/// The restore of one task: which changelogs are still behind.
#[derive(Debug)]
pub(crate) struct Restore {
    pending: BTreeMap<TopicPartition, Changelog>,
    /// Stores that are whole though nothing was ever restored: where their empty changelogs begin.
    empty: BTreeMap<StoreId, i64>,
    restored: u64,
}

#[derive(Debug)]
struct Changelog {
    store: StoreId,
    next: i64,
    /// The high watermark when the restore began, not the last stable offset: a transaction is committed before its markers are
    /// written, so what the owner before committed last may lie behind the last stable offset for a while (KAFKA-10167). Reading
    /// goes on, committed records only, until the end is reached; open transactions of the owner before were fenced.
    end: i64,
}

// === impl Restore ===

impl Restore {
    /// Assigns the changelogs that are behind to `reader`, from where the stores stand. `watermarks` reads uncommitted records.
    pub(crate) fn begin(
        stores: &TaskStores,
        specs: &[StoreSpec],
        partition: i32,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
    ) -> Result<Self, LogError> {
        let mut restore = Self { pending: BTreeMap::new(), empty: BTreeMap::new(), restored: 0 };
        match restore.assign(stores, specs, partition, reader, watermarks) {
            Ok(()) => Ok(restore),
            Err(error) => {
                restore.cancel(reader)?;
                Err(error)
            }
        }
    }

    fn assign(
        &mut self,
        stores: &TaskStores,
        specs: &[StoreSpec],
        partition: i32,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
    ) -> Result<(), LogError> {
        for (index, spec) in specs.iter().enumerate() {
            let Some(topic) = &spec.changelog else { continue };
            let store = StoreId::new(index);
            let changelog = TopicPartition::new(topic.clone(), partition);
            let end = watermarks.end_offset(&changelog)?;
            let stored = stores.committed().changelog_offsets.get(&store).copied();
            let (next, from) = match stored {
                Some(offset) => (offset, ReadFrom::Offset(offset)),
                None => (reader.beginning_offset(&changelog)?, ReadFrom::Beginning),
            };
            if next > end {
                return Err(LogError::Refused {
                    what: format!("restoring `{}` from offset {next} of {changelog}", spec.name),
                    reason: format!(
                        "the changelog ends at {end}: it was truncated or made anew; remove the task's folder from the state \
                         directory to rebuild it from what there is"
                    ),
                });
            }
            if next < end {
                reader.assign(&changelog, from)?;
                self.pending.insert(changelog, Changelog { store, next, end });
            } else if stored.is_none() {
                self.empty.insert(store, next);
            }
        }
        Ok(())
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

    /// Changelog records applied so far.
    pub(crate) fn restored(&self) -> u64 {
        self.restored
    }

    /// Offsets still to go; at most so many records.
    pub(crate) fn remaining(&self) -> i64 {
        self.pending.values().map(|changelog| changelog.end - changelog.next).sum()
    }

    /// Whether this restore waits for `partition`.
    pub(crate) fn wants(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
    }

    /// Applies records to their store.
    pub(crate) fn apply(&mut self, stores: &mut TaskStores, batch: &Batch) -> Result<(), StateError> {
        let Some(changelog) = self.pending.get_mut(batch.source()) else { return Ok(()) };
        let Some(last) = batch.len().checked_sub(1).and_then(|index| batch.get(index)) else { return Ok(()) };
        changelog.next = last.offset + 1;
        self.restored += batch.len() as u64;
        stores.restore(changelog.store, batch, changelog.next)
    }

    /// The reader has returned everything up to `next_offset`.
    pub(crate) fn reached_end(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some(changelog) = self.pending.get_mut(partition) {
            changelog.next = changelog.next.max(next_offset);
        }
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
        Ok(())
    }

    /// Gives the restore up.
    pub(crate) fn cancel(self, reader: &mut dyn Reader) -> Result<(), LogError> {
        self.pending.keys().try_for_each(|partition| reader.unassign(partition))
    }
}
