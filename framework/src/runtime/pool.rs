//! The worker threads of an instance, and which of them runs which task.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Command, Giver, Report, Shared, Taker,
    threads::{LONG, Thread, Turns, receive},
    worker::Worker,
};
use crate::{
    log::{Epoch, LogError},
    state::{Role, TaskId},
};

/// A worker whose panics are told.
struct Guarded {
    index: usize,
    worker: Worker,
    reports: Sender<Report>,
}

/// Commands that may wait for a worker. The control thread waits when a worker is so far behind.
const COMMANDS: usize = 1024;
/// Reports that may wait for the control thread.
const REPORTS: usize = 4096;
/// How long the workers may take to commit and close at the end.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The worker threads.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<(Sender<Command>, Box<dyn Thread>)>,
    reports: Receiver<Report>,
    reporter: Sender<Report>,
    placed: BTreeMap<TaskId, usize>,
    /// Where tasks ran that ended by themselves: they are tried again there, on the worker that knows of their failure.
    ended: BTreeMap<TaskId, usize>,
    /// Workers that have not yet confirmed to have dropped everything.
    dropping: BTreeSet<usize>,
}

// === impl Workers ===

impl Workers {
    /// Opens all clients and starts the threads.
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Self, LogError> {
        let (report, reports) = bounded(REPORTS);
        let mut threads = Vec::new();
        for index in 0..shared.settings.threads {
            let (command, commands) = bounded(COMMANDS);
            let (of_worker, report, panics) = (Arc::clone(shared), report.clone(), report.clone());
            let (opened, open) = bounded(1);
            let make = move || {
                let opening = Worker::open(index, of_worker, commands, report);
                let (worker, result) = match opening {
                    Ok(worker) => (Some(Guarded { index, worker, reports: panics }), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                let _ = opened.send(result);
                worker.map(|worker| Box::new(worker) as _)
            };
            let thread = shared
                .threads
                .run(format!("millpond-worker-{index}"), Box::new(make))
                .map_err(|error| LogError::Fatal { reason: format!("cannot start worker thread {index}: {error}") })?;
            receive(&*shared.clock, &open, LONG)
                .map_err(|_| LogError::Fatal { reason: format!("worker thread {index} ended at its start") })??;
            threads.push((command, thread));
        }
        Ok(Self {
            shared: Arc::clone(shared),
            threads,
            reports,
            reporter: report,
            placed: BTreeMap::new(),
            ended: BTreeMap::new(),
            dropping: BTreeSet::new(),
        })
    }

    /// Where reports arrive.
    pub(crate) fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Where reports go, of the follower too.
    pub(crate) fn reporter(&self) -> Sender<Report> {
        self.reporter.clone()
    }

    /// Starts a task on the worker with the fewest; with its open stores, if it was followed here.
    pub(crate) fn start_task(&mut self, task: TaskId, epoch: Epoch, stores: Option<Taker>) {
        let mut load = vec![0_usize; self.threads.len()];
        self.placed.values().for_each(|worker| load[*worker] += 1);
        let worker = match self.placed.get(&task).or(self.ended.get(&task)) {
            Some(worker) => *worker,
            None => (0..load.len()).min_by_key(|worker| load[*worker]).unwrap_or(0),
        };
        self.placed.insert(task, worker);
        self.send(worker, Command::Start { task, epoch, stores });
    }

    /// Commits a task, and closes it or gives its stores to the follower.
    pub(crate) fn release_task(&mut self, task: TaskId, follow: Option<(Role, Giver)>) {
        match self.placed.remove(&task) {
            Some(worker) => self.send(worker, Command::Release { task, follow }),
            None => tracing::debug!(%task, "asked to release a task that is not here"),
        }
    }

    /// Closes all tasks without a commit; [`Workers::dropped`] is told of each that has.
    pub(crate) fn drop_all(&mut self) {
        self.placed.clear();
        self.dropping = (0..self.threads.len()).collect();
        self.tell_all(&Command::DropAll);
    }

    /// A worker has dropped everything.
    pub(crate) fn dropped(&mut self, worker: usize) {
        self.dropping.remove(&worker);
    }

    /// Whether any has yet to drop everything.
    pub(crate) fn is_dropping(&self) -> bool {
        !self.dropping.is_empty()
    }

    /// Gives all workers the epoch to commit under.
    pub(crate) fn set_epoch(&mut self, epoch: &Epoch) {
        self.tell_all(&Command::Epoch(epoch.clone()));
    }

    /// A task ended by itself.
    pub(crate) fn forget(&mut self, task: TaskId) {
        if let Some(worker) = self.placed.remove(&task) {
            self.ended.insert(task, worker);
        }
    }

    /// Whether every worker made progress within `interval`.
    pub(crate) fn are_alive(&self, interval: Duration) -> bool {
        let now = self.shared.clock.monotonic().as_millis() as u64;
        let oldest = self.shared.progress.iter().map(|progress| progress.load(Ordering::Relaxed)).min();
        oldest.is_none_or(|oldest| now.saturating_sub(oldest) <= interval.as_millis() as u64)
    }

    /// Tells all workers to commit, close and end. [`Workers::join`] waits for them.
    pub(crate) fn stop(&mut self) {
        self.placed.clear();
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.tell_all(&Command::Stop);
    }

    /// Waits for the threads to end; one that is stuck in user code is left behind.
    pub(crate) fn join(self) {
        let deadline = self.shared.clock.monotonic() + JOIN_DEADLINE;
        for (worker, (commands, thread)) in self.threads.into_iter().enumerate() {
            drop(commands);
            while !thread.is_finished() && self.shared.clock.monotonic() < deadline {
                self.shared.clock.sleep(LOOK_AGAIN);
            }
            if !thread.is_finished() {
                tracing::error!(worker, "the worker is stuck and was left behind");
            } else if !thread.join() {
                tracing::error!(worker, "the worker thread panicked");
            }
        }
    }

    fn tell_all(&self, command: &Command) {
        (0..self.threads.len()).for_each(|worker| self.send(worker, command.clone()));
    }

    fn send(&self, worker: usize, command: Command) {
        if self.threads[worker].0.send(command).is_err() {
            tracing::warn!(worker, "the worker has ended");
        }
    }
}

// === impl Guarded ===

impl Turns for Guarded {
    fn turn(&mut self, patience: Duration) -> bool {
        let Self { index, worker, reports } = self;
        catch_unwind(AssertUnwindSafe(|| worker.turn(patience))).unwrap_or_else(|_| {
            let error = "a node of the topology panicked; the message is on standard error".to_owned();
            let _ = reports.send(Report::WorkerFailed { worker: *index, error });
            false
        })
    }
}
