//! From a configuration to a member of the cluster, on the control thread.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    AppError,
    application::Application,
    control::{Control, changelog_offsets},
    leader_calls::{LeaderCalls, fence},
    metadata_topic::MetadataTopic,
    patience::{Halt, Patience},
    serving::{InstanceServing, catalogue},
    stopping::Stopping,
};
use crate::{
    cluster::{Coordinator, Event, HostMetadata, Identity, MetadataRecord, Settings},
    config::{Config, Guarantee, MemoryShares},
    log::{MembershipOptions, TopicPartition},
    metrics::Metrics,
    processor::{Globals, Handlers},
    runtime::{Followers, GlobalsThread, RuntimeSettings, Shared, Threads, Workers},
    state::{MemoryBudget, StateDir, StateSettings, TableWatch, TaskStores},
};

/// Everything a start needs.
pub(super) struct Start {
    pub(super) application: Arc<Application>,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) serving: Arc<InstanceServing>,
    pub(super) handlers: Handlers,
    pub(super) tables_watch: Option<Arc<dyn TableWatch>>,
    /// Where the state lives, if not where the configuration says.
    pub(super) state: Option<StateSettings>,
    pub(super) threads: Arc<dyn Threads>,
}

// === impl Start ===

impl Start {
    /// Brings the instance up to the point where it has joined the group.
    pub(super) fn bring_up(self) -> Result<Control, Halt> {
        let Self { application, config, metrics, serving, handlers, tables_watch, state, threads } = self;
        let (status, pulse) = (Arc::clone(&serving.status), Arc::clone(&serving.pulse));
        let log = Arc::clone(&application.log);
        let clock = Arc::clone(&application.clock);
        let topology = Arc::clone(&application.topology);
        let patience = Patience { log: Arc::clone(&log), clock: Arc::clone(&clock), status: Arc::clone(&status) };

        status.starting("opening the state directory");
        let state = match state {
            Some(state) => state,
            None => {
                let mut dir = StateDir::open(&config.state_dir, topology.application_id())?;
                if let Some(watch) = tables_watch {
                    dir = dir.watched_by(watch);
                }
                StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::new(shares(&config).state) }
            }
        };
        let _ = serving.memory.set(state.memory.clone());
        metrics.memory_limit.set(i64::try_from(config.memory_bytes).unwrap_or(i64::MAX));

        let topics = patience.until_done("checking the topics", || application.prepare())?;
        let partitions = Arc::new(topics.partitions.clone());
        let _ = serving.stores.set(Arc::new(catalogue(&topology, &topics.tasks)));

        let metadata_name: Arc<str> = application.metadata_topic().into();
        let (metadata, records) = patience.until_done("reading the metadata topic", || {
            MetadataTopic::load(Arc::clone(&log), Arc::clone(&metadata_name), Arc::clone(&clock))
        })?;

        let specs: Arc<[_]> = topology.globals.iter().map(|global| global.store.clone()).collect();
        let settings = settings(&config);
        let isolation = settings.isolation();
        let (globals, view) = patience.until_done("reading the global tables", || {
            let open = || TaskStores::open_global(&state, Arc::clone(&specs));
            let stores = GlobalsThread::open_stores(&*log, &topology, open)?;
            let view = stores.view();
            let run_by = (&*threads, status.stop_flag());
            let globals = GlobalsThread::start(&*log, isolation, &topology, &partitions, stores, &metrics, run_by)?;
            Ok::<_, AppError>((globals, view))
        })?;
        let _ = serving.globals.set(Arc::clone(&view));

        let options = MembershipOptions {
            group_id: topology.application_id().to_owned(),
            client_id: config.instance_id.clone(),
            coordination_topic: application.coordination_topic(),
            session_timeout: config.session_timeout,
            max_poll_interval: config.unpolled_timeout(),
        };
        let membership = patience.until_done("joining the group", || log.join(options.clone()))?;
        let shared = Arc::new(Shared {
            log: Arc::clone(&log),
            clock: Arc::clone(&clock),
            threads: Arc::clone(&threads),
            metrics,
            sub_topologies: topology.sub_topologies.iter().cloned().map(Arc::new).collect(),
            topology: Arc::clone(&topology),
            partitions,
            globals: Arc::new(Globals::new(view)),
            handlers,
            state,
            group: membership.group(),
            hosted: Arc::clone(&serving.hosted),
            settings,
            transactional_prefix: format!("{}/{}", topology.application_id(), config.instance_id),
            progress: (0..config.threads).map(|_| AtomicU64::new(clock.monotonic().as_millis() as u64)).collect(),
            metadata: TopicPartition::new(Arc::clone(&metadata_name), 0),
            metadata_read: metadata.next().into(),
            stopping: false.into(),
        });
        let workers = patience.until_done("opening the workers' producers", || Workers::start(&shared))?;
        let followers = Followers::start(&shared, workers.reporter())?;
        let transactional_ids = transactional_ids(&shared);
        if let Some(earlier) = own_earlier_record(&records, &config.instance_id) {
            let mut orphans = earlier.transactional_ids.clone();
            orphans.retain(|id| !transactional_ids.contains(id));
            patience.until_done("fencing the producers of an earlier life", || fence(&*log, &orphans))?;
        }
        let mut coordinator = Coordinator::new(
            Identity {
                instance_id: config.instance_id.as_str().into(),
                started_ms: u64::try_from(clock.now_ms()).unwrap_or(0),
                url: config.url(),
                zone: config.zone.clone(),
                capacity: config.capacity,
                transactional_ids,
                topology_fingerprint: topology.fingerprint(),
            },
            Settings {
                state_wait: config.state_wait,
                evicts: config.effective_suspicion_timeout().is_some(),
                num_standby_replicas: config.num_standby_replicas,
                max_warmup_replicas: config.max_warmup_replicas.max(1),
                standby_replacement_delay: config.standby_replacement_delay,
                ..Settings::default()
            },
        );
        let now = clock.monotonic();
        for record in records {
            coordinator.step(now, Event::Metadata(record));
        }
        coordinator.step(now, Event::MetadataLoaded);
        let calls = LeaderCalls::start(
            &*threads,
            Arc::clone(&application),
            topics.plan_tasks(&topology),
            membership.group(),
            Arc::clone(&status),
        )?;
        let offsets = stored_offsets(&shared, &topics.tasks)?;
        status.started();
        Ok(Control {
            coordinator,
            membership,
            metadata,
            workers,
            followers,
            globals,
            calls,
            shared,
            status,
            pulse,
            hearing: Arc::clone(&serving.hearing),
            suspects: BTreeMap::new(),
            max_poll_interval: config.max_poll_interval,
            stopping: Stopping::No,
            drain_timeout: config.drain_timeout,
            next_probe: now,
            next_offsets: now,
            next_progress: now,
            pausing: BTreeMap::new(),
            next_purge: now,
            next_cleanup: now,
            state_cleanup_delay: config.state_cleanup_delay,
            unused: BTreeMap::new(),
            offsets,
        })
    }
}

/// How the memory of the instance is divided.
pub(super) fn shares(config: &Config) -> MemoryShares {
    MemoryShares::of(config.memory_bytes, config.threads)
}

fn settings(config: &Config) -> RuntimeSettings {
    RuntimeSettings {
        guarantee: config.guarantee,
        commit_interval: config.commit_interval,
        transaction_timeout: config.transaction_timeout,
        max_task_idle: config.max_task_idle,
        memory: shares(config),
        timestamps: config.timestamps,
        offset_reset: config.offset_reset,
        threads: config.threads,
        acceptable_recovery_lag: config.acceptable_recovery_lag,
    }
}

fn transactional_ids(shared: &Shared) -> Vec<String> {
    match shared.settings.guarantee {
        Guarantee::ExactlyOnce => (0..shared.settings.threads).map(|worker| shared.transactional_id(worker)).collect(),
        Guarantee::AtLeastOnce => Vec::new(),
    }
}

/// What this instance last said about itself in an earlier life: it may have had more workers, whose transactions nobody ends.
fn own_earlier_record<'r>(records: &'r [MetadataRecord], me: &str) -> Option<&'r HostMetadata> {
    let last = records.iter().rev().find(|record| match record {
        MetadataRecord::Host(host) => *host.instance_id == *me,
        MetadataRecord::HostGone(instance_id) => **instance_id == *me,
        MetadataRecord::Assignment(_) | MetadataRecord::Eviction(_) | MetadataRecord::EvictionGone(_) => false,
    })?;
    match last {
        MetadataRecord::Host(host) => Some(host),
        _ => None,
    }
}

/// Where the stores stand that earlier lives of this instance left on its disk.
fn stored_offsets(
    shared: &Shared,
    tasks: &[crate::state::TaskId],
) -> Result<BTreeMap<crate::state::TaskId, crate::cluster::Offsets>, AppError> {
    let Some(dir) = &shared.state.dir else { return Ok(BTreeMap::new()) };
    let mut offsets = BTreeMap::new();
    for task in dir.tasks()?.into_iter().filter(|task| tasks.contains(task)) {
        let specs = Arc::clone(&shared.sub_topology(task).stores);
        // A database that does not open is its task's trouble, if the task comes here at all.
        let opened = TaskStores::open(&shared.state, task, specs).and_then(|stores| {
            let point = stores.committed().changelog_offsets.clone();
            stores.close().map(|()| point)
        });
        match opened {
            Ok(point) => drop(offsets.insert(task, changelog_offsets(shared, task, &point))),
            Err(error) => tracing::warn!(%task, %error, "the stored state cannot be looked at"),
        }
    }
    Ok(offsets)
}
