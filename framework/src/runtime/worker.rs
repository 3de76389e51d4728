//! A worker thread: it owns its tasks, reads for them, runs them, commits them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{
    Command, Report, Shared,
    production::Production,
    restore::Restore,
    task::{IDLE_WAIT, Task},
};
use crate::{
    log::{Epoch, Isolation, LogError, ReadFrom, Reader, ReaderEvent, TopicPartition},
    processor::{Context, ProcessError},
    state::{StateError, StoreId, TaskId, TaskStores},
};

/// Records per fetch.
const FETCH_RECORDS: usize = 4096;
/// How long a committed position may take to be read.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// After so many failed commits in a row the worker gives up.
const FAILED_COMMITS: u32 = 20;
/// How long to wait before the first new try when the log is away, and the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// One worker thread's state.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    reader: Box<dyn Reader>,
    restorer: Box<dyn Reader>,
    /// Asked for the ends of changelogs; reads nothing.
    watermarks: Box<dyn Reader>,
    production: Rc<RefCell<Production>>,
    /// The epoch that commits are fenced by; `None` until the cluster gives one.
    epoch: Option<Epoch>,
    tasks: BTreeMap<TaskId, Slot>,
    /// Tasks that failed here and have not committed or caught up since.
    failed: BTreeSet<TaskId>,
    /// Tasks that could not begin because the log was away, and when to try again.
    waiting: BTreeMap<TaskId, Duration>,
    /// When to ask next for committed positions, after that failed.
    next_run: Duration,
    /// Commits that failed in a row.
    failed_commits: u32,
    /// Which queue of which task reads a partition.
    sources: HashMap<TopicPartition, (TaskId, usize)>,
    next_commit: Duration,
    /// The last look at the changelogs brought nothing.
    restore_is_idle: bool,
}

enum Slot {
    Restoring(Box<Restoring>),
    Running(Box<Task>),
}

/// A task whose stores are being brought up to date.
struct Restoring {
    stores: TaskStores,
    restore: Restore,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Committed {
    /// All that was done is final.
    Everything,
    /// It has to wait for the cluster to confirm the epoch.
    Later,
}

/// Why a worker cannot go on as it is.
#[derive(Debug)]
enum Trouble {
    /// A task cannot go on; the others can, from their last commit.
    Task(TaskId, ProcessError),
    /// The transaction is lost; all tasks go back to their last commit.
    Rewind(LogError),
    /// A client is of no further use; all tasks go back to their last commit with new ones.
    Clients(LogError),
    /// All tasks are dropped, and the new producer is not there yet.
    Dropping(LogError),
    /// Commits fail for good: the instance stops.
    Stop(LogError),
    /// Local state cannot be written: the instance stops.
    State(StateError),
}

// === impl Worker ===

impl Worker {
    /// Opens the clients of a worker.
    pub(crate) fn open(
        index: usize,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        reports: Sender<Report>,
    ) -> Result<Self, LogError> {
        let isolation = shared.settings.isolation();
        let production = Self::open_production(&shared, index)?;
        Ok(Self {
            index,
            reader: shared.log.reader(isolation)?,
            restorer: shared.log.reader(isolation)?,
            watermarks: shared.log.reader(Isolation::ReadUncommitted)?,
            production: Rc::new(RefCell::new(production)),
            epoch: None,
            tasks: BTreeMap::new(),
            failed: BTreeSet::new(),
            waiting: BTreeMap::new(),
            next_run: Duration::ZERO,
            failed_commits: 0,
            sources: HashMap::new(),
            next_commit: shared.clock.monotonic() + shared.settings.commit_interval,
            restore_is_idle: false,
            shared,
            commands,
            reports,
        })
    }

    fn open_production(shared: &Shared, index: usize) -> Result<Production, LogError> {
        Production::open(
            &*shared.log,
            shared.settings.guarantee,
            &shared.transactional_id(index),
            shared.settings.transaction_timeout,
            Arc::clone(&shared.partitions),
        )
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(trouble) => {
                    if let Err(error) = self.recover(trouble) {
                        tracing::error!(worker = self.index, %error, "the worker stops");
                        let _ =
                            self.reports.send(Report::WorkerFailed { worker: self.index, error: error.to_string() });
                        return;
                    }
                }
            }
        }
    }

    /// One turn of the loop; `false` when it was told to stop.
    fn turn(&mut self) -> Result<bool, Trouble> {
        self.mark_progress();
        // Without a task there is nothing to read: the wait is for what comes from the control thread.
        let mut wait = if self.tasks.is_empty() { IDLE_WAIT } else { Duration::ZERO };
        loop {
            match self.commands.recv_timeout(wait) {
                Ok(command) => {
                    if !self.obey(command)? {
                        return Ok(false);
                    }
                    wait = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) => break,
                // Nobody is left to say so.
                Err(RecvTimeoutError::Disconnected) => {
                    self.stop()?;
                    return Ok(false);
                }
            }
        }
        self.restore()?;
        let started = self.shared.clock.monotonic();
        // What cannot be committed yet must not grow without a bound: full queues then pause fetching.
        let full = self.uncommitted_bytes() > self.shared.settings.uncommitted_bytes;
        let more = !full && self.process()?;
        let now = self.shared.clock.monotonic();
        if now >= self.next_commit || (!full && self.uncommitted_bytes() > self.shared.settings.uncommitted_bytes) {
            self.commit()?;
        }
        let busy = (self.shared.clock.monotonic() - started).as_secs_f64();
        self.shared.metrics.worker_busy.with_label_values(&[&self.index.to_string()]).inc_by(busy);
        let restoring = self.is_restoring() && !self.restore_is_idle;
        self.fetch(if more || restoring { Duration::ZERO } else { self.wait(now) })?;
        Ok(true)
    }

    fn uncommitted_bytes(&self) -> usize {
        self.running().map(Task::uncommitted_bytes).sum()
    }

    fn mark_progress(&self) {
        self.shared.mark_progress(self.index);
    }

    fn wait(&self, now: Duration) -> Duration {
        self.next_commit.saturating_sub(now).clamp(Duration::from_millis(1), IDLE_WAIT)
    }

    // --- what it is told ---

    /// Carries a command out; `false` when it was the last.
    fn obey(&mut self, command: Command) -> Result<bool, Trouble> {
        match command {
            Command::Start { task, epoch } => {
                self.epoch = Some(epoch);
                if !self.tasks.contains_key(&task) {
                    let opened = self.open_task(task);
                    self.began(task, opened)?;
                }
            }
            Command::Release { task } => {
                self.commit_last();
                let offsets = self.close_task(task)?;
                self.report(Report::Released { task, offsets });
            }
            Command::DropAll => self.drop_all()?,
            Command::Epoch(epoch) => self.epoch = Some(epoch),
            Command::Stop => {
                self.stop()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits and closes everything.
    fn stop(&mut self) -> Result<(), Trouble> {
        self.commit_last();
        let tasks: Vec<_> = self.tasks.keys().copied().collect();
        for task in tasks {
            let offsets = self.close_task(task)?;
            self.report(Report::Released { task, offsets });
        }
        Ok(())
    }

    /// The commit before something is given away. If there is none now, all goes back to the last one: nothing of what is given away may
    /// stay in the open transaction, since its next owner does it again.
    fn commit_last(&mut self) {
        let result = match self.commit() {
            Ok(Committed::Everything) => return,
            Ok(Committed::Later) => self.rewind(),
            Err(trouble) => {
                tracing::warn!(
                    worker = self.index,
                    ?trouble,
                    "a last commit failed; the next owner does again what it held"
                );
                self.rewind()
            }
        };
        if let Err(trouble) = result {
            tracing::warn!(worker = self.index, ?trouble, "the transaction was not aborted; a new producer ends it");
            if let Err(error) = self.recover(trouble) {
                tracing::warn!(worker = self.index, %error, "the worker could not go back to its last commit");
            }
        }
    }

    fn drop_all(&mut self) -> Result<(), Trouble> {
        self.epoch = None;
        self.waiting.clear();
        let tasks: Vec<_> = self.tasks.keys().copied().collect();
        for task in tasks {
            self.close_task(task)?;
        }
        let production = Self::open_production(&self.shared, self.index);
        *self.production.borrow_mut() = production.map_err(Trouble::Dropping)?;
        self.report(Report::AllDropped { worker: self.index });
        Ok(())
    }

    fn report(&self, report: Report) {
        // The receiver is the control thread, which outlives the workers but for the very end.
        let _ = self.reports.send(report);
    }

    // --- the life of a task ---

    fn open_task(&mut self, id: TaskId) -> Result<(), ProcessError> {
        let (metrics, name) = (&self.shared.metrics, id.to_string());
        // From 0 on: a counter that appears with its first increment has no rate.
        for counter in [&metrics.task_records, &metrics.task_errors, &metrics.restore_records] {
            counter.with_label_values(&[&name]).inc_by(0);
        }
        let specs = Arc::clone(&self.shared.sub_topology(id).stores);
        let stores = TaskStores::open(&self.shared.state, id, specs)?;
        self.begin_restore(id, stores)
    }

    fn begin_restore(&mut self, id: TaskId, stores: TaskStores) -> Result<(), ProcessError> {
        let sub_topology = self.shared.sub_topology(id);
        let restore =
            Restore::begin(&stores, &sub_topology.stores, id.partition, &mut *self.restorer, &mut *self.watermarks)?;
        self.shared.hosted.restoring(id, stores.view());
        if !restore.is_done() {
            tracing::info!(task = %id, records = restore.remaining(), "restore begins");
            self.report(Report::Restoring { task: id });
        }
        self.tasks.insert(id, Slot::Restoring(Box::new(Restoring { stores, restore })));
        Ok(())
    }

    /// A task that could not begin because the log is away is tried again; one that cannot begin at all has failed.
    fn began(&mut self, id: TaskId, result: Result<(), ProcessError>) -> Result<(), Trouble> {
        match result {
            Ok(()) => Ok(()),
            Err(ProcessError::Log(error)) if error.is_retriable() => {
                self.shared.hosted.remove(id);
                self.report(Report::LogUnavailable { reason: error.to_string() });
                self.waiting.insert(id, self.shared.clock.monotonic() + LAST_RETRY);
                Ok(())
            }
            Err(error) => self.fail_task(id, &error),
        }
    }

    /// Tries again the tasks that could not begin.
    fn begin_waiting(&mut self) -> Result<(), Trouble> {
        let now = self.shared.clock.monotonic();
        let due: Vec<_> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.waiting.remove(&id);
            self.mark_progress();
            let opened = self.open_task(id);
            self.began(id, opened)?;
        }
        Ok(())
    }

    fn is_restoring(&self) -> bool {
        self.tasks.values().any(|slot| matches!(slot, Slot::Restoring(_)))
    }

    /// One step of all restores; tasks that are whole begin to run.
    fn restore(&mut self) -> Result<(), Trouble> {
        self.begin_waiting()?;
        if !self.is_restoring() {
            return Ok(());
        }
        // While no task runs there is nothing else to wait for.
        let timeout = if self.running().next().is_some() { Duration::ZERO } else { IDLE_WAIT };
        let fetched = self.restorer.poll(FETCH_RECORDS, timeout).map_err(Trouble::Clients)?;
        self.restore_is_idle = fetched.batches.is_empty();
        for batch in &fetched.batches {
            for (id, slot) in &mut self.tasks {
                if let Slot::Restoring(restoring) = slot
                    && restoring.restore.wants(batch.source())
                {
                    let Restoring { stores, restore } = &mut **restoring;
                    restore.apply(stores, batch).map_err(Trouble::State)?;
                    let restored = self.shared.metrics.restore_records.with_label_values(&[&id.to_string()]);
                    restored.inc_by(batch.len() as u64);
                }
            }
        }
        for event in fetched.events {
            self.restore_event(event)?;
        }
        let mut whole = Vec::new();
        for (id, slot) in &mut self.tasks {
            if let Slot::Restoring(restoring) = slot {
                let restore = &mut restoring.restore;
                restore.settle(&mut *self.restorer).map_err(Trouble::Clients)?;
                let task = id.to_string();
                self.shared.metrics.restore_remaining.with_label_values(&[&task]).set(restore.remaining());
                if restore.is_done() {
                    whole.push(*id);
                }
            }
        }
        let now = self.shared.clock.monotonic();
        if whole.is_empty() || now < self.next_run {
            return Ok(());
        }
        let inputs: Vec<_> = whole.iter().map(|id| self.shared.inputs(*id)).collect();
        let partitions: Vec<_> = inputs.iter().flatten().map(|(_, partition)| partition.clone()).collect();
        let committed = match self.shared.group.committed(&partitions, COMMITTED_TIMEOUT) {
            Ok(committed) => committed,
            // The others go on meanwhile.
            Err(error) if error.is_retriable() => {
                self.report(Report::LogUnavailable { reason: error.to_string() });
                self.next_run = self.shared.clock.monotonic() + LAST_RETRY;
                return Ok(());
            }
            Err(error) => {
                return whole.iter().try_for_each(|id| self.fail_task(*id, &ProcessError::Log(error.clone())));
            }
        };
        let mut committed = committed.into_iter();
        for (id, inputs) in whole.into_iter().zip(inputs) {
            let inputs = inputs.into_iter().zip(committed.by_ref()).collect();
            match self.begin_run(id, inputs) {
                Ok(()) => {}
                Err(error) if error.is_retriable() => return Err(Trouble::Rewind(error)),
                Err(error) => self.fail_task(id, &ProcessError::Log(error))?,
            }
        }
        Ok(())
    }

    fn restore_event(&mut self, event: ReaderEvent) -> Result<(), Trouble> {
        match event {
            ReaderEvent::EndReached { partition, next_offset } => {
                for slot in self.tasks.values_mut() {
                    if let Slot::Restoring(restoring) = slot {
                        restoring.restore.reached_end(&partition, next_offset);
                    }
                }
                Ok(())
            }
            ReaderEvent::OutOfRange { partition, offset } => {
                let owner = self.tasks.iter().find_map(|(id, slot)| match slot {
                    Slot::Restoring(restoring) if restoring.restore.wants(&partition) => Some(*id),
                    _ => None,
                });
                match owner {
                    Some(id) => self.fail_task(id, &ProcessError::Log(out_of_range(&partition, offset, "changelog"))),
                    None => Ok(()),
                }
            }
            ReaderEvent::Unavailable { reason } => {
                self.report(Report::LogUnavailable { reason });
                Ok(())
            }
        }
    }

    /// The stores are whole: process from the committed positions.
    fn begin_run(&mut self, id: TaskId, from: Vec<((usize, TopicPartition), Option<i64>)>) -> Result<(), LogError> {
        let mut inputs = Vec::with_capacity(from.len());
        for ((source, partition), committed) in from {
            let position = match committed {
                Some(offset) => offset,
                None => self.reader.beginning_offset(&partition)?,
            };
            inputs.push((source, partition, position));
        }
        for (index, (_, partition, position)) in inputs.iter().enumerate() {
            self.reader.assign(partition, ReadFrom::Offset(*position))?;
            self.sources.insert(partition.clone(), (id, index));
        }
        let sub_topology = self.shared.sub_topology(id);
        let processors = self.shared.topology.instantiate(id.sub_topology);
        let processors = processors.expect("the control thread starts only tasks of this topology");
        let Some(Slot::Restoring(restoring)) = self.tasks.remove(&id) else { return Ok(()) };
        let Restoring { stores, restore } = *restoring;
        if restore.restored() > 0 {
            tracing::info!(task = %id, records = restore.restored(), "restored");
        }
        tracing::info!(task = %id, "running");
        self.shared.hosted.running(id, stores.view());
        let offsets = stores.committed().changelog_offsets.clone();
        let context = Context::new(id, stores, Arc::clone(&self.shared.globals), self.production.clone());
        let task = Task::new(id, sub_topology, processors, context, inputs);
        self.tasks.insert(id, Slot::Running(Box::new(task)));
        self.report(Report::Running { task: id, offsets });
        Ok(())
    }

    /// Takes a task off the readers and closes its stores, what is not committed is lost. Says where they stand.
    fn close_task(&mut self, id: TaskId) -> Result<BTreeMap<StoreId, i64>, Trouble> {
        self.shared.hosted.remove(id);
        self.waiting.remove(&id);
        let Some(stores) = self.detach(id) else { return Ok(BTreeMap::new()) };
        let (metrics, name) = (&self.shared.metrics, id.to_string());
        for gauges in [&metrics.restore_remaining, &metrics.task_input_lag, &metrics.state_uncommitted_bytes] {
            let _ = gauges.remove_label_values(&[&name]);
        }
        let offsets = stores.committed().changelog_offsets.clone();
        stores.close().map_err(Trouble::State)?;
        Ok(offsets)
    }

    /// Takes a task off the readers. If a reader does not let go of a partition, its records find no task.
    fn detach(&mut self, id: TaskId) -> Option<TaskStores> {
        let (stores, result) = match self.tasks.remove(&id)? {
            Slot::Restoring(restoring) => (restoring.stores, restoring.restore.cancel(&mut *self.restorer)),
            Slot::Running(task) => {
                let mut result = Ok(());
                for queue in task.queues() {
                    self.sources.remove(queue.partition());
                    result = result.and(self.reader.unassign(queue.partition()));
                }
                (task.into_stores(), result)
            }
        };
        if let Err(error) = result {
            tracing::warn!(task = %id, %error, "a reader did not let go of a partition");
        }
        Some(stores)
    }

    fn fail_task(&mut self, id: TaskId, error: &ProcessError) -> Result<(), Trouble> {
        let error = with_causes(error);
        tracing::error!(task = %id, error, "the task stops; nothing of the record that caused it was committed");
        self.shared.metrics.task_errors.with_label_values(&[&id.to_string()]).inc();
        self.close_task(id)?;
        self.failed.insert(id);
        self.report(Report::Failed { task: id, error });
        Ok(())
    }

    // --- records ---

    fn running(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter_map(|slot| match slot {
            Slot::Running(task) => Some(&**task),
            Slot::Restoring(_) => None,
        })
    }

    fn fetch(&mut self, timeout: Duration) -> Result<(), Trouble> {
        if self.sources.is_empty() {
            return Ok(());
        }
        let fetched = self.reader.poll(FETCH_RECORDS, timeout).map_err(Trouble::Clients)?;
        let limit = self.shared.settings.buffered_records;
        for batch in fetched.batches {
            if let Some((id, index)) = self.sources.get(batch.source())
                && let Some(Slot::Running(task)) = self.tasks.get_mut(id)
            {
                task.push(*index, batch);
                let queue = task.queue_mut(*index);
                if queue.len() > limit && !queue.paused {
                    queue.paused = true;
                    self.reader.pause(queue.partition()).map_err(Trouble::Rewind)?;
                }
            }
        }
        for event in fetched.events {
            match event {
                ReaderEvent::EndReached { partition, next_offset } => {
                    if let Some((id, index)) = self.sources.get(&partition)
                        && let Some(Slot::Running(task)) = self.tasks.get_mut(id)
                    {
                        task.queue_mut(*index).reached_end(next_offset);
                    }
                }
                ReaderEvent::OutOfRange { partition, offset } => {
                    if let Some((id, _)) = self.sources.get(&partition) {
                        let id = *id;
                        self.rewind()?;
                        self.fail_task(id, &ProcessError::Log(out_of_range(&partition, offset, "input")))?;
                    }
                }
                ReaderEvent::Unavailable { reason } => self.report(Report::LogUnavailable { reason }),
            }
        }
        Ok(())
    }

    /// Lets every task process a bounded number of records; `true` if any has more at hand.
    fn process(&mut self) -> Result<bool, Trouble> {
        let resume_below = self.shared.settings.buffered_records / 2;
        let mut more = false;
        for (id, slot) in &mut self.tasks {
            let Slot::Running(task) = slot else { continue };
            let ran = task.run(&*self.shared.clock).map_err(|error| Trouble::of(*id, error))?;
            self.shared.mark_progress(self.index);
            if !self.failed.is_empty() && task.is_caught_up() && self.failed.remove(id) {
                let _ = self.reports.send(Report::Recovered { task: *id });
            }
            more |= ran.more;
            if ran.records > 0 {
                self.shared.metrics.task_records.with_label_values(&[&id.to_string()]).inc_by(ran.records);
            }
            for index in 0..task.queues().len() {
                let queue = task.queue_mut(index);
                if queue.paused && queue.len() < resume_below {
                    queue.paused = false;
                    self.reader.resume(queue.partition()).map_err(Trouble::Rewind)?;
                }
            }
        }
        self.production.borrow_mut().serve();
        Ok(more)
    }

    // --- commit ---

    /// Makes the work of all tasks final: changelogs and outputs, positions, then the local state.
    fn commit(&mut self) -> Result<Committed, Trouble> {
        let started = self.shared.clock.monotonic();
        self.next_commit = started + self.shared.settings.commit_interval;
        self.observe();
        let Some(epoch) = self.epoch.clone() else { return Ok(Committed::Later) };
        // A newer generation has come, and the cluster has not yet confirmed that the tasks stay: they go on, the commit waits.
        if self.shared.group.epoch().as_ref() != Some(&epoch) {
            return Ok(Committed::Later);
        }
        let (mut dirty, mut positions) = (BTreeSet::new(), Vec::new());
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && task.is_dirty()
            {
                task.write_changelogs(&self.production).map_err(|error| Trouble::of(*id, error))?;
                positions.extend(task.positions());
                dirty.insert(*id);
            }
        }
        if positions.is_empty() {
            return Ok(Committed::Everything);
        }
        let result = self.production.borrow_mut().commit(&positions, &*self.shared.group, &epoch);
        if let Err(error) = result {
            let outcome = if matches!(error, LogError::Abortable { .. }) { "aborted" } else { "failed" };
            self.shared.metrics.commits.with_label_values(&[outcome]).inc();
            self.failed_commits += 1;
            // The same work fails again and again, and not because the log is away: going on would hide it.
            if self.failed_commits >= FAILED_COMMITS && !error.is_retriable() {
                return Err(Trouble::Stop(error));
            }
            return Err(Trouble::from(error));
        }
        let production = self.production.borrow();
        for (id, slot) in &mut self.tasks {
            if let Slot::Running(task) = slot
                && dirty.contains(id)
            {
                task.committed(&production).map_err(|error| Trouble::of(*id, error))?;
            }
        }
        drop(production);
        for task in dirty {
            if self.failed.remove(&task) {
                self.report(Report::Recovered { task });
            }
        }
        self.failed_commits = 0;
        self.shared.metrics.commits.with_label_values(&["ok"]).inc();
        self.shared.metrics.commit_duration.observe((self.shared.clock.monotonic() - started).as_secs_f64());
        Ok(Committed::Everything)
    }

    /// Brings the gauges of the tasks up to date.
    fn observe(&mut self) {
        let metrics = &self.shared.metrics;
        for (id, slot) in &mut self.tasks {
            let Slot::Running(task) = slot else { continue };
            let name = id.to_string();
            let lag: i64 = task
                .queues()
                .iter()
                .filter_map(|queue| Some((self.reader.known_end(queue.partition())? - queue.position()).max(0)))
                .sum();
            metrics.task_input_lag.with_label_values(&[&name]).set(lag);
            metrics.task_stream_time.with_label_values(&[&name]).set(task.stream_time_ms());
            let uncommitted = i64::try_from(task.uncommitted_bytes()).unwrap_or(i64::MAX);
            metrics.state_uncommitted_bytes.with_label_values(&[&name]).set(uncommitted);
            task.count_dropped(metrics);
        }
    }

    // --- trouble ---

    /// Gets the worker going again; while the log is away it tries until the log is back.
    ///
    /// # Errors
    /// When local state cannot be used, the log refuses for good, or the instance stops while the log is away.
    fn recover(&mut self, mut trouble: Trouble) -> Result<(), ProcessError> {
        let mut wait = FIRST_RETRY;
        loop {
            let again = match trouble {
                Trouble::Task(id, error) => self.rewind().and_then(|()| self.fail_task(id, &error)),
                Trouble::Rewind(ref error) => {
                    tracing::warn!(worker = self.index, %error, "going back to the last commit");
                    std::thread::sleep(FIRST_RETRY);
                    self.rewind()
                }
                Trouble::Clients(ref error) => {
                    tracing::warn!(worker = self.index, %error, "going back to the last commit with new clients");
                    self.reopen()
                }
                Trouble::Dropping(_) => self.drop_all(),
                Trouble::State(error) => return Err(ProcessError::State(error)),
                Trouble::Stop(error) => return Err(ProcessError::Log(error)),
            };
            trouble = match again {
                Ok(()) => {
                    self.report(Report::LogReachable);
                    return Ok(());
                }
                // What could not be rewound needs new clients.
                Err(Trouble::Rewind(error)) => Trouble::Clients(error),
                Err(trouble) => trouble,
            };
            if let Trouble::Clients(error) | Trouble::Dropping(error) = &trouble {
                if !error.is_retriable()
                    && !matches!(error, LogError::Abortable { .. } | LogError::Fenced { .. } | LogError::Fatal { .. })
                {
                    return Err(ProcessError::Log(error.clone()));
                }
                if self.shared.stopping.load(Ordering::Relaxed) {
                    return Err(ProcessError::Log(error.clone()));
                }
                self.report(Report::LogUnavailable { reason: error.to_string() });
                // Waiting for the log is no lack of progress.
                self.mark_progress();
                std::thread::sleep(wait);
                wait = (wait * 2).min(LAST_RETRY);
            }
        }
    }

    /// New clients, then back to the last commit. `init` ends what the old producer left open.
    fn reopen(&mut self) -> Result<(), Trouble> {
        let isolation = self.shared.settings.isolation();
        let production = Self::open_production(&self.shared, self.index).map_err(Trouble::Clients)?;
        let reader = self.shared.log.reader(isolation).map_err(Trouble::Clients)?;
        let restorer = self.shared.log.reader(isolation).map_err(Trouble::Clients)?;
        let detached = self.detach_all();
        *self.production.borrow_mut() = production;
        (self.reader, self.restorer) = (reader, restorer);
        self.replay(detached)
    }

    /// Aborts what is open and takes every task back to its last commit.
    fn rewind(&mut self) -> Result<(), Trouble> {
        self.production.borrow_mut().abort().map_err(Trouble::Clients)?;
        let detached = self.detach_all();
        self.replay(detached)
    }

    fn detach_all(&mut self) -> Vec<(TaskId, TaskStores)> {
        let tasks: Vec<_> = self.tasks.keys().copied().collect();
        tasks.into_iter().filter_map(|id| Some((id, self.detach(id)?))).collect()
    }

    /// Every task starts again from its stores as committed, the tail of its changelogs and its committed positions: the
    /// one way that is right whatever is unknown about the last commit.
    fn replay(&mut self, detached: Vec<(TaskId, TaskStores)>) -> Result<(), Trouble> {
        for (id, stores) in detached {
            self.mark_progress();
            let began = self.begin_restore(id, stores);
            self.began(id, began)?;
        }
        Ok(())
    }
}

// === impl Trouble ===

impl Trouble {
    fn of(task: TaskId, error: ProcessError) -> Self {
        match error {
            ProcessError::Log(
                error @ (LogError::RecordRefused { .. } | LogError::UnknownTopic { .. } | LogError::Refused { .. }),
            ) => Self::Task(task, ProcessError::Log(error)),
            ProcessError::Log(error) => Self::from(error),
            ProcessError::State(error) => Self::State(error),
            error => Self::Task(task, error),
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Abortable { .. } => Self::Rewind(error),
            error => Self::Clients(error),
        }
    }
}

/// An error and its causes in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn out_of_range(partition: &TopicPartition, offset: i64, what: &str) -> LogError {
    LogError::Refused {
        what: format!("reading {what} {partition} from offset {offset}"),
        reason: "the log does not reach back (or up) to it: it was truncated, or the topic was made anew".into(),
    }
}
