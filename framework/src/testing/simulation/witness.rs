//! What the log is asked to make final, by whom: noted as it happens, for the checks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{life::Life, scheduler};
use crate::log::TopicPartition;

/// Notes what is committed.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Whose a transactional id is: the life that initialised it last.
    owners: BTreeMap<String, u64>,
    /// How far inputs are processed for good.
    positions: BTreeMap<TopicPartition, i64>,
    commits: u64,
}

// === impl Witness ===

impl Witness {
    /// A producer of this life has the id now.
    pub(super) fn initialised(&self, life: &Arc<Life>, transactional_id: &str) {
        scheduler::current().note(format_args!("{life} has {transactional_id}"));
        self.noted().owners.insert(transactional_id.to_owned(), life.number);
    }

    /// A commit of this life is final; `transactional_id` is empty without a transaction.
    pub(super) fn committed(&self, life: &Arc<Life>, transactional_id: &str, positions: &[(TopicPartition, i64)]) {
        let scheduler = scheduler::current();
        let mut noted = self.noted();
        noted.commits += 1;
        for (partition, position) in positions {
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

    /// Whether any producer of this life can still commit under one of its ids.
    pub(super) fn can_commit(&self, life: &Life) -> bool {
        let prefix = format!("{}/{}/", super::workload::APPLICATION, life.name);
        let noted = self.noted();
        noted
            .owners
            .range(prefix.clone()..)
            .take_while(|(id, _)| id.starts_with(&prefix))
            .any(|(_, owner)| *owner == life.number)
    }

    /// How many commits there were.
    pub(super) fn commits(&self) -> u64 {
        self.noted().commits
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
