//! How an instance is doing, as its queries and probes see it. Written by the control thread, read by HTTP.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use super::{readiness, stopping::StopRequest};
use crate::{
    cluster::{ClusterView, InstanceId},
    query::Health,
    runtime::Shared,
    state::TaskId,
};

/// How an instance is doing.
#[derive(Debug)]
pub(super) struct Status {
    cluster: RwLock<Arc<ClusterView>>,
    health: Mutex<Signs>,
    stop: AtomicBool,
    /// A [`StopRequest`].
    request: AtomicU8,
}

/// What speaks for and against health.
#[derive(Debug, Default)]
struct Signs {
    /// What the start is at, until it is over.
    starting: Option<String>,
    /// Why the instance ended.
    ended: Option<String>,
    /// A worker makes no progress.
    stuck: bool,
    /// Since when and why the log cannot be reached.
    log_away: Option<(Duration, String)>,
    /// Tasks that failed here and have not run since.
    failed: BTreeMap<TaskId, String>,
    /// Once it has caught up with all that it was given: who restarts the instances one by one goes on with the next.
    caught_up: bool,
}

// === impl Status ===

impl Status {
    pub(super) fn new(me: &InstanceId) -> Self {
        let signs = Signs { starting: Some("starting".into()), ..Signs::default() };
        Self {
            cluster: RwLock::new(Arc::new(ClusterView::empty(me))),
            health: Mutex::new(signs),
            stop: AtomicBool::new(false),
            request: AtomicU8::new(StopRequest::None as u8),
        }
    }

    /// Asks the control thread to stop the instance, so urgently or more.
    pub(super) fn request(&self, request: StopRequest) {
        self.request.fetch_max(request as u8, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn requested(&self) -> StopRequest {
        StopRequest::from_u8(self.request.load(Ordering::Relaxed))
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// What the start is at.
    pub(super) fn starting(&self, what: &str) {
        tracing::info!("{what}");
        self.signs().starting = Some(what.into());
    }

    pub(super) fn started(&self) {
        self.signs().starting = None;
    }

    pub(super) fn is_starting(&self) -> bool {
        self.signs().starting.is_some()
    }

    pub(super) fn ended(&self, why: &str) {
        self.signs().ended = Some(why.into());
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        self.signs().stuck = stuck;
    }

    pub(super) fn log_unavailable(&self, reason: &str, now: Duration) {
        if !self.is_log_away() {
            tracing::warn!(reason, "the log cannot be reached");
        }
        self.log_unavailable_at_start(reason, now);
    }

    /// The same; that it is said in the log is left to the start.
    pub(super) fn log_unavailable_at_start(&self, reason: &str, now: Duration) {
        let mut signs = self.signs();
        let since = signs.log_away.as_ref().map_or(now, |(since, _)| *since);
        signs.log_away = Some((since, reason.into()));
    }

    pub(super) fn is_log_away(&self) -> bool {
        self.signs().log_away.is_some()
    }

    /// For how long the log has been away.
    pub(super) fn log_away_for(&self, now: Duration) -> Duration {
        self.signs().log_away.as_ref().map_or(Duration::ZERO, |(since, _)| now.saturating_sub(*since))
    }

    pub(super) fn log_reachable(&self) {
        if self.signs().log_away.take().is_some() {
            tracing::info!("the log can be reached again");
        }
    }

    pub(super) fn task_failed(&self, task: TaskId, error: &str) {
        self.signs().failed.insert(task, error.into());
    }

    pub(super) fn task_recovered(&self, task: TaskId) {
        self.signs().failed.remove(&task);
    }

    /// How many tasks failed here and have not run since.
    pub(super) fn failed_tasks(&self) -> usize {
        self.signs().failed.len()
    }

    /// Takes over a view of the cluster, and brings the gauges of the cluster up to date.
    pub(super) fn set_cluster(&self, view: Arc<ClusterView>, leads: bool, shared: &Shared) {
        let metrics = &shared.metrics;
        if Arc::ptr_eq(&view, &self.cluster()) {
            return;
        }
        metrics.cluster_members.set(i64::try_from(view.live_members()).unwrap_or(i64::MAX));
        metrics.cluster_unassigned_tasks.set(i64::try_from(view.unassigned_tasks()).unwrap_or(i64::MAX));
        metrics.cluster_leader.set(i64::from(leads));
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    pub(super) fn cluster(&self) -> Arc<ClusterView> {
        Arc::clone(&self.cluster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Live: a restart would not help. Ready: a member of the cluster, all its tasks run, and it has once caught up with those
    /// it is a standby of.
    pub(super) fn health(&self) -> Health {
        let signs = self.signs();
        let mut not_live: Vec<String> = signs.ended.iter().map(|why| format!("the instance ended: {why}")).collect();
        if signs.stuck {
            not_live.push("a worker has made no progress for longer than max_poll_interval".into());
        }
        let mut not_ready = not_live.clone();
        if self.requested() != StopRequest::None {
            not_ready.push("stopping: others take over what it has".into());
        }
        not_ready.extend(signs.starting.iter().cloned());
        not_ready.extend(signs.log_away.iter().map(|(_, reason)| format!("the log cannot be reached: {reason}")));
        let failed: Vec<_> = signs.failed.iter().map(|(task, error)| (*task, error.clone())).collect();
        drop(signs);
        // A task that another instance has now is not this one's trouble any more.
        let view = self.cluster();
        let elsewhere = |task: &TaskId| {
            view.tasks.get(task).and_then(|task| task.assigned.as_ref()).is_some_and(|at| *at != view.me)
        };
        let failed = failed.into_iter().filter(|(task, _)| !elsewhere(task));
        not_ready.extend(failed.map(|(task, error)| format!("task {task} failed: {error}")));
        not_ready.extend(self.waiting());
        let verdict = |reasons: Vec<String>| if reasons.is_empty() { Ok(()) } else { Err(reasons) };
        Health { live: verdict(not_live), ready: verdict(not_ready) }
    }

    /// What it waits for, standbys included until it has caught up once.
    fn waiting(&self) -> Vec<String> {
        let view = self.cluster();
        let mut signs = self.signs();
        let waiting = readiness::waiting(&view, !signs.caught_up);
        signs.caught_up |= waiting.is_empty();
        waiting
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
