//! Standbys and warm-ups: what they follow, and what a task restores that changes its place.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use integration_tests::{in_process::PATIENCE, service::until};
use millpond::{
    App, Config, Serdes, Topology,
    app::Instance,
    log::{Append, Headers, Log, NewTopic, Partitioner, embedded::EmbeddedLog},
    testing::{Faults, FaultyLog},
};
use tempfile::TempDir;

const KEYS: usize = 200;

/// Instances that count the records of each key.
struct Bed {
    log: Arc<EmbeddedLog>,
    topology: Topology,
    partitions: i32,
    standbys: usize,
    homes: BTreeMap<&'static str, Home>,
}

/// The place of an instance, which outlives it.
struct Home {
    state: TempDir,
    port: u16,
    life: Option<Life>,
}

struct Life {
    instance: Instance,
    faults: Faults,
    link: EmbeddedLog,
}

// === impl Bed ===

impl Bed {
    fn new(partitions: i32, standbys: usize) -> anyhow::Result<Self> {
        let log = Arc::new(EmbeddedLog::new());
        let input = NewTopic { name: "in".into(), partitions, replication_factor: None, config: BTreeMap::new() };
        log.admin()?.create_topics(&[input])?;
        let topology = Topology::builder("counts");
        topology.stream("in", Serdes::<String, i64>::json()).group_by_key().count().materialized("count").queryable();
        Ok(Self { log, topology: topology.build()?, partitions, standbys, homes: BTreeMap::new() })
    }

    async fn start(&mut self, id: &'static str) -> anyhow::Result<()> {
        if !self.homes.contains_key(id) {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            self.homes.insert(id, Home { state: tempfile::tempdir()?, port, life: None });
        }
        let home = self.homes.get_mut(id).context("it was added")?;
        let link = self.log.connect();
        let log = Arc::new(FaultyLog::new(Arc::new(link.clone())));
        let config = Config {
            instance_id: id.into(),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, home.port)),
            state_dir: home.state.path().to_owned(),
            threads: 1,
            commit_interval: Duration::from_millis(20),
            session_timeout: Duration::from_secs(2),
            num_standby_replicas: self.standbys,
            // What a test counts has to be read, however little it is.
            acceptable_recovery_lag: 0,
            ..Config::default()
        };
        let faults = log.faults();
        let instance = App::new(self.topology.clone(), config).with_log(log).start().await?;
        home.life = Some(Life { instance, faults, link });
        Ok(())
    }

    /// As by SIGKILL: nothing that it does reaches the log any more.
    fn kill(&mut self, id: &str) -> anyhow::Result<()> {
        let home = self.homes.get_mut(id).context("an instance")?;
        let Life { instance, faults, link } = home.life.take().context("it runs")?;
        faults.crash();
        link.set_connected(false);
        // Its threads stand still for the rest of the test.
        std::mem::forget(instance);
        Ok(())
    }

    async fn stop_all(self) -> anyhow::Result<()> {
        for life in self.homes.into_values().filter_map(|home| home.life) {
            life.instance.stop().await?;
        }
        Ok(())
    }

    /// Appends one record of each key, so often.
    fn append(&self, times: usize) -> anyhow::Result<()> {
        let (topic, headers, mut partitioner) = (Arc::from("in"), &Headers::default(), Partitioner::new());
        let mut producer = self.log.producer()?;
        for key in (0..times).flat_map(|_| 0..KEYS).map(|key| format!("\"k{key}\"")) {
            let key = key.as_bytes();
            let partition = partitioner.partition(Some(key), self.partitions);
            let (key, value) = (Some(key), Some(&b"1"[..]));
            producer.append(Append { topic: &topic, partition, key, value, timestamp_ms: 1_000, headers })?;
        }
        Ok(producer.flush(PATIENCE)?)
    }

    async fn get(&self, id: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let port = self.homes.get(id).context("an instance")?.port;
        let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Whether all keys were counted so often, as this instance answers.
    async fn is_counted(&self, id: &str, times: usize, consistency: &str) -> anyhow::Result<bool> {
        for key in 0..KEYS {
            let path = format!("/stores/count/keys/%22k{key}%22?consistency={consistency}");
            let (status, body) = self.get(id, &path).await?;
            if status != 200 || !body.contains(&format!("\"value\":{times},")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn counted(&self, id: &str, times: usize) -> anyhow::Result<()> {
        until(&format!("{id} counts {times}"), PATIENCE, async || self.is_counted(id, times, "active").await).await
    }

    /// A metric of an instance, by task.
    async fn metric(&self, id: &str, name: &str) -> anyhow::Result<BTreeMap<String, f64>> {
        let (_, text) = self.get(id, "/metrics").await?;
        let of_task = |line: &str| {
            let (task, value) = line.strip_prefix(name)?.strip_prefix("{task=\"")?.split_once("\"} ")?;
            Some((task.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(of_task).collect())
    }

    async fn restored(&self, id: &str) -> anyhow::Result<f64> {
        Ok(self.metric(id, "millpond_restore_records_total").await?.values().sum())
    }

    async fn followed(&self, id: &str) -> anyhow::Result<f64> {
        Ok(self.metric(id, "millpond_standby_records_total").await?.values().sum())
    }

    /// The role and state in which each instance has each task, as one of them sees it.
    async fn hosts(&self, id: &str) -> anyhow::Result<BTreeMap<(String, String), (String, String)>> {
        let body: serde_json::Value = serde_json::from_str(&self.get(id, "/cluster").await?.1)?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let tasks = body["tasks"].as_array().cloned().unwrap_or_default();
        let hosts = tasks.iter().flat_map(|task| {
            let hosts = task["hosts"].as_array().cloned().unwrap_or_default();
            let name = text(&task["task"]);
            hosts
                .into_iter()
                .map(move |host| ((name.clone(), text(&host["instance"])), (text(&host["role"]), text(&host["state"]))))
        });
        Ok(hosts.collect())
    }

    /// How many tasks an instance has in a role, all of them running or caught up.
    async fn has(&self, id: &str, role: &str) -> anyhow::Result<usize> {
        let hosts = self.hosts(id).await?;
        let is = |host: &str, as_what: &(String, String)| host == id && *as_what == (role.into(), "running".into());
        Ok(hosts.iter().filter(|((_, host), as_what)| is(host, as_what)).count())
    }

    async fn until_has(&self, id: &str, role: &str, tasks: usize) -> anyhow::Result<()> {
        let what = format!("{id} has {tasks} tasks as {role}");
        until(&what, PATIENCE, async || Ok(self.has(id, role).await? == tasks)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_restores_the_tail_alone() -> anyhow::Result<()> {
    let mut bed = Bed::new(1, 1)?;
    bed.start("a").await?;
    bed.append(5)?;
    bed.counted("a", 5).await?;
    bed.start("b").await?;
    bed.until_has("b", "standby", 1).await?;
    // What it answers itself is the state that it follows.
    let (status, body) = bed.get("b", "/stores/count/keys/%22k7%22?consistency=standby").await?;
    ensure!(status == 200 && body.contains("\"value\":5,") && body.contains("\"standby\""), "{status} {body}");
    let followed = bed.followed("b").await?;
    ensure!(followed >= KEYS as f64, "it read {followed} records");

    bed.kill("a")?;
    bed.append(1)?;
    bed.counted("b", 6).await?;
    let restored = bed.restored("b").await?;
    // What a had under way and committed last, at the most.
    ensure!(restored < KEYS as f64 / 2.0, "{restored} records were restored, of at least {}", 5 * KEYS);
    ensure!(bed.has("b", "active").await? == 1);
    bed.stop_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_task_that_moves_away_follows_without_a_restore() -> anyhow::Result<()> {
    const TASKS: usize = 4;
    let mut bed = Bed::new(4, 1)?;
    bed.start("a").await?;
    bed.append(5)?;
    bed.counted("a", 5).await?;
    bed.until_has("a", "active", TASKS).await?;
    bed.start("b").await?;
    for id in ["a", "b"] {
        bed.until_has(id, "active", TASKS / 2).await?;
        bed.until_has(id, "standby", TASKS / 2).await?;
    }
    let before = bed.followed("a").await?;
    ensure!(before == 0.0, "a has read {before} records that it had written");
    let restored = bed.restored("b").await?;
    ensure!(restored == 0.0, "b has restored {restored} records, though its warm-ups had read them");
    bed.append(1)?;
    bed.counted("a", 6).await?;
    until("both standbys have it", PATIENCE, async || {
        Ok(bed.is_counted("a", 6, "standby").await? && bed.is_counted("b", 6, "standby").await?)
    })
    .await?;
    let (restored, followed) = (bed.restored("a").await?, bed.followed("a").await?);
    ensure!(restored == 0.0, "a has restored {restored} records");
    ensure!(followed <= KEYS as f64, "a has read {followed} records, and b has written fewer");
    bed.stop_all().await
}

/// The standby of one task becomes active there, while the other task goes on with its records.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_stays_goes_on_while_others_move() -> anyhow::Result<()> {
    let mut bed = Bed::new(4, 1)?;
    bed.start("a").await?;
    bed.start("b").await?;
    for id in ["a", "b"] {
        bed.until_has(id, "active", 2).await?;
    }
    let hosts = bed.hosts("a").await?;
    let active = |id: &str| -> Vec<String> {
        let of = hosts.iter().filter(|((_, host), (role, _))| host == id && role == "active");
        of.map(|((task, _), _)| task.clone()).collect()
    };
    let (of_a, of_b) = (active("a"), active("b"));
    bed.append(1)?;
    bed.counted("a", 1).await?;
    for id in ["a", "b"] {
        bed.until_has(id, "standby", 2).await?;
    }
    bed.kill("a")?;
    // b hears of it when the session has ended; till then it has to go on with its own.
    bed.append(1)?;
    let records = "millpond_task_records_total";
    until("b goes on", PATIENCE, async || {
        let counts = bed.metric("b", records).await?;
        let own: f64 = of_b.iter().filter_map(|task| counts.get(task)).sum();
        let hosts = bed.hosts("b").await?;
        let has_moved = of_a.iter().any(|task| {
            hosts.get(&(task.clone(), "b".into())).is_some_and(|(role, state)| role == "active" && state == "running")
        });
        ensure!(!has_moved || own > 0.0, "b did nothing before it took over");
        Ok(own > 0.0 && has_moved)
    })
    .await?;
    bed.counted("b", 2).await?;
    let restored = bed.metric("b", "millpond_restore_records_total").await?;
    let own: f64 = of_b.iter().filter_map(|task| restored.get(task)).sum();
    ensure!(own == 0.0, "tasks that stayed restored {own} records: {restored:?}");
    bed.stop_all().await
}
