//! What the query layer may ask of an instance.

use std::sync::{Arc, OnceLock};

use super::{pulse::Pulse, status::Status};
use crate::{
    cluster::{ClusterView, Role, TaskState},
    metrics::Metrics,
    query::{Catalogue, Health, LocalTask, RestoreStatus, Serving, Spread, StoreEntry, TopologyDescription},
    runtime::{Hosted, HostedState, RestoreReading},
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
    ) -> Self {
        let description = topology.describe();
        let json = serde_json::to_value(&description).unwrap_or_else(|error| error.to_string().into());
        Self {
            application_id: topology.application_id().to_owned(),
            instance_id: instance_id.to_owned(),
            status,
            pulse: Arc::new(pulse),
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
        Some(LocalTask { view: hosted.view, role: Role::Active, state })
    }

    fn restores(&self) -> Vec<RestoreStatus> {
        let now = self.clock.monotonic();
        let status = |(task, reading): (TaskId, RestoreReading)| RestoreStatus {
            task,
            records: reading.records,
            bytes: reading.bytes,
            remaining: reading.remaining,
            records_per_s: reading.rate(),
            elapsed: reading.elapsed,
            left: reading.time_left(),
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
        let health = self.status.health();
        self.metrics.instance_ready.set(i64::from(health.ready.is_ok()));
        health
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn scrape(&self) -> String {
        self.health();
        let away = self.status.log_away_for(self.clock.monotonic());
        self.metrics.log_unavailable.set(away.as_secs_f64());
        let hosted = self.hosted.all();
        let count = |state| hosted.values().filter(|task| task.state == state).count();
        let counts = [
            ("restoring", count(HostedState::Restoring)),
            ("running", count(HostedState::Running)),
            ("failed", self.status.failed_tasks()),
        ];
        for (state, count) in counts {
            self.metrics.tasks.with_label_values(&["active", state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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
