//! What the query layer may ask of an instance.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{prober::Hearing, pulse::Pulse, status::Status, stopping::StopRequest};
use crate::{
    cluster::{AliveAnswer, ClusterView, Role, TaskState},
    metrics::Metrics,
    query::{Catalogue, Health, LocalTask, RestoreStatus, Serving, Spread, StoreEntry, TopologyDescription},
    runtime::{Hosted, HostedState, HostedTask, RestoreReading},
    state::{MemoryBudget, StoreId, TaskId, TaskView},
    time::Clock,
    topology::{Resolved, StoreLocation},
};

/// An instance as its queries see it. Made before anything is connected, so that probes are answered from the start; the rest is
/// set as it becomes known.
#[derive(Debug)]
pub(super) struct InstanceServing {
    application_id: String,
    instance_id: String,
    pub(super) status: Arc<Status>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) hearing: Arc<Hearing>,
    pub(super) hosted: Arc<Hosted>,
    pub(super) stores: OnceLock<Arc<Catalogue>>,
    pub(super) globals: OnceLock<Arc<TaskView>>,
    pub(super) memory: OnceLock<MemoryBudget>,
    topology: Arc<TopologyDescription>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

// === impl InstanceServing ===

impl InstanceServing {
    pub(super) fn new(
        topology: &Resolved,
        instance_id: &str,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        status: Arc<Status>,
        pulse: Pulse,
        hearing: Hearing,
    ) -> Self {
        let description = topology.describe();
        let json = serde_json::to_value(&description).unwrap_or_else(|error| error.to_string().into());
        Self {
            application_id: topology.application_id().to_owned(),
            instance_id: instance_id.to_owned(),
            status,
            pulse: Arc::new(pulse),
            hearing: Arc::new(hearing),
            hosted: Arc::default(),
            stores: OnceLock::new(),
            globals: OnceLock::new(),
            memory: OnceLock::new(),
            topology: Arc::new(TopologyDescription { json, text: description.to_string() }),
            metrics,
            clock,
        }
    }
}

// === impl InstanceServing: how old ===

impl InstanceServing {
    /// How old a task's committed state may be. An active task's is the latest, unless it is another instance's by now, or a commit is under
    /// way; one that follows knows when it had everything.
    fn staleness(&self, hosted: &HostedTask) -> Option<Duration> {
        let age = |since: Duration| self.clock.monotonic().saturating_sub(since);
        match (hosted.role, hosted.state) {
            (Role::Active, HostedState::Running) => {
                Some(self.hearing.doubt().max(hosted.committing_since.map_or(Duration::ZERO, age)))
            }
            _ => Some(age(hosted.current_at()?)),
        }
    }
}

/// The stores of a topology, when the number of tasks of each sub-topology is known.
pub(super) fn catalogue(topology: &Resolved, tasks: &[TaskId]) -> Catalogue {
    let in_tasks = topology.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
    let global = topology.globals.iter().map(|global| &global.store);
    let entries = in_tasks.chain(global).filter_map(|spec| {
        let (id, spread): (StoreId, Spread) = match topology.store(&spec.name)? {
            StoreLocation::Tasks { sub_topology, id, .. } => {
                let partitions = tasks.iter().filter(|task| task.sub_topology == sub_topology).count();
                (id, Spread::Partitioned { sub_topology, partitions: i32::try_from(partitions).ok()? })
            }
            StoreLocation::Global { id, .. } => (id, Spread::Global),
        };
        Some(StoreEntry { spec: spec.clone(), id, spread })
    });
    entries.collect()
}

impl Serving for InstanceServing {
    fn application_id(&self) -> &str {
        &self.application_id
    }

    fn instance_id(&self) -> &str {
        &self.instance_id
    }

    fn stores(&self) -> Option<Arc<Catalogue>> {
        self.stores.get().cloned()
    }

    fn cluster(&self) -> Arc<ClusterView> {
        self.status.cluster()
    }

    fn local_task(&self, task: TaskId) -> Option<LocalTask> {
        if !self.pulse.may_answer() {
            return None;
        }
        let hosted = self.hosted.get(task)?;
        let state = match hosted.state {
            HostedState::Restoring => TaskState::Restoring,
            HostedState::Running => TaskState::Running,
        };
        Some(LocalTask {
            staleness: self.staleness(&hosted),
            lag: hosted.lag(),
            view: hosted.view,
            role: hosted.role,
            state,
        })
    }

    fn restores(&self) -> Vec<RestoreStatus> {
        let now = self.clock.monotonic();
        let status = |(task, role, reading): (TaskId, Role, RestoreReading)| RestoreStatus {
            task,
            role,
            records: reading.records,
            bytes: reading.bytes,
            remaining: reading.remaining,
            records_per_s: reading.rate(),
            elapsed: reading.elapsed,
            left: reading.time_left(),
            held_back: reading.held_back,
        };
        self.hosted.restores(now).map(status).collect()
    }

    fn globals(&self) -> Option<Arc<TaskView>> {
        self.globals.get().cloned()
    }

    fn topology(&self) -> Arc<TopologyDescription> {
        Arc::clone(&self.topology)
    }

    fn health(&self) -> Health {
        let mut health = self.status.health();
        if !self.status.is_starting() && !self.pulse.may_answer() {
            let doubt = "it stood still, and whether it is still a member is not certain yet".to_owned();
            health.ready = Err(health.ready.err().into_iter().flatten().chain([doubt]).collect());
        }
        // A standby or warm-up that waits keeps nobody from being served.
        let active = self.restores().into_iter().filter(|restore| restore.role == Role::Active);
        let held_back = active.filter_map(|RestoreStatus { task, held_back, .. }| {
            Some(format!("the restore of task {task} is held back: {}", held_back?))
        });
        let held_back: Vec<_> = held_back.collect();
        if !held_back.is_empty() {
            health.ready = Err([health.ready.err().unwrap_or_default(), held_back].concat());
        }
        self.metrics.instance_ready.set(i64::from(health.ready.is_ok()));
        health
    }

    fn alive(&self, asked_by: Option<(&str, u64)>) -> Option<AliveAnswer> {
        self.hearing.answer(asked_by, &self.status, &self.pulse)
    }

    fn drain(&self) {
        self.status.request(StopRequest::Drain);
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn scrape(&self) -> String {
        self.health();
        let away = self.status.log_away_for(self.clock.monotonic());
        self.metrics.log_unavailable.set(away.as_secs_f64());
        let hosted = self.hosted.all();
        let set = |role, state, count| {
            self.metrics.tasks.with_label_values(&[role, state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        for (role, name) in [(Role::Active, "active"), (Role::Standby, "standby"), (Role::WarmUp, "warm_up")] {
            for (state, label) in [(HostedState::Restoring, "restoring"), (HostedState::Running, "running")] {
                set(name, label, hosted.values().filter(|task| (task.role, task.state) == (role, state)).count());
            }
        }
        set("active", "failed", self.status.failed_tasks());
        if let Some(memory) = self.memory.get() {
            let buffers = memory.write_buffer_bytes();
            let parts = [("write_buffers", buffers), ("block_cache", memory.used_bytes().saturating_sub(buffers))];
            for (part, bytes) in parts {
                self.metrics.memory.with_label_values(&[part]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        self.metrics.render()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{
        runtime::RestoreProgress,
        serde::Serdes,
        state::{StateSettings, TaskStores},
        time::ManualClock,
        topology::Topology,
    };

    #[test]
    fn what_holds_a_restore_back_is_shown_and_a_reason_not_to_be_ready() -> Result<(), Box<dyn std::error::Error>> {
        let second = Duration::from_secs(1);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let status = Arc::new(Status::new(&"a".into()));
        status.started();
        let pulse = Pulse::new(Arc::clone(&clock), second, second);
        let topology = Topology::builder("copy");
        topology.stream("in", Serdes::<String, String>::default()).to("out");
        let topology = topology.build()?.resolve("copy");
        let serving = {
            let hearing = Hearing::new("a".into(), second, Arc::clone(&clock));
            InstanceServing::new(&topology, "a", Metrics::new()?, clock, status, pulse, hearing)
        };
        let (task, progress) = (TaskId::new(0, 1), Arc::new(RestoreProgress::new(Duration::ZERO, 5)));
        let stores = TaskStores::open(&StateSettings::default(), task, [].into())?;
        serving.hosted.restoring(task, stores.view(), &progress);

        let reasons = || serving.health().ready.err().unwrap_or_default();
        let not_a_member = reasons();
        assert_eq!(serving.restores()[0].held_back, None);
        progress.set_held_back(Some("a transaction is open".into()));
        assert_eq!(serving.restores()[0].held_back.as_deref(), Some("a transaction is open"));
        let held_back = "the restore of task 0_1 is held back: a transaction is open".to_owned();
        assert_eq!(reasons(), [not_a_member, vec![held_back]].concat());

        // Back to the last commit of a task that ran: its rows are read meanwhile, but it does not go on.
        serving.hosted.running(task, stores.view());
        assert!(serving.restores().is_empty());
        assert!(!serving.hosted.restoring(task, stores.view(), &progress), "it ran");
        assert!(reasons().iter().any(|reason| reason.contains("0_1 is held back")), "{:?}", reasons());
        assert_eq!(serving.hosted.get(task).map(|hosted| hosted.state), Some(HostedState::Running));
        Ok(())
    }
}
