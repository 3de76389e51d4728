//! What the query layer needs from the instance it serves. `app` implements it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use crate::{
    cluster::{AliveAnswer, ClusterView, Role, TaskState},
    metrics::Metrics,
    state::{StoreId, StoreSpec, TaskId, TaskView},
};

/// An instance as its queries see it.
///
/// Every call is made on the async runtime and for nearly every request, so none may block, wait for a worker thread or the log, or
/// do more than swap an `Arc` and look into a map. Answers may differ from one call to the next: the layer takes what it
/// needs once per decision.
pub trait Serving: Send + Sync + fmt::Debug {
    /// The application id, the same on all instances of a service.
    fn application_id(&self) -> &str;
    /// This instance's id.
    fn instance_id(&self) -> &str;
    /// The stores, or `None` as long as the partition counts of their topics are not known.
    fn stores(&self) -> Option<Arc<Catalogue>>;
    /// Who owns what, as far as this instance knows.
    fn cluster(&self) -> Arc<ClusterView>;
    /// The task as this instance has it at this moment, or `None` when it does not have it.
    fn local_task(&self, task: TaskId) -> Option<LocalTask>;
    /// The tasks whose stores are being brought up to the end of their changelogs here, in order.
    fn restores(&self) -> Vec<RestoreStatus>;
    /// The committed state of this instance's global tables, or `None` as long as they are not caught up.
    fn globals(&self) -> Option<Arc<TaskView>>;
    /// The topology's description.
    fn topology(&self) -> Arc<TopologyDescription>;
    /// Whether the instance lives and is ready.
    fn health(&self) -> Health;
    /// What it answers to another instance that asks whether it is alive, by name and incarnation; `None` while it stands still.
    fn alive(&self, asked_by: Option<(&str, u64)>) -> Option<AliveAnswer>;
    /// Has the others take over what this instance has, and stops it then.
    fn drain(&self);
    /// The instance's metrics, to count in.
    fn metrics(&self) -> &Metrics;
    /// All metrics in Prometheus' text format, after bringing those up to date that are only looked at now.
    fn scrape(&self) -> String;
}

/// A task that this instance has.
#[derive(Debug, Clone)]
pub struct LocalTask {
    /// Its committed state.
    pub view: Arc<TaskView>,
    /// In what role the instance has it.
    pub role: Role,
    /// How far it is.
    pub state: TaskState,
    /// How old its committed state may be, compared with the owner's; `None`: that is not known, and nothing is answered from it but as the
    /// owner.
    pub staleness: Option<Duration>,
    /// How many records of its changelogs a standby or warm-up lacks at most; `None` of an active task, and while that is not known.
    pub lag: Option<u64>,
}

/// How far the restore of a task is.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreStatus {
    /// The task.
    pub task: TaskId,
    /// In what role the instance has it: a standby or warm-up catches up.
    pub role: Role,
    /// Changelog records applied.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Offsets still to go: at most so many records.
    pub remaining: u64,
    /// Records per second so far.
    pub records_per_s: f64,
    /// Since the restore began.
    pub elapsed: Duration,
    /// How long it takes still at this rate; `None` before the first record, and while something holds it back.
    pub left: Option<Duration>,
    /// Why it does not go on, for the operator, if it has not for long.
    pub held_back: Option<Arc<str>>,
}

/// All stores of a topology, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue(BTreeMap<Arc<str>, Arc<StoreEntry>>);

/// A store as queries see it.
#[derive(Debug, Clone)]
pub struct StoreEntry {
    /// What the topology declares; one that is not `queryable` is treated as if it did not exist.
    pub spec: StoreSpec,
    /// Which of its task's stores (of the global stores) it is.
    pub id: StoreId,
    /// How its keys are spread over the instances.
    pub spread: Spread,
}

/// How the keys of a store are spread over the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Over the tasks of a sub-topology, by murmur2 of the key.
    Partitioned {
        /// The sub-topology.
        sub_topology: u32,
        /// Its number of tasks.
        partitions: i32,
    },
    /// Every instance has them all.
    Global,
}

/// The topology's description, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyDescription {
    /// As JSON.
    pub json: serde_json::Value,
    /// As `describe()` prints it.
    pub text: String,
}

/// The health of an instance; reasons are sentences for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `Err` when only a restart helps.
    pub live: Result<(), Vec<String>>,
    /// `Err` until the instance has caught up and whenever it cannot do its share.
    pub ready: Result<(), Vec<String>>,
}

// === impl Catalogue ===

impl Catalogue {
    /// The stores that may be queried, by name.
    pub fn queryable(&self) -> impl Iterator<Item = &Arc<StoreEntry>> {
        self.0.values().filter(|store| store.spec.queryable)
    }

    /// The sub-topologies with state that is logged.
    #[must_use]
    pub fn stateful(&self) -> BTreeSet<u32> {
        let logged = self.0.values().filter(|store| store.spec.changelog.is_some());
        let sub_topologies = logged.filter_map(|store| match store.spread {
            Spread::Partitioned { sub_topology, .. } => Some(sub_topology),
            Spread::Global => None,
        });
        sub_topologies.collect()
    }

    /// The store of this name, if it may be queried.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<StoreEntry>> {
        self.0.get(name).filter(|store| store.spec.queryable)
    }
}

impl FromIterator<StoreEntry> for Catalogue {
    fn from_iter<I: IntoIterator<Item = StoreEntry>>(stores: I) -> Self {
        Self(stores.into_iter().map(|store| (store.spec.name.clone(), Arc::new(store))).collect())
    }
}
