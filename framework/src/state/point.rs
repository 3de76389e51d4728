//! Where a committed state stands in the log.

use std::collections::BTreeMap;

use super::StoreId;
use crate::log::{TopicId, TopicPartition};

/// The offsets that belong to a committed state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitPoint {
    /// Per store the offset of the next changelog record to restore. A store that is missing is restored from the
    /// beginning.
    pub changelog_offsets: BTreeMap<StoreId, i64>,
    /// Per store the changelog that its offset is of, as far as the log knows ids: one that is deleted and made anew under the same name
    /// has other records at that offset.
    pub changelog_ids: BTreeMap<StoreId, TopicId>,
    /// Per input partition the offset of the next record to process. Those of a standby lag behind its data: it
    /// restores changelogs, which do not tell positions.
    pub positions: BTreeMap<TopicPartition, i64>,
    /// When the state was last known to be as new as its changelogs, in ms of the wall clock since the epoch.
    pub current_ms: Option<i64>,
}

// === impl CommitPoint ===

impl CommitPoint {
    /// Takes over the offsets of `next`. What `next` does not mention stays as it is: an offset that is dropped while its
    /// data stays would bring deleted keys back, since a changelog forgets tombstones.
    pub fn advance(&mut self, next: &Self) {
        self.changelog_offsets.extend(&next.changelog_offsets);
        self.changelog_ids.extend(&next.changelog_ids);
        self.current_ms = next.current_ms.or(self.current_ms);
        for (partition, offset) in &next.positions {
            // Most commits move partitions that are known: no clone of the key then.
            match self.positions.get_mut(partition) {
                Some(position) => *position = *offset,
                None => {
                    self.positions.insert(partition.clone(), *offset);
                }
            }
        }
    }
}
