//! What must hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Living, World, outside, staying};
use crate::{
    cluster::{AssignmentOrder, TaskState},
    config::Guarantee,
    log::{Isolation, Log, LogError, ReadFrom, Reader, TopicPartition, embedded::EmbeddedLog},
    runtime::{HostedState, HostedTask},
    state::{Role, StateError, StoreId, StoreKind},
    topology::Resolved,
};

/// The committed records of the changelogs of key-value stores.
pub(super) struct Changelogs {
    log: EmbeddedLog,
    reader: Box<dyn Reader>,
    /// By topic, how many partitions are read; those that are not there yet are looked for again.
    topics: BTreeMap<Arc<str>, i32>,
    records: BTreeMap<TopicPartition, Vec<Change>>,
}

/// A record of a changelog.
struct Change {
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

// === impl Changelogs ===

impl Changelogs {
    pub(super) fn new(log: &EmbeddedLog, topology: &Resolved) -> Result<Self, LogError> {
        let stores = topology.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
        let of_rows = stores.filter(|store| store.kind == StoreKind::TimestampedKeyValue);
        let topics = of_rows.filter_map(|store| Some((Arc::clone(store.changelog.as_ref()?), 0))).collect();
        let reader = log.reader(Isolation::ReadCommitted)?;
        Ok(Self { log: log.clone(), reader, topics, records: BTreeMap::new() })
    }

    /// Reads what was committed since.
    fn follow(&mut self) -> Result<(), LogError> {
        let missing: Vec<&str> =
            self.topics.iter().filter(|(_, partitions)| **partitions == 0).map(|(topic, _)| &**topic).collect();
        if !missing.is_empty() {
            for found in self.log.admin()?.topics(&missing)? {
                for partition in 0..found.partitions {
                    let partition = TopicPartition::new(found.name.as_str(), partition);
                    self.reader.assign(&partition, ReadFrom::Beginning)?;
                }
                self.topics.insert(found.name.as_str().into(), found.partitions);
            }
        }
        loop {
            let fetched = self.reader.poll(10_000, Duration::ZERO)?;
            if fetched.batches.is_empty() {
                return Ok(());
            }
            for batch in &fetched.batches {
                let changes = self.records.entry(batch.source().clone()).or_default();
                changes.extend(batch.iter().map(|record| Change {
                    offset: record.offset,
                    key: record.key.unwrap_or_default().to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                }));
            }
        }
    }

    /// The rows that a store has when it stands there.
    fn rows_at(&self, changelog: &TopicPartition, offset: i64) -> BTreeMap<&[u8], &[u8]> {
        let mut rows = BTreeMap::new();
        for change in self.records.get(changelog).into_iter().flatten().take_while(|change| change.offset < offset) {
            match &change.value {
                Some(value) => rows.insert(&change.key[..], &value[..]),
                None => rows.remove(&change.key[..]),
            };
        }
        rows
    }
}

// === impl World: at every step ===

impl World {
    /// What must hold whatever goes wrong.
    pub(in crate::testing::simulation) fn check(&self) {
        if !self.is_away() {
            match self.told.borrow_mut().follow(&self.scheduler) {
                Ok(end) => self.making.witness.metadata_end.store(end, Ordering::Relaxed),
                Err(error) => self.scheduler.violated(format_args!("the metadata topic cannot be read: {error}")),
            }
        }
        self.check_owners();
        self.measure_gaps();
        let commits = self.making.witness.commits();
        if self.checked_commits.replace(commits) != commits {
            let checked = self.workload.borrow_mut().check_outputs();
            if let Err(what) = checked {
                self.scheduler.violated(what);
            }
        }
    }

    /// At most one instance has a task as active and can commit for it: a member of the group whose producers are not fenced.
    fn check_owners(&self) {
        let mut group = self.group.borrow_mut();
        if group.is_none() {
            *group = outside(&self.making.log);
        }
        let Some(Ok(members)) = group.as_ref().map(|(_, group)| group.members()) else { return };
        let exactly_once = self.making.config.guarantee == Guarantee::ExactlyOnce;
        let witness = &self.making.witness;
        let (mut owned, mut owners) = (self.owned.borrow_mut(), BTreeMap::new());
        let instances = self.instances.borrow();
        let is_member = |living: &&Living| {
            let epoch = living.life.epoch().filter(|_| !living.life.is_dead());
            epoch.is_some_and(|epoch| members.iter().any(|member| member.member_id == epoch.member_id))
        };
        let living: Vec<_> = instances.iter().filter_map(|one| one.living.as_ref()).filter(is_member).collect();
        // Who asks for more of the metadata topic has done what it read before. Workers may go on a little earlier: as soon as they are
        // told. Whether they have obeyed does not show, so that counts only where nobody else has the task.
        for told in [false, true] {
            for living in &living {
                let life = &living.life;
                let informed = if told { living.seen.metadata_read() } else { life.informed.load(Ordering::Relaxed) };
                if exactly_once && !witness.can_commit(life, informed) {
                    continue;
                }
                for (task, _) in living.seen.hosted().into_iter().filter(|(_, hosted)| is_active(hosted)) {
                    if told && owners.contains_key(&task) {
                        continue;
                    }
                    if owned.get(&task) != Some(&life.number) {
                        witness.owns(life, task);
                    }
                    if let Some(other) = owners.insert(task, life.number) {
                        self.scheduler
                            .violated(format_args!("task {task} is at #{other} and at {life}, and both can commit"));
                    }
                }
            }
        }
        *owned = owners;
    }

    /// Notes what the changelogs say, before they are compacted.
    pub(super) fn follow_changelogs(&self) {
        if self.is_away() {
            return;
        }
        if let Err(error) = self.changelogs.borrow_mut().follow() {
            self.scheduler.violated(format_args!("the changelogs cannot be read: {error}"));
        }
    }

    /// Every open store has the rows that its changelog says, up to where it stands: that of an active task, and that of a standby.
    pub(in crate::testing::simulation) fn check_stores(&self) {
        // At least once, a changelog has what two owners wrote in turns.
        if self.is_away() || self.making.config.guarantee == Guarantee::AtLeastOnce {
            return;
        }
        self.follow_changelogs();
        let changelogs = self.changelogs.borrow();
        for living in self.instances.borrow().iter().filter_map(|instance| instance.living.as_ref()) {
            for (task, hosted) in living.seen.hosted() {
                let sub_topology = &self.making.topology.sub_topologies[task.sub_topology as usize];
                for (index, spec) in sub_topology.stores.iter().enumerate() {
                    let Some(changelog) =
                        spec.changelog.as_ref().filter(|topic| changelogs.topics.contains_key(*topic))
                    else {
                        continue;
                    };
                    let store = StoreId::new(index);
                    let page = match hosted.view.scan(store, .., usize::MAX, usize::MAX) {
                        Ok(page) => page,
                        // It is being handed over, or goes.
                        Err(StateError::Closed { .. }) => continue,
                        Err(error) => return self.scheduler.violated(error),
                    };
                    let offset = page.point.changelog_offsets.get(&store).copied().unwrap_or(0);
                    let changelog = TopicPartition::new(Arc::clone(changelog), task.partition);
                    let expected = changelogs.rows_at(&changelog, offset);
                    let rows: BTreeMap<&[u8], &[u8]> =
                        page.rows.iter().map(|row| (&row.key[..], &row.value[..])).collect();
                    if rows != expected {
                        let text = |rows: &BTreeMap<&[u8], &[u8]>| {
                            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                            rows.iter()
                                .map(|(key, row)| format!("{}={}", text(key), text(row)))
                                .collect::<Vec<_>>()
                                .join(", ")
                        };
                        return self.scheduler.violated(format_args!(
                            "`{}` of task {task} at {} stands at {offset} of {changelog}: it has [{}], and should have [{}]",
                            spec.name,
                            living.life,
                            text(&rows),
                            text(&expected)
                        ));
                    }
                }
            }
        }
    }
}

// === impl World: when nothing goes wrong ===

impl World {
    /// Why not all is well yet; nothing if all is.
    pub(in crate::testing::simulation) fn unsettled(&self) -> Option<String> {
        let instances = self.instances.borrow();
        for instance in instances.iter() {
            if instance.starts_at.is_some() {
                return Some(format!("{} is not started", instance.name));
            }
            let Some(living) = &instance.living else { continue };
            if living.leaves {
                return Some(format!("{} has not left", living.life));
            }
            if let Some(reason) = living.seen.not_ready().first() {
                return Some(format!("{} is not ready: {reason}", living.life));
            }
        }
        let orders: Vec<_> = staying(&instances).map(|living| living.seen.cluster().order).collect();
        if orders.windows(2).any(|pair| pair[0] != pair[1]) {
            return Some(format!("the instances follow {orders:?}"));
        }
        let staying_count = staying(&instances).count();
        if let Some(living) = staying(&instances).find(|living| living.seen.cluster().live_members() != staying_count) {
            return Some(format!("{} does not know of all {staying_count} instances", living.life));
        }
        let Some(one) = staying(&instances).next() else { return Some("nobody is there".into()) };
        let view = one.seen.cluster();
        for (task, placed) in &view.tasks {
            if !matches!(placed.holder, Some((_, TaskState::Running))) {
                return Some(format!("task {task} has no owner: {placed:?}"));
            }
            if !placed.kept_for.is_empty() {
                return Some(format!("task {task} waits for {:?} to come back", placed.kept_for));
            }
        }
        let living: BTreeSet<_> =
            staying(&instances).filter_map(|living| Some(living.life.epoch()?.member_id)).collect();
        let members = self.group.borrow().as_ref().and_then(|(_, group)| group.members().ok()).unwrap_or_default();
        if let Some(gone) = members.iter().find(|member| !living.contains(&member.member_id)) {
            return Some(format!("{} is still a member", gone.member_id));
        }
        drop(instances);
        self.lag().or_else(|| self.workload.borrow().missing())
    }

    /// Which input is not processed to its end.
    fn lag(&self) -> Option<String> {
        let group = self.group.borrow();
        let Some((_, group)) = &*group else { return Some("there is no group".into()) };
        let topology = &self.making.topology;
        let (sources, mut ends) =
            (topology.sub_topologies.iter().flat_map(|part| &part.sources), self.ends.borrow_mut());
        for source in sources {
            for partition in 0.. {
                let partition = TopicPartition::new(Arc::clone(source), partition);
                // Behind the last partition.
                let Ok(end) = ends.end_offset(&partition) else { break };
                let committed = group.committed(std::slice::from_ref(&partition), Duration::ZERO);
                let position = committed.ok().and_then(|positions| positions[0]).unwrap_or(0);
                let has_records = ends.beginning_offset(&partition).is_ok_and(|beginning| beginning < end);
                if has_records && position + 2 < end {
                    return Some(format!("{partition} is processed up to {position} of {end}"));
                }
            }
        }
        None
    }

    /// The assignment that everybody follows.
    pub(in crate::testing::simulation) fn order(&self) -> Option<AssignmentOrder> {
        staying(&self.instances.borrow()).next().and_then(|living| living.seen.cluster().order)
    }
}

/// Whether a hosted task is one that commits. One that is restored may be left from a membership that is over: its worker hears of that
/// before it goes on.
pub(super) fn is_active(hosted: &HostedTask) -> bool {
    hosted.role == Role::Active && hosted.state == HostedState::Running
}
