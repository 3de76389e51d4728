//! Calls of the leader that take long, on a thread of their own: the control thread goes on polling the membership.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    application::{Application, PrepareError},
    status::Status,
    topics::TopicsError,
};
use crate::{
    cluster::{Event, InstanceId, PlanTask},
    log::{Group, Log, LogError, TopicPartition},
    runtime::{Thread, Threads, Turns, receive_within},
};

/// Calls and answers that may wait. The coordinator has at most a few under way for each member.
const WAITING: usize = 1024;
/// How long the log may take to answer before it counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long fencing one id may take.
const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// A call; its answer is an [`Event`].
#[derive(Debug)]
pub(super) enum Call {
    /// Who is a member of the group?
    Members { generation: i32 },
    /// Create and check the topics; which tasks are there?
    Topics { generation: i32 },
    /// Does the log answer? The answer goes to the status.
    Probe,
    /// Delete the records below these positions; there is no answer.
    Purge { processed: Vec<(TopicPartition, i64)> },
    /// Fence transactional ids.
    Fence { generation: i32, instance_id: InstanceId, transactional_ids: Vec<String> },
}

/// The thread.
#[derive(Debug)]
pub(super) struct LeaderCalls {
    calls: Sender<Call>,
    answers: Receiver<Event>,
    thread: Box<dyn Thread>,
}

/// What the thread runs.
struct Calling {
    calls: Receiver<Call>,
    answers: Sender<Event>,
    application: Arc<Application>,
    tasks: Vec<PlanTask>,
    group: Arc<dyn Group>,
    status: Arc<Status>,
}

// === impl LeaderCalls ===

impl LeaderCalls {
    /// Starts the thread. `tasks` are those that the topics made when this instance started.
    pub(super) fn start(
        threads: &dyn Threads,
        application: Arc<Application>,
        tasks: Vec<PlanTask>,
        group: Arc<dyn Group>,
        status: Arc<Status>,
    ) -> Result<Self, LogError> {
        let (calls, to_make) = bounded::<Call>(WAITING);
        let (answer, answers) = bounded(WAITING);
        let calling = Calling { calls: to_make, answers: answer, application, tasks, group, status };
        let thread = threads
            .run("millpond-leader".into(), Box::new(move || Some(Box::new(calling) as _)))
            .map_err(|error| LogError::Fatal { reason: format!("cannot start the leader's thread: {error}") })?;
        Ok(Self { calls, answers, thread })
    }

    /// Makes a call. One that finds no place is left out: the coordinator asks again.
    pub(super) fn make(&self, call: Call) {
        if let Err(error) = self.calls.try_send(call) {
            tracing::warn!(%error, "a call of the leader was left out");
        }
    }

    /// Asks whether the log answers, unless there is something to do: that shows it too.
    pub(super) fn probe(&self) {
        if self.calls.is_empty() {
            self.make(Call::Probe);
        }
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Event> {
        self.answers.try_recv().ok()
    }

    pub(super) fn stop(self) {
        drop((self.calls, self.answers));
        if !self.thread.join() {
            tracing::error!("the leader's thread panicked");
        }
    }
}

// === impl Calling ===

impl Turns for Calling {
    fn turn(&mut self, patience: Duration) -> bool {
        match receive_within(&self.calls, patience) {
            Ok(call) => {
                let event = call.carry_out(&self.application, &self.tasks, &*self.group, &self.status);
                event.is_none_or(|event| self.answers.send(event).is_ok())
            }
            Err(error) => error == RecvTimeoutError::Timeout,
        }
    }
}

// === impl Call ===

impl Call {
    fn carry_out(
        self,
        application: &Application,
        tasks: &[PlanTask],
        group: &dyn Group,
        status: &Status,
    ) -> Option<Event> {
        let event = match self {
            Self::Probe => {
                match application.log.reach(PROBE_TIMEOUT) {
                    Ok(()) => status.log_reachable(),
                    Err(error) => status.log_unavailable(&error.to_string(), application.clock.monotonic()),
                }
                return None;
            }
            Self::Purge { processed } => {
                let purged = application.log.admin().and_then(|mut admin| admin.delete_records(&processed));
                if let Err(error) = purged {
                    tracing::warn!(%error, "the processed records of repartition topics were not deleted; trying again later");
                }
                return None;
            }
            Self::Members { generation } => Event::Members { generation, result: group.members() },
            Self::Topics { generation } => {
                let result = match application.prepare() {
                    Ok(topics) => Ok(topics.plan_tasks(&application.topology)),
                    Err(PrepareError::Topics(TopicsError::Log(error))) if error.is_retriable() => Err(error),
                    // A running cluster does not stop over a change of its topics that the next start refuses.
                    Err(error) => {
                        tracing::error!(%error, "the topics have changed; the tasks stay those of the start");
                        Ok(tasks.to_vec())
                    }
                };
                Event::Topics { generation, result }
            }
            Self::Fence { generation, instance_id, transactional_ids } => {
                let result = fence(&*application.log, &transactional_ids);
                Event::Fenced { generation, instance_id, result }
            }
        };
        Some(event)
    }
}

/// Ends what producers of these ids have open, and keeps them from committing anything more.
pub(super) fn fence(log: &dyn Log, transactional_ids: &[String]) -> Result<(), LogError> {
    for id in transactional_ids {
        tracing::info!(transactional_id = id, "fencing");
        log.transactional_producer(id, FENCE_TIMEOUT)?.init(FENCE_TIMEOUT)?;
    }
    Ok(())
}
