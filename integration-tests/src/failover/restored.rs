//! What instances read of changelogs from their beginnings: state that was nowhere on their disks.

use std::collections::{BTreeMap, BTreeSet};

use millpond::state::TaskId;
use tokio::task::block_in_place;

use super::bed::Bed;
use crate::faults::{disk, plan::name};

/// Changelog records that were read to make a task active.
const RESTORED: &str = "millpond_restore_records_total";
/// Those that were read as a standby or warm-up.
const FOLLOWED: &str = "millpond_standby_records_total";

/// What each instance has had on its disk, and what it had restored before it is looked at.
#[derive(Debug)]
pub(super) struct Restored {
    known: BTreeMap<usize, BTreeSet<TaskId>>,
    before: BTreeMap<usize, [ByTask; 2]>,
    tails: u64,
    /// Records by instance and task, whether it was to process it or to follow it.
    from_the_beginning: BTreeMap<(&'static str, TaskId), u64>,
}

/// Records by task.
type ByTask = BTreeMap<TaskId, f64>;

// === impl Restored ===

impl Restored {
    /// Counts from now on.
    pub(super) async fn count(bed: &Bed) -> anyhow::Result<Self> {
        let (known, before) = (BTreeMap::new(), BTreeMap::new());
        let mut restored = Self { known, before, tails: 0, from_the_beginning: BTreeMap::new() };
        for number in 0..bed.fleet.instances.len() {
            let instance = &bed.fleet.instances[number];
            restored.known.insert(number, disk::tasks(instance.state_dir(), bed.fleet.topology())?);
            if instance.is_running() {
                restored.before.insert(number, read(bed, number).await?);
            }
        }
        Ok(restored)
    }

    /// An instance is down: what it has on its disk it need not restore.
    pub(super) fn is_down(&mut self, bed: &Bed, number: usize) -> anyhow::Result<()> {
        let state_dir = bed.fleet.instances[number].state_dir();
        let stored = block_in_place(|| disk::stored_offsets(state_dir, bed.fleet.topology()))?;
        let known = stored.into_iter().filter(|(_, offsets)| !offsets.is_empty()).map(|(task, _)| task);
        self.known.insert(number, known.collect());
        self.before.remove(&number);
        Ok(())
    }

    /// Looks at what an instance has read; once per life, at its end.
    pub(super) async fn look(&mut self, bed: &Bed, number: usize) -> anyhow::Result<()> {
        let [restored, followed] = read(bed, number).await?;
        let [restored_before, followed_before] = self.before.remove(&number).unwrap_or_default();
        let known = self.known.remove(&number).unwrap_or_default();
        let since = |task: &TaskId, now: f64, before: &ByTask| (now - before.get(task).copied().unwrap_or(0.0)) as u64;
        for (read, before) in [(&restored, &restored_before), (&followed, &followed_before)] {
            for (task, records) in read {
                let records = since(task, *records, before);
                if known.contains(task) {
                    self.tails += records;
                } else if records > 0 {
                    *self.from_the_beginning.entry((name(number), *task)).or_default() += records;
                }
            }
        }
        Ok(())
    }

    /// How many records were read of tasks that the instance had nothing of, on its disk.
    pub(super) fn anew(&self) -> u64 {
        self.from_the_beginning.values().sum()
    }

    /// For people.
    pub(super) fn show(&self) -> String {
        let tails = self.tails;
        let whole: Vec<_> =
            self.from_the_beginning.iter().map(|((name, task), records)| format!("{name} {task} {records}")).collect();
        let whole = if whole.is_empty() { "nothing".to_owned() } else { whole.join(", ") };
        format!(
            "read of changelogs: {tails} records behind what was there; from the beginning, to restore or to follow: {whole}"
        )
    }
}

async fn read(bed: &Bed, number: usize) -> anyhow::Result<[ByTask; 2]> {
    let instance = &bed.fleet.instances[number];
    Ok([instance.by_task(RESTORED).await?, instance.by_task(FOLLOWED).await?])
}
