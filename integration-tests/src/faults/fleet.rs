//! The instances of a round: started, killed, started again, and what each of their lives restored.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use millpond::{
    config::Guarantee,
    log::{Isolation, Log, TopicPartition},
    state::TaskId,
    testing::Failpoint,
    time::{Clock as _, SystemClock},
    topology::Resolved,
};
use tokio::{task::block_in_place, time::sleep};

use super::{Rng, disk, plan::name};
use crate::{
    ledger::{self, Topics, rows::Changelogs},
    service::{Instance, until},
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How long an instance may take to come to a failpoint; one that does not is killed.
const FAILPOINT_PATIENCE: Duration = Duration::from_secs(25);
/// How often to look after the instances.
const LOOK: Duration = Duration::from_millis(50);

/// Longer than anybody stands still: what a zombie has open only fencing ends.
const TRANSACTION_TIMEOUT_MS: &str = "30000";

/// What the instances are.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// How many.
    pub(crate) instances: usize,
    /// Their guarantee.
    pub(crate) guarantee: Guarantee,
    /// How many standbys each task has.
    pub(crate) standbys: usize,
    /// Their memory in bytes; `None`: the default.
    pub(crate) memory: Option<usize>,
    /// More settings, by the names of their environment variables.
    pub(crate) settings: Vec<(String, String)>,
}

/// The instances.
pub(crate) struct Fleet {
    pub(crate) instances: Vec<Instance>,
    lives: Vec<Life>,
    topology: Resolved,
    partitions: i32,
    log: Arc<dyn Log>,
    clock: SystemClock,
    /// What was told of each life that ended in a crash and was followed by another.
    pub(crate) restored: Vec<Restored>,
    /// Instances that ended though nobody had asked them to.
    pub(crate) ended: Vec<String>,
    /// The same before they were members.
    pub(crate) not_started: Vec<String>,
}

/// From one start of an instance to its end.
#[derive(Debug, Default)]
struct Life {
    /// Where its stores stood on disk at its start.
    stored: BTreeMap<TaskId, BTreeMap<TopicPartition, i64>>,
    /// Tasks whose files were damaged: they are rebuilt.
    damaged: BTreeSet<TaskId>,
    all_damaged: bool,
    /// Whether tables were damaged in a life before, which may not have read them all: damage is found when it is read.
    damage_lurks: bool,
    /// Whether the one before ended in a crash.
    after_crash: bool,
    /// Its place in [`Fleet::restored`], if it has one.
    told: Option<usize>,
    /// Whether it was asked to stop.
    stopping: bool,
}

/// What a life after a crash restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) instance: &'static str,
    /// Changelog records restored of tasks that had state on its disk.
    pub(crate) records: u64,
    /// The most that it may have been: what the changelogs of these tasks have beyond what was on its disk.
    pub(crate) most: u64,
    /// What it would be if the state were wiped.
    pub(crate) whole: u64,
}

// === impl Fleet ===

impl Fleet {
    /// Instances that are not started.
    pub(crate) fn new(
        kind: &Kind,
        topics: &Topics,
        bootstrap: &str,
        log: Arc<dyn Log>,
        folder: &Path,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        let application = topics.prefix.as_str();
        let guarantee = match kind.guarantee {
            Guarantee::ExactlyOnce => "exactly-once",
            Guarantee::AtLeastOnce => "at-least-once",
        };
        let instance = |number| {
            let mut instance = Instance::ledger(application, name(number), bootstrap, folder)?
                .with("MILLPOND_TRANSACTION_TIMEOUT_MS", TRANSACTION_TIMEOUT_MS)
                .with("MILLPOND_NUM_STANDBY_REPLICAS", &kind.standbys.to_string())
                .with("MILLPOND_GUARANTEE", guarantee);
            if let Some(bytes) = kind.memory {
                instance.set("MILLPOND_MEMORY_BYTES", &bytes.to_string());
            }
            for (variable, value) in &kind.settings {
                instance.set(variable, value);
            }
            anyhow::Ok(instance)
        };
        Ok(Self {
            instances: (0..kind.instances).map(instance).collect::<Result<_, _>>()?,
            lives: (0..kind.instances).map(|_| Life::default()).collect(),
            topology: ledger::topology(application)?.resolve(application),
            partitions: topics.partitions,
            log,
            clock,
            restored: Vec::new(),
            ended: Vec::new(),
            not_started: Vec::new(),
        })
    }

    pub(crate) fn topology(&self) -> &Resolved {
        &self.topology
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.instances.iter().map(Instance::url).collect()
    }

    // --- lives ---

    /// Starts an instance.
    pub(crate) fn start(&mut self, number: usize, to_die: Option<Failpoint>) -> anyhow::Result<()> {
        let (instance, life) = (&mut self.instances[number], &mut self.lives[number]);
        // To look at damaged state would be to move it aside.
        if !life.all_damaged {
            life.stored = block_in_place(|| disk::stored_offsets(instance.state_dir(), &self.topology))?;
        }
        match to_die {
            None => instance.start(),
            Some(at) => instance.start_to_die(at),
        }
    }

    /// Ends an instance by SIGKILL.
    pub(crate) async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.look_at_restored(number).await?;
        self.kill_now(number)
    }

    /// The same at once: what it restored is not looked at.
    pub(crate) fn kill_now(&mut self, number: usize) -> anyhow::Result<()> {
        if self.instances[number].is_running() {
            self.instances[number].kill()?;
        }
        self.begin_life(number, true);
        Ok(())
    }

    /// Ends an instance by SIGTERM.
    pub(crate) async fn stop(&mut self, number: usize) -> anyhow::Result<()> {
        self.look_at_restored(number).await?;
        self.instances[number].terminate()?;
        let status = self.instances[number].ended(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status} when asked to stop", name(number));
        self.begin_life(number, false);
        Ok(())
    }

    /// Asks an instance by SIGTERM to end, and lets it: whoever tends the fleet notices when it has.
    pub(crate) fn ask_to_stop(&mut self, number: usize) -> anyhow::Result<()> {
        self.instances[number].terminate()?;
        self.lives[number].stopping = true;
        Ok(())
    }

    /// An instance's state is lost; it is down.
    pub(crate) fn wipe(&mut self, number: usize) -> anyhow::Result<()> {
        let state_dir = self.instances[number].state_dir();
        if state_dir.try_exists()? {
            std::fs::remove_dir_all(state_dir)?;
        }
        self.lives[number] = Life::default();
        Ok(())
    }

    /// Waits until an instance dies by itself; kills it if it does not for long.
    pub(crate) async fn dies(&mut self, number: usize) -> anyhow::Result<bool> {
        let deadline = self.clock.monotonic() + FAILPOINT_PATIENCE;
        let came_there = loop {
            if self.instances[number].has_ended()?.is_some() {
                break true;
            }
            if self.clock.monotonic() > deadline {
                self.instances[number].kill()?;
                break false;
            }
            sleep(LOOK).await;
        };
        self.begin_life(number, true);
        Ok(came_there)
    }

    fn begin_life(&mut self, number: usize, after_crash: bool) {
        let Life { all_damaged, damage_lurks, .. } = self.lives[number];
        self.lives[number] = Life { after_crash, damage_lurks: damage_lurks || all_damaged, ..Life::default() };
    }

    /// Tables of this instance were damaged.
    pub(crate) fn damaged(&mut self, number: usize) {
        self.lives[number].all_damaged = true;
    }

    pub(crate) fn lost(&mut self, number: usize, task: TaskId) {
        self.lives[number].damaged.insert(task);
    }

    /// Lets time pass, and looks after the instances. One that is down stays so.
    pub(crate) async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.clock.monotonic() + time;
        while self.clock.monotonic() < end {
            sleep(LOOK).await;
            self.tend()?;
        }
        Ok(())
    }

    /// Starts those again that ended by themselves.
    pub(crate) fn tend(&mut self) -> anyhow::Result<()> {
        for number in 0..self.instances.len() {
            if let Some(status) = self.instances[number].has_ended()? {
                if self.lives[number].stopping {
                    if !status.success() {
                        self.ended.push(format!("{} ended with {status} when asked to stop", name(number)));
                    }
                    self.begin_life(number, !status.success());
                    continue;
                }
                let log = self.instances[number].read_log()?;
                let error = log.lines().find(|line| line.contains(" ERROR ") || line.starts_with("Error:"));
                let told = format!("{} ended with {status}: {}", name(number), error.unwrap_or("no word"));
                // One that does not find the log in time at its start ends, for its supervisor to start it again.
                if log.contains("joined generation") {
                    self.ended.push(told);
                } else {
                    self.not_started.push(told);
                }
                let Life { damaged, all_damaged, damage_lurks, .. } = std::mem::take(&mut self.lives[number]);
                self.lives[number] = Life { damaged, all_damaged, damage_lurks, after_crash: true, ..Life::default() };
                self.start(number, None)?;
            }
        }
        Ok(())
    }

    /// Waits until all instances that run are ready.
    pub(crate) async fn all_ready(&mut self) -> anyhow::Result<()> {
        let deadline = self.clock.monotonic() + PATIENCE;
        for number in 0..self.instances.len() {
            while self.instances[number].is_running()
                && !matches!(self.instances[number].get("/readyz").await, Ok((200, _)))
            {
                if self.clock.monotonic() > deadline {
                    return self.instances[number].ready(Duration::ZERO).await;
                }
                sleep(LOOK).await;
                self.tend()?;
            }
        }
        Ok(())
    }

    // --- what was restored ---

    /// Looks what the life of an instance has restored, and whether that is no more than it may.
    pub(crate) async fn look_at_restored(&mut self, number: usize) -> anyhow::Result<()> {
        // One that does not answer now is not looked at. What a standby has read need not be restored.
        let (instance, mut restored) = (&self.instances[number], BTreeMap::new());
        for metric in ["millpond_restore_records_total", "millpond_standby_records_total"] {
            let Ok(records) = instance.by_task(metric).await else { return Ok(()) };
            for (task, records) in records {
                *restored.entry(task).or_insert(0.0) += records;
            }
        }
        let life = &self.lives[number];
        if life.all_damaged {
            return Ok(());
        }
        let log = if life.damage_lurks { self.instances[number].read_log()? } else { String::new() };
        let is_found = |task: &TaskId| {
            let says = ["the state is damaged: moved aside".to_owned(), format!(" task={task} ")];
            log.lines().any(|line| says.iter().all(|part| line.contains(part)))
        };
        let mut reader = self.log.reader(Isolation::ReadUncommitted)?;
        let mut sum = Restored { instance: name(number), records: 0, most: 0, whole: 0 };
        let is_whole = |task: &TaskId| !life.damaged.contains(task) && !is_found(task);
        for (task, stored) in life.stored.iter().filter(|(task, _)| is_whole(task)) {
            let records = restored.get(task).copied().unwrap_or(0.0) as u64;
            let (mut most, mut whole) = (0, 0);
            for (changelog, offset) in stored {
                let end = block_in_place(|| reader.end_offset(changelog))?;
                let beginning = block_in_place(|| reader.beginning_offset(changelog))?;
                most += u64::try_from(end - offset).context("the disk is ahead of the changelog")?;
                whole += u64::try_from(end - beginning)?;
            }
            if stored.is_empty() {
                continue;
            }
            ensure!(
                records <= most,
                "{} restored {records} records of task {task}, whose changelogs have {most} more than was on its disk",
                name(number)
            );
            if records > 0 {
                (sum.records, sum.most, sum.whole) = (sum.records + records, sum.most + most, sum.whole + whole);
            }
        }
        if life.after_crash && sum.whole > 0 {
            let told = life.told.unwrap_or(self.restored.len());
            match self.restored.get_mut(told) {
                Some(before) => *before = sum,
                None => self.restored.push(sum),
            }
            self.lives[number].told = Some(told);
        }
        Ok(())
    }

    /// How many times damaged state was found.
    pub(crate) fn damages_found(&self) -> anyhow::Result<usize> {
        self.count_in_logs("the state is damaged: moved aside")
    }

    /// How often the logs of all lives say so.
    pub(crate) fn count_in_logs(&self, text: &str) -> anyhow::Result<usize> {
        let logs = self.instances.iter().map(|instance| Ok(instance.read_logs()?.matches(text).count()));
        logs.sum()
    }

    /// Which processes the instances are now.
    pub(crate) fn pids(&self) -> Vec<Option<u32>> {
        self.instances.iter().map(Instance::pid).collect()
    }

    /// Waits until a condition holds, and looks after the instances meanwhile.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        until(what, PATIENCE, async || {
            self.tend()?;
            holds().await
        })
        .await
    }

    /// Deletes the folder of a task.
    pub(crate) fn lose_task(&mut self, number: usize, rng: &mut Rng) -> anyhow::Result<()> {
        let state_dir = self.instances[number].state_dir();
        if let Some(task) = disk::lose_task(state_dir, &self.topology, rng, |_| true)? {
            self.lost(number, task);
        }
        Ok(())
    }

    /// Waits until the changelogs have all visitors: what is restored from now on becomes tables.
    pub(crate) async fn visitors_are_counted(&mut self) -> anyhow::Result<()> {
        let mut reader = self.log.reader(Isolation::ReadUncommitted)?;
        let stores = self.topology.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
        let counts = stores.filter(|store| &*store.name == ledger::COUNTS);
        let changelog = counts.filter_map(|store| store.changelog.clone()).next().context("counts have a changelog")?;
        let partitions = self.partitions;
        self.until("all visitors are counted", async || {
            let end = |partition| reader.end_offset(&TopicPartition::new(Arc::clone(&changelog), partition));
            let records: i64 = block_in_place(|| (0..partitions).map(end).sum::<Result<_, _>>())?;
            Ok(records >= ledger::VISITORS.into())
        })
        .await
    }

    /// Waits until an instance has committed what its disk does not have yet: only then is there a changelog to read at its next start.
    /// One whose broker was away may have had nothing but transactions that were aborted.
    pub(crate) async fn commits(&mut self, number: usize) -> anyhow::Result<()> {
        let before = self.instances[number].commits().await.unwrap_or(0.0);
        let deadline = self.clock.monotonic() + FAILPOINT_PATIENCE;
        // One without tasks does not commit.
        while self.clock.monotonic() < deadline {
            self.tend()?;
            if self.instances[number].commits().await.is_ok_and(|now| now > before) {
                break;
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// The tasks of which a restore makes tables and that come back to this instance after a crash: nobody else has state of them.
    fn alone(&self, number: usize) -> anyhow::Result<BTreeSet<TaskId>> {
        let has_tables = |task: &TaskId| {
            let mut stores = self.topology.sub_topologies[task.sub_topology as usize].stores.iter();
            stores.any(|store| &*store.name == ledger::COUNTS)
        };
        let tasks = |instance: &Instance| disk::tasks(instance.state_dir(), &self.topology);
        let mut alone = tasks(&self.instances[number])?;
        alone.retain(has_tables);
        for (_, other) in self.instances.iter().enumerate().filter(|(other, _)| *other != number) {
            let others = tasks(other)?;
            alone.retain(|task| !others.contains(task));
        }
        Ok(alone)
    }

    /// The first instance from this one on that has something [`alone`](Self::alone).
    pub(crate) fn first_with_tables(&self, from: usize) -> anyhow::Result<Option<usize>> {
        let count = self.instances.len();
        for number in (from..from + count).map(|number| number % count) {
            if !self.alone(number)?.is_empty() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Deletes the folder of a task that an instance has [`alone`](Self::alone).
    pub(crate) fn lose_tables(&mut self, number: usize, rng: &mut Rng) -> anyhow::Result<()> {
        let alone = self.alone(number)?;
        let state_dir = self.instances[number].state_dir();
        if let Some(task) = disk::lose_task(state_dir, &self.topology, rng, |task| alone.contains(&task))? {
            self.lost(number, task);
        }
        Ok(())
    }

    /// Compares all rows on the disks of all instances, which are stopped, with the changelogs; says how many there are.
    pub(crate) fn check_rows(&self, guarantee: Guarantee) -> anyhow::Result<usize> {
        let changelogs = Changelogs::read(&*self.log, &self.topology, self.partitions)?;
        let mut rows = 0;
        for instance in &self.instances {
            rows += changelogs.check(instance.state_dir(), &self.topology, guarantee)?;
        }
        Ok(rows)
    }

    /// Changes bytes in the tables of an instance.
    pub(crate) fn corrupt(&mut self, number: usize, rng: &mut Rng) -> anyhow::Result<usize> {
        let tables = disk::corrupt(self.instances[number].state_dir(), &self.topology, rng)?;
        self.damaged(number);
        Ok(tables)
    }
}
