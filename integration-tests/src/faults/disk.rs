//! The state directories of a ledger's instances, looked at and damaged from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use millpond::{
    log::TopicPartition,
    state::{MemoryBudget, StateDir, StateSettings, TaskId, TaskStores},
    topology::Resolved,
};

use super::Rng;

/// Changed bytes lie so far from each other: there are some in each block of a table.
const BETWEEN_FLIPS: u64 = 512;

/// Where the stores stand in their changelogs, as far as an instance that is down has them on its disk. Those that do not open are left
/// out.
pub(crate) fn stored_offsets(
    state_dir: &Path,
    topology: &Resolved,
) -> anyhow::Result<BTreeMap<TaskId, BTreeMap<TopicPartition, i64>>> {
    if !state_dir.try_exists()? {
        return Ok(BTreeMap::new());
    }
    let dir = Arc::new(StateDir::open(state_dir, topology.application_id())?);
    let settings = StateSettings { dir: Some(Arc::clone(&dir)), memory: MemoryBudget::new(0) };
    let mut stored = BTreeMap::new();
    for task in dir.tasks()? {
        let specs = Arc::<[_]>::clone(&topology.sub_topologies[task.sub_topology as usize].stores);
        let Ok(stores) = TaskStores::open(&settings, task, Arc::clone(&specs)) else { continue };
        let offsets = stores.committed().changelog_offsets.iter().filter_map(|(store, offset)| {
            let changelog = specs[store.index()].changelog.clone()?;
            Some((TopicPartition::new(changelog, task.partition), *offset))
        });
        stored.insert(task, offsets.collect());
    }
    Ok(stored)
}

/// Deletes the folder of one task of which `may_be` says so; says of which.
pub(super) fn lose_task(
    state_dir: &Path,
    topology: &Resolved,
    rng: &mut Rng,
    may_be: impl Fn(TaskId) -> bool,
) -> anyhow::Result<Option<TaskId>> {
    let mut tasks = task_folders(state_dir, topology)?;
    tasks.retain(|(task, _)| may_be(*task));
    if tasks.is_empty() {
        return Ok(None);
    }
    let (task, folder) = rng.pick(&tasks);
    fs::remove_dir_all(folder)?;
    Ok(Some(*task))
}

/// Changes bytes in all tables of all tasks: in every block, or one in a block of rows, which shows only when they are read. Says how many
/// tables there were.
pub(super) fn corrupt(state_dir: &Path, topology: &Resolved, rng: &mut Rng) -> anyhow::Result<usize> {
    let (mut tables, everywhere) = (0, rng.below(2) == 0);
    for (_, folder) in task_folders(state_dir, topology)? {
        for entry in fs::read_dir(folder.join("rocksdb"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                // A running instance may have deleted it meanwhile.
                tables += usize::from(corrupt_file(&path, everywhere, rng).is_ok());
            }
        }
    }
    Ok(tables)
}

fn corrupt_file(path: &Path, everywhere: bool, rng: &mut Rng) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    // Rows come first in a table.
    let (mut at, end) = if everywhere { (rng.below(BETWEEN_FLIPS), len) } else { (len / 8, len / 8 + 1) };
    while at < end.min(len) {
        let mut byte = [0];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&[byte[0] ^ (1 << rng.below(8))])?;
        at += rng.within(1, 2 * BETWEEN_FLIPS);
    }
    Ok(())
}

/// Tasks that have a folder.
pub(crate) fn tasks(state_dir: &Path, topology: &Resolved) -> anyhow::Result<BTreeSet<TaskId>> {
    Ok(task_folders(state_dir, topology)?.into_iter().map(|(task, _)| task).collect())
}

fn task_folders(state_dir: &Path, topology: &Resolved) -> anyhow::Result<Vec<(TaskId, PathBuf)>> {
    let tasks = state_dir.join(topology.application_id()).join("tasks");
    if !tasks.try_exists()? {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(tasks)? {
        let entry = entry?;
        if let Some(task) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            folders.push((task, entry.path()));
        }
    }
    folders.sort();
    Ok(folders)
}
