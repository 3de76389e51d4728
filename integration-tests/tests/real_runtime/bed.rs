//! Two instances of a topology on an embedded log.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use integration_tests::{in_process::PATIENCE, service::until};
use millpond::{
    App, Config, Topology,
    app::Instance,
    log::{
        Append, Isolation, Log, NewTopic, Partitioner, ReadFrom, ReaderEvent, TopicPartition, embedded::EmbeddedLog,
    },
    state::{MemoryBudget, StateDir, StateSettings, TaskId, TaskStores},
    testing::TestRecord,
};
use serde::Deserialize;
use tempfile::TempDir;

use super::{
    rows::{Rows, add_task},
    view::View,
};

const PARTITIONS: i32 = 4;

pub(crate) struct Bed {
    topology: Topology,
    log: Arc<dyn Log>,
    partitioner: Partitioner,
    homes: [Home; 2],
}

/// The place of an instance, which outlives it.
struct Home {
    state: TempDir,
    instance: Option<Instance>,
}

#[derive(Deserialize)]
struct Cluster {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    owner: Option<String>,
    assigned: Option<String>,
}

// === impl Bed ===

impl Bed {
    pub(crate) fn new(topology: &Topology) -> anyhow::Result<Self> {
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::new());
        let topics: Vec<_> = topology.resolve(topology.name()).external_topics();
        let new = |name: &Arc<str>| NewTopic {
            name: name.to_string(),
            partitions: PARTITIONS,
            replication_factor: None,
            config: BTreeMap::new(),
        };
        log.admin()?.create_topics(&topics.iter().map(new).collect::<Vec<_>>())?;
        let homes = [Home::new()?, Home::new()?];
        Ok(Self { topology: topology.clone(), log, partitioner: Partitioner::new(), homes })
    }

    /// Appends records, each to the partition of its key.
    pub(crate) fn append(&mut self, records: &[TestRecord]) -> anyhow::Result<()> {
        let mut producer = self.log.producer()?;
        for TestRecord { topic, key, value, timestamp_ms, headers } in records {
            let partition = self.partitioner.partition(key.as_deref(), PARTITIONS);
            let (key, value) = (key.as_deref(), value.as_deref());
            producer.append(Append { topic, partition, key, value, timestamp_ms: *timestamp_ms, headers })?;
        }
        Ok(producer.flush(PATIENCE)?)
    }

    /// Starts an instance, or starts it again with the state it had.
    pub(crate) async fn start(&mut self, which: usize) -> anyhow::Result<()> {
        let home = &mut self.homes[which];
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = Config {
            instance_id: format!("instance-{which}"),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            state_dir: home.state.path().to_owned(),
            threads: 2,
            commit_interval: Duration::from_millis(20),
            ..Config::default()
        };
        let app = App::new(self.topology.clone(), config).with_log(Arc::clone(&self.log));
        home.instance = Some(app.start().await?);
        Ok(())
    }

    /// Stops an instance; it keeps its state.
    pub(crate) async fn stop(&mut self, which: usize) -> anyhow::Result<()> {
        let instance = self.homes[which].instance.take().context("it does not run")?;
        Ok(instance.stop().await?)
    }

    /// Waits until both instances have tasks, and every task has its owner.
    pub(crate) async fn shared(&self) -> anyhow::Result<()> {
        let url = self.homes[0].instance.as_ref().context("the first instance runs")?.url();
        let shared = async || {
            let body = reqwest::get(format!("{url}/cluster")).await?.text().await?;
            let cluster: Cluster = serde_json::from_str(&body)?;
            let at_home = cluster.tasks.iter().all(|task| task.owner.is_some() && task.owner == task.assigned);
            let owners: BTreeSet<_> = cluster.tasks.iter().filter_map(|task| task.owner.as_ref()).collect();
            ensure!(at_home && owners.len() == self.homes.len(), "{body}");
            Ok(true)
        };
        until("both instances have tasks", PATIENCE, shared).await
    }

    /// The rows of all stores on disk, as whoever ran their task last has them. No instance runs.
    pub(crate) fn rows(&self) -> anyhow::Result<Rows> {
        let mut rows = Rows::new();
        let resolved = self.topology.resolve(self.topology.name());
        for part in resolved.sub_topologies.iter().filter(|part| !part.stores.is_empty()) {
            for partition in 0..PARTITIONS {
                let task = TaskId::new(part.id, partition);
                let mut last = None;
                for home in &self.homes {
                    let dir = StateDir::open(home.state.path(), self.topology.name())?;
                    if !dir.task_dir(task).exists() {
                        continue;
                    }
                    let settings = StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::new(8 << 20) };
                    let stores = TaskStores::open(&settings, task, Arc::clone(&part.stores))?;
                    let offsets: i64 = stores.committed().changelog_offsets.values().sum();
                    if last.as_ref().is_none_or(|(most, _)| offsets > *most) {
                        last = Some((offsets, stores));
                    }
                }
                let (_, stores) = last.with_context(|| format!("nobody has the stores of {task}"))?;
                add_task(&mut rows, &stores)?;
            }
        }
        Ok(rows)
    }

    /// What is on these topics.
    pub(crate) fn view(&self, topics: &BTreeSet<Arc<str>>) -> anyhow::Result<View> {
        let mut view = View::default();
        for topic in topics {
            for partition in 0..PARTITIONS {
                self.read(&TopicPartition::new(Arc::clone(topic), partition), &mut view)?;
            }
        }
        Ok(view)
    }

    fn read(&self, partition: &TopicPartition, view: &mut View) -> anyhow::Result<()> {
        let mut reader = self.log.reader(Isolation::ReadCommitted)?;
        reader.assign(partition, ReadFrom::Beginning)?;
        loop {
            let fetched = reader.poll(10_000, Duration::from_millis(100))?;
            for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
                view.add(TestRecord {
                    topic: Arc::clone(&partition.topic),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp_ms: record.timestamp_ms,
                    headers: record.headers.to_owned(),
                });
            }
            if fetched.events.iter().any(|event| matches!(event, ReaderEvent::EndReached { .. })) {
                return Ok(());
            }
        }
    }
}

// === impl Home ===

impl Home {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { state: tempfile::tempdir()?, instance: None })
    }
}
