//! An instance whose loops get their turns from somebody else, and that serves no HTTP: for simulations.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use super::{
    AppError, Application, check, control::Control, patience::Halt, prober::incarnation, serving::InstanceServing,
    start::Start, status::Status, stopping::StopRequest,
};
use crate::{
    cluster::{AliveAnswer, ClusterView, InstanceId, ProbeFailure},
    config::Config,
    log::Log,
    metrics::Metrics,
    processor::Handlers,
    runtime::{HostedTask, Shared, Threads},
    state::{StateSettings, TaskId},
    time::Clock,
    topology::Resolved,
};

/// What an instance is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) topology: Arc<Resolved>,
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: Arc<dyn Threads>,
    pub(crate) state: StateSettings,
}

/// The control loop of an instance. Its other loops are given to [`Parts::threads`].
pub(crate) struct Driven {
    phase: Phase,
    seen: Seen,
}

/// What can be seen of an instance from outside, whatever it does. Clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    serving: Arc<InstanceServing>,
    /// From the end of the start on; it ends with the instance.
    shared: Arc<OnceLock<Weak<Shared>>>,
}

enum Phase {
    Starting(Box<Start>),
    Running(Box<Control>),
    Over,
}

// === impl Driven ===

impl Driven {
    /// An instance that starts with its first turn.
    pub(crate) fn new(parts: Parts) -> Result<Self, AppError> {
        let Parts { topology, config, log, clock, threads, state } = parts;
        check(&config)?;
        let handlers = Handlers::default().configured(&config);
        let metrics = Metrics::new()?;
        let status = Arc::new(Status::new(&config.instance_id.as_str().into()));
        let serving = Arc::new(super::serving(&config, &topology, metrics.clone(), &clock, &status));
        let seen = Seen { serving: Arc::clone(&serving), shared: Arc::default() };
        let application = Arc::new(Application::new(log, clock, topology, &config, &handlers));
        let start =
            Start { application, config, metrics, serving, handlers, tables_watch: None, state: Some(state), threads };
        Ok(Self { phase: Phase::Starting(Box::new(start)), seen })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// One turn of the control loop; the first is the whole start, the last the whole end. `false` when it was the last.
    pub(crate) fn turn(&mut self, patience: Duration) -> Result<bool, AppError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Starting(start) => match start.bring_up() {
                Ok(mut control) => {
                    self.seen.shared.get_or_init(|| Arc::downgrade(&control.shared));
                    control.begin()?;
                    self.phase = Phase::Running(Box::new(control));
                    Ok(true)
                }
                Err(Halt::Stopped) => Ok(false),
                Err(Halt::Failed(error)) => Err(error),
            },
            Phase::Running(mut control) => match control.go_on(patience) {
                Ok(true) => {
                    self.phase = Phase::Running(control);
                    Ok(true)
                }
                ended => control.end(ended.map(drop)).map(|()| false),
            },
            Phase::Over => Ok(false),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Asks the instance to give its tasks away and to leave.
    pub(crate) fn request_stop(&self) {
        self.serving.status.request(StopRequest::Drain);
    }

    /// What the instance knows of the cluster.
    pub(crate) fn cluster(&self) -> Arc<ClusterView> {
        self.serving.status.cluster()
    }

    /// The tasks that it hosts.
    pub(crate) fn hosted(&self) -> BTreeMap<TaskId, HostedTask> {
        self.serving.hosted.all()
    }

    /// Up to where it has read the metadata topic and told its workers what follows from it.
    pub(crate) fn metadata_read(&self) -> i64 {
        let shared = self.shared.get().and_then(Weak::upgrade);
        shared.map_or(0, |shared| shared.metadata_read.load(Ordering::Acquire))
    }

    /// What speaks against its being ready.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        self.serving.status.health().ready.err().unwrap_or_default()
    }
    /// Which others it wants to ask now whether they are alive.
    pub(crate) fn whom_to_ask(&self) -> Vec<InstanceId> {
        self.serving.hearing.whom_to_ask(&self.serving.status).into_iter().map(|(instance_id, _)| instance_id).collect()
    }

    /// What it says when it is asked by another one.
    pub(crate) fn answer(&self, asked_by: &Self) -> Option<AliveAnswer> {
        let me = asked_by.cluster().me.clone();
        let incarnation = incarnation(&me, &asked_by.serving.status);
        self.serving.hearing.answer(
            incarnation.map(|incarnation| (&*me, incarnation)),
            &self.serving.status,
            &self.serving.pulse,
        )
    }

    /// What came of asking.
    pub(crate) fn told(&self, instance_id: &InstanceId, answer: Result<AliveAnswer, ProbeFailure>) {
        self.serving.hearing.told(instance_id, answer);
    }
}
