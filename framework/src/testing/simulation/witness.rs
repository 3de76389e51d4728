//! What the log is asked to make final, by whom: noted as it happens, for the checks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{here, life::Life};
use crate::{log::TopicPartition, state::TaskId, topology::Resolved};

/// Notes what is committed.
#[derive(Debug)]
pub(super) struct Witness {
    /// Which sub-topology reads a topic.
    readers: BTreeMap<Arc<str>, u32>,
    /// Where the metadata topic ends, as of the last look.
    pub(super) metadata_end: AtomicI64,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Whose a transactional id is: the life that initialised it last, and where the metadata topic ended then.
    owners: BTreeMap<String, (u64, i64)>,
    /// Which life began last to have a task as active, able to commit. From then on nobody else may commit for it.
    owners_of_tasks: BTreeMap<TaskId, u64>,
    /// How far inputs are processed for good.
    positions: BTreeMap<TopicPartition, i64>,
    commits: u64,
}

// === impl Witness ===

impl Witness {
    pub(super) fn new(topology: &Resolved) -> Self {
        let sources = |(index, part): (u32, &crate::topology::SubTopology)| {
            part.sources.iter().map(|topic| (Arc::clone(topic), index)).collect::<Vec<_>>()
        };
        Self {
            readers: (0..).zip(&topology.sub_topologies).flat_map(sources).collect(),
            metadata_end: 0.into(),
            noted: Mutex::default(),
        }
    }

    /// A life has a task as active now, and can commit for it.
    pub(super) fn owns(&self, life: &Life, task: TaskId) {
        self.noted().owners_of_tasks.insert(task, life.number);
    }

    /// A producer of this life has the id now.
    pub(super) fn initialised(&self, life: &Arc<Life>, transactional_id: &str) {
        let scheduler = here::current();
        scheduler.note(format_args!("{life} has {transactional_id}"));
        scheduler.look();
        let metadata_end = self.metadata_end.load(Ordering::Relaxed);
        self.noted().owners.insert(transactional_id.to_owned(), (life.number, metadata_end));
    }

    /// A commit of this life is final; `transactional_id` is empty without a transaction.
    pub(super) fn committed(&self, life: &Arc<Life>, transactional_id: &str, positions: &[(TopicPartition, i64)]) {
        let scheduler = here::current();
        scheduler.look();
        let mut noted = self.noted();
        noted.commits += 1;
        for (partition, position) in positions {
            let task = self.readers.get(&partition.topic).map(|reader| TaskId::new(*reader, partition.partition));
            let owner = task.and_then(|task| noted.owners_of_tasks.get(&task).copied());
            if owner != Some(life.number) {
                scheduler.violated(format_args!("{life} commits {partition}, and #{owner:?} has had the task since"));
            }
            let before = noted.positions.insert(partition.clone(), *position).unwrap_or(0);
            if before != *position {
                scheduler.note(format_args!("{life} commits {partition} up to {position}"));
            }
            if before > *position {
                let from = if transactional_id.is_empty() { "" } else { ", in a transaction" };
                scheduler.violated(format_args!("{life} takes {partition} back from {before} to {position}{from}"));
            }
        }
    }

    /// Whether any producer of this life can still commit under one of its ids. Who has initialised a producer goes on when it has read what
    /// was told until then, here up to `informed`: it may have been evicted.
    pub(super) fn can_commit(&self, life: &Life, informed: i64) -> bool {
        let prefix = format!("{}/{}/", super::workload::APPLICATION, life.name);
        let noted = self.noted();
        let mut own = noted.owners.range(prefix.clone()..).take_while(|(id, _)| id.starts_with(&prefix));
        own.any(|(_, (owner, metadata_end))| *owner == life.number && informed >= *metadata_end)
    }

    /// How many commits there were.
    pub(super) fn commits(&self) -> u64 {
        self.noted().commits
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
