//! A worker thread: it owns its tasks, reads for them, runs them, commits them.

mod committing;
mod failures;
mod leaving;
mod processing;
mod recovery;
mod resets;
mod restoring;
mod tasks;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::{
    committing::{InFlight, RENEW_POSITIONS},
    failures::Hunt,
    recovery::Trouble,
    resets::Resets,
};
use super::{
    Command, Report, Shared, Taker,
    failures::Failures,
    memory::MemoryShown,
    production::Production,
    restore::{ChangelogIds, Restore},
    task::{IDLE_WAIT, Task},
    threads::{Turns, receive_within},
};
use crate::{
    log::{Epoch, Isolation, LogError, Reader, TopicPartition},
    processor::with_causes,
    state::{TaskId, TaskStores},
};

/// Records per fetch.
const FETCH_RECORDS: usize = 4096;
/// How soon to look again for stores that are on their way.
const SOON: Duration = Duration::from_millis(1);
/// The longest time between two tries while the log is away.
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
    in_flight: Option<InFlight>,
    /// The epoch that commits are fenced by; `None` until the cluster gives one.
    epoch: Option<Epoch>,
    tasks: BTreeMap<TaskId, Slot>,
    /// Tasks that failed here and have not committed or caught up since.
    failed: BTreeSet<TaskId>,
    /// Tasks whose open stores are on their way here.
    awaiting: BTreeMap<TaskId, Taker>,
    /// Tasks that could not begin because the log was away, and when to try again.
    waiting: BTreeMap<TaskId, Duration>,
    /// When to ask next for committed positions, after that failed.
    next_run: Duration,
    /// Tasks among which one has written a record that the log refuses. They go on one at a time, the first first.
    suspects: BTreeSet<TaskId>,
    /// The ids of all changelogs, once they were asked for in this turn: tasks of one assignment begin together.
    changelog_ids: Option<Arc<ChangelogIds>>,
    /// Where tasks began without a position, until that is committed.
    resets: Resets,
    /// What is known of records that failed, until it is committed.
    failures: FailuresByTask,
    /// The search for a record that the log refuses.
    hunt: Option<Hunt>,
    /// Where the metadata topic ended when the producer was initialised last: nothing goes on before the control thread has read so far.
    /// It may say that this instance was evicted, and the producer fenced for that.
    barrier: i64,
    /// Commits that failed in a row.
    failed_commits: u32,
    /// Since when, if any did.
    failing_since: Duration,
    /// Which queue of which task reads a partition.
    sources: HashMap<TopicPartition, (TaskId, usize)>,
    next_commit: Duration,
    /// When all positions are committed again, moved or not.
    next_renewal: Duration,
    /// The last look at the changelogs brought nothing.
    restore_is_idle: bool,
    memory: MemoryShown,
}

type FailuresByTask = BTreeMap<TaskId, Failures>;

enum Slot {
    Restoring(Box<Restoring>),
    Running(Box<Task>),
}

/// A task whose stores are being brought up to date.
struct Restoring {
    stores: TaskStores,
    restore: Restore,
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
            in_flight: None,
            epoch: None,
            tasks: BTreeMap::new(),
            failed: BTreeSet::new(),
            awaiting: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_run: Duration::ZERO,
            suspects: BTreeSet::new(),
            changelog_ids: None,
            resets: Resets::default(),
            failures: BTreeMap::new(),
            hunt: None,
            barrier: 0,
            failed_commits: 0,
            failing_since: Duration::ZERO,
            sources: HashMap::new(),
            next_commit: shared.clock.monotonic() + shared.settings.commit_interval,
            next_renewal: shared.clock.monotonic() + RENEW_POSITIONS,
            restore_is_idle: false,
            memory: MemoryShown::new(&shared.metrics),
            shared,
            commands,
            reports,
        })
    }

    fn open_production(shared: &Shared, index: usize) -> Result<Production, LogError> {
        Production::open(
            &*shared.log,
            index,
            shared.settings.guarantee,
            &shared.transactional_id(index),
            shared.settings.transaction_timeout,
            Arc::clone(&shared.partitions),
            (&*shared.threads, &shared.clock),
        )
    }

    /// One step of the loop; `false` when it was told to stop.
    fn step(&mut self, patience: Duration) -> Result<bool, Trouble> {
        let idle = if self.awaiting.is_empty() { IDLE_WAIT } else { SOON }.min(patience);
        self.mark_progress();
        self.changelog_ids = None;
        // Before the commands are looked at: what follows from the topic is among them.
        let metadata_read = self.shared.metadata_read.load(Ordering::Acquire);
        // Without a task there is nothing to read: the wait is for what comes from the control thread.
        let mut wait = if self.tasks.is_empty() || metadata_read < self.barrier { idle } else { Duration::ZERO };
        loop {
            match receive_within(&self.commands, wait) {
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
        // After them: giving a task away may have taken a new producer.
        if metadata_read < self.barrier {
            return Ok(true);
        }
        self.restore(idle)?;
        let started = self.shared.clock.monotonic();
        // What cannot be committed yet must not grow without a bound: full queues then pause fetching.
        let more = !self.is_full() && self.process()?;
        let now = self.shared.clock.monotonic();
        if self.in_flight.is_none() && (now >= self.next_commit || self.is_full()) {
            self.begin_commit()?;
        }
        let busy = (self.shared.clock.monotonic() - started).as_secs_f64();
        self.shared.metrics.worker_busy.with_label_values(&[&self.index.to_string()]).inc_by(busy);
        let restoring = self.is_restoring() && !self.restore_is_idle;
        // Restores go first: who asks for their state is waiting.
        let more = (!self.is_restoring() && self.warm_up()?) || more;
        let mut wait = if more || restoring { Duration::ZERO } else { self.wait(now).min(idle) };
        if self.resume_commit()? {
            // Without room, or without records, there is nothing else to wait for.
            self.settle(if self.is_full() { idle } else { wait })?;
            wait = Duration::ZERO;
        }
        if !self.suspects.is_empty() {
            // One at a time: nothing of the next may be in the transaction.
            self.settle_wholly()?;
        }
        self.fetch(wait)?;
        Ok(true)
    }

    /// Whether there is no room for more that is not committed.
    fn is_full(&self) -> bool {
        self.uncommitted_bytes() > self.shared.settings.memory.uncommitted
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
            Command::Start { task, epoch, stores } => {
                self.epoch = Some(epoch);
                self.awaiting.remove(&task);
                match stores {
                    _ if self.tasks.contains_key(&task) => {}
                    Some(stores) => drop(self.awaiting.insert(task, stores)),
                    None => {
                        let opened = self.open_task(task);
                        self.began(task, opened)?;
                    }
                }
            }
            Command::Release { task, follow } => {
                self.commit_last();
                match follow {
                    Some((role, to)) => self.demote_task(task, role, to)?,
                    None => {
                        let offsets = self.close_task(task)?;
                        self.report(Report::Released { task, offsets });
                    }
                }
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

    fn drop_all(&mut self) -> Result<(), Trouble> {
        self.end_commit()?;
        self.epoch = None;
        self.awaiting.clear();
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
}

impl Turns for Worker {
    fn turn(&mut self, patience: Duration) -> bool {
        let ended = match self.step(patience) {
            Ok(goes_on) => return goes_on,
            Err(trouble) => self.recover(trouble),
        };
        if let Err(error) = &ended {
            let error = with_causes(error);
            tracing::error!(worker = self.index, error, "the worker stops");
            self.report(Report::WorkerFailed { worker: self.index, error });
        }
        ended.is_ok()
    }
}
