//! The rows that instances leave on their disks, compared with the changelogs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use millpond::{
    config::Guarantee,
    log::{Isolation, Log, ReadFrom, ReaderEvent, TopicPartition},
    state::{MemoryBudget, PageRow, StateDir, StateSettings, TaskStores},
    time::{Clock as _, SystemClock},
    topology::Resolved,
};

/// Records per poll.
const POLL_RECORDS: usize = 20_000;
/// How long it may take to read them all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a poll waits for more.
const POLL: Duration = Duration::from_millis(50);

/// The committed records of all changelogs.
#[derive(Debug)]
pub struct Changelogs(BTreeMap<TopicPartition, Keys>);

/// By key all its records.
type Keys = BTreeMap<Box<[u8]>, Vec<Logged>>;

#[derive(Debug)]
struct Logged {
    offset: i64,
    timestamp_ms: i64,
    value: Box<[u8]>,
}

// === impl Changelogs ===

impl Changelogs {
    /// Reads them to their ends, so many partitions of each. The ledger deletes nothing.
    ///
    /// # Errors
    /// When the log refuses, or an end is not reached.
    pub fn read(log: &dyn Log, topology: &Resolved, partitions: i32) -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        let mut pending = BTreeSet::new();
        let stores = topology.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
        for changelog in stores.filter_map(|store| store.changelog.as_ref()) {
            for partition in 0..partitions {
                let partition = TopicPartition::new(Arc::clone(changelog), partition);
                reader.assign(&partition, ReadFrom::Beginning)?;
                pending.insert(partition);
            }
        }
        let mut changelogs: BTreeMap<_, Keys> =
            pending.iter().map(|partition| (partition.clone(), Keys::new())).collect();
        let deadline = clock.monotonic() + PATIENCE;
        while !pending.is_empty() {
            ensure!(clock.monotonic() < deadline, "the ends of {pending:?} cannot be read");
            let fetched = reader.poll(POLL_RECORDS, POLL)?;
            for batch in &fetched.batches {
                let keys = changelogs.get_mut(batch.source()).context("nobody asked for it")?;
                for record in batch.iter() {
                    let value = record.value.context("something was deleted")?.into();
                    let logged = Logged { offset: record.offset, timestamp_ms: record.timestamp_ms, value };
                    keys.entry(record.key.context("a record has no key")?.into()).or_default().push(logged);
                }
            }
            for event in fetched.events {
                if let ReaderEvent::EndReached { partition, .. } = event {
                    pending.remove(&partition);
                }
            }
        }
        Ok(Self(changelogs))
    }

    /// Whether each store of an instance that is stopped has, of each key, its row at the store's offset or a newer one, and nothing else: of a
    /// restore that ended in a crash, rows may be newer. Says how many rows there are; damage that nobody has met is left out.
    ///
    /// # Errors
    /// Names the first row that is wrong.
    pub fn check(&self, state_dir: &Path, topology: &Resolved, guarantee: Guarantee) -> anyhow::Result<usize> {
        if !state_dir.try_exists()? {
            return Ok(0);
        }
        let dir = Arc::new(StateDir::open(state_dir, topology.application_id())?);
        let settings = StateSettings { dir: Some(Arc::clone(&dir)), memory: MemoryBudget::new(0) };
        let mut count = 0;
        for task in dir.tasks()? {
            let specs = Arc::<[_]>::clone(&topology.sub_topologies[task.sub_topology as usize].stores);
            let stores = TaskStores::open(&settings, task, Arc::clone(&specs))?;
            for (store, at) in &stores.committed().changelog_offsets {
                let spec = &specs[store.index()];
                let changelog = spec.changelog.clone().context("every store has a changelog")?;
                let rows = match stores.view().scan(*store, .., usize::MAX, usize::MAX) {
                    Err(error) if error.is_damage() => continue,
                    page => page?.rows,
                };
                count += rows.len();
                let keys = self.0.get(&TopicPartition::new(changelog, task.partition)).context("it was read")?;
                // At least once, a producer that was given up may have written behind those who went on from another row.
                let from = if guarantee == Guarantee::ExactlyOnce { *at } else { 0 };
                let what = || format!("{} of task {task} at {at} in {}", spec.name, state_dir.display());
                check(keys, rows, *at, from).with_context(what)?;
            }
        }
        Ok(count)
    }
}

/// Compares the rows of a store that is at this offset with its changelog; they may be the last before offset `from`, or any behind that.
fn check(keys: &Keys, rows: Vec<PageRow>, at: i64, from: i64) -> anyhow::Result<()> {
    let mut missing: BTreeSet<&[u8]> =
        keys.iter().filter(|(_, logged)| logged[0].offset < at).map(|(key, _)| &**key).collect();
    for PageRow { key, value, timestamp_ms, .. } in rows {
        missing.remove(&*key);
        let name = || String::from_utf8_lossy(&key).into_owned();
        let logged = keys.get(&*key).with_context(|| format!("`{}` is in no changelog", name()))?;
        let behind = logged.partition_point(|logged| logged.offset < from);
        let may_be = &logged[behind.saturating_sub(1)..];
        ensure!(
            may_be.iter().any(|logged| *logged.value == *value && logged.timestamp_ms == timestamp_ms),
            "`{}` is of {timestamp_ms}, and not what the changelog has: {:?}",
            name(),
            may_be.iter().map(|logged| (logged.offset, logged.timestamp_ms)).collect::<Vec<_>>()
        );
    }
    ensure!(
        missing.is_empty(),
        "{} rows are missing, the first of `{}`",
        missing.len(),
        String::from_utf8_lossy(missing.first().unwrap_or(&&b""[..]))
    );
    Ok(())
}
