//! Where a task begins in a partition that it has no position in, or one that the log does not have any more.

use std::collections::BTreeMap;

use super::{Worker, processing::out_of_range, recovery::Trouble};
use crate::{
    config::OffsetReset,
    log::{LogError, Reader, TopicPartition},
    processor::ProcessError,
    state::TaskId,
};

/// Positions that were chosen and are not committed: by partition, the position that was known before, and the one to begin at. So a task
/// that goes back to its last commit begins where it began, and not at another end of the log.
#[derive(Debug, Default)]
pub(super) struct Resets(BTreeMap<TopicPartition, (Option<i64>, i64)>);

// === impl Resets ===

impl Resets {
    /// Where to begin, if that was chosen and nothing was committed since.
    pub(super) fn get(&self, partition: &TopicPartition, known: Option<i64>) -> Option<i64> {
        self.0.get(partition).filter(|(before, _)| *before == known).map(|(_, to)| *to)
    }

    /// Notes where to begin instead of `known`.
    pub(super) fn choose(&mut self, partition: &TopicPartition, known: Option<i64>, to: i64) {
        self.0.insert(partition.clone(), (known, to));
    }

    /// Forgets what was chosen.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }
}

// === impl Worker ===

impl Worker {
    /// What is said about a topic without position; nothing about the application's own.
    pub(super) fn offset_reset(&self, id: TaskId, topic: &str) -> Option<OffsetReset> {
        if self.shared.sub_topology(id).repartition_topics.iter().any(|own| **own == *topic) {
            return None;
        }
        self.shared.topology.offset_reset(topic).or(self.shared.settings.offset_reset)
    }

    /// The log does not have the position of a task: it begins where it was told to, else it stops.
    pub(super) fn position_lost(&mut self, id: TaskId, partition: &TopicPartition, offset: i64) -> Result<(), Trouble> {
        let now_ms = self.shared.clock.now_ms();
        match self.offset_reset(id, &partition.topic) {
            None | Some(OffsetReset::Fail) => {
                self.rewind()?;
                self.fail_task(id, &ProcessError::Log(out_of_range(partition, offset, "input")))
            }
            Some(reset) => {
                let to = begin_at(&mut *self.reader, partition, reset, now_ms).map_err(Trouble::Clients)?;
                tracing::warn!(task = %id, %partition, offset, to, ?reset, "the log does not have the position any more");
                self.resets.choose(partition, Some(offset), to);
                self.rewind()
            }
        }
    }
}

/// The first offset to read.
pub(super) fn begin_at(
    reader: &mut dyn Reader,
    partition: &TopicPartition,
    reset: OffsetReset,
    now_ms: i64,
) -> Result<i64, LogError> {
    match reset {
        OffsetReset::Earliest => reader.beginning_offset(partition),
        OffsetReset::Latest => reader.end_offset(partition),
        OffsetReset::ByDuration(age) => {
            let since_ms = now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)).max(0);
            match reader.offset_for_time(partition, since_ms)? {
                Some(offset) => Ok(offset),
                None => reader.end_offset(partition),
            }
        }
        OffsetReset::Fail => Err(LogError::Refused {
            what: format!("beginning with {partition}"),
            reason:
                "the group has no position for it, and its offset reset is `fail`: commit a position for the group, or \
                     choose another reset"
                    .into(),
        }),
    }
}
