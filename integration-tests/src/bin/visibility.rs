//! Time from a record's append to its being visible in a query on another instance, with default settings, on a real Kafka.
//!
//! Two instances in one process share the work of a topology that re-keys (so a record crosses a repartition topic and is committed
//! twice). Each sample appends a record with a key of its own and asks the instance that does *not* own the key until the answer is
//! there. The first samples warm up connections and caches: they are awaited, but not counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use integration_tests::{
    broker::{Broker, unique},
    service::until,
};
use millpond::{
    App, Config, Serdes, Topology,
    app::Instance,
    log::{
        Append, Headers, Log, NewTopic, Partitioner,
        kafka::{KafkaLog, KafkaOptions},
    },
};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

const PARTITIONS: i32 = 6;
/// Of the topology: the clicks, and what is behind the repartition topic.
const SUB_TOPOLOGIES: usize = 2;
const STORE: &str = "latest";
const INSTANCES: [&str; 2] = ["a", "b"];
/// How often a key is asked for: often enough to measure, seldom enough not to be the load that is measured.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures how long an appended record takes to be visible on another instance.
#[derive(Debug, Parser)]
struct Arguments {
    /// Records to measure.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Records appended before those, and not counted.
    #[arg(long, default_value_t = 50)]
    warm_up: u32,
    /// Records appended per second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The bar: fail if the 99th percentile is above it, in ms.
    #[arg(long, default_value_t = 1000)]
    p99_below_ms: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Click {
    user: String,
}

fn topology(topic: &str) -> anyhow::Result<Topology> {
    let topology = Topology::builder("visibility");
    topology
        .stream(topic, Serdes::<String, Click>::json())
        .group_by(|_, click| click.user.clone())
        .count()
        .materialized(STORE)
        .queryable();
    Ok(topology.build()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let broker = tokio::task::spawn_blocking(Broker::shared).await??;
    let options =
        KafkaOptions { bootstrap: broker.bootstrap().into(), client_id: "visibility".into(), ..Default::default() };
    let log: Arc<dyn Log> = Arc::new(KafkaLog::connect(options)?);
    let topic: Arc<str> = unique("clicks").into();
    let application = unique("visibility");
    let (made, name) = (Arc::clone(&log), topic.to_string());
    tokio::task::spawn_blocking(move || {
        let config = BTreeMap::new();
        made.admin()?.create_topics(&[NewTopic { name, partitions: PARTITIONS, replication_factor: None, config }])
    })
    .await??;

    let state = tempfile::tempdir()?;
    let mut instances = Vec::new();
    for name in INSTANCES {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = Config {
            bootstrap: broker.bootstrap().into(),
            application_id: Some(application.clone()),
            instance_id: name.into(),
            http: ([127, 0, 0, 1], port).into(),
            state_dir: state.path().join(name),
            threads: 1,
            ..Config::default()
        };
        instances.push(App::new(topology(&topic)?, config).start().await?);
    }
    let client = reqwest::Client::new();
    for instance in &instances {
        until("both instances own tasks", PATIENCE, async || settled(&client, instance).await).await?;
    }

    let urls: Arc<[String]> = instances.iter().map(|instance| instance.url().to_owned()).collect();
    let times = measure(&arguments, &*log, &topic, &client, &urls).await?;
    for instance in instances {
        instance.stop().await?;
    }
    report(&arguments, times)
}

/// Whether an instance is ready, and sees an owner for every task, among them both instances, and no task on the move.
async fn settled(client: &reqwest::Client, instance: &Instance) -> anyhow::Result<bool> {
    if !client.get(format!("{}/readyz", instance.url())).send().await?.status().is_success() {
        return Ok(false);
    }
    let cluster: Value = client.get(format!("{}/cluster", instance.url())).send().await?.json().await?;
    let tasks = cluster["tasks"].as_array().context("`/cluster` lists tasks")?;
    let stay = tasks.iter().all(|task| task["owner"].is_string() && task["owner"] == task["assigned"]);
    let owners: BTreeSet<_> = tasks.iter().filter_map(|task| task["owner"].as_str()).collect();
    Ok(stay && tasks.len() == SUB_TOPOLOGIES * PARTITIONS as usize && owners == INSTANCES.into())
}

/// Appends the records, one every so often, and gives how long each took to be visible, but for the warm-up.
async fn measure(
    arguments: &Arguments,
    log: &dyn Log,
    topic: &Arc<str>,
    client: &reqwest::Client,
    urls: &Arc<[String]>,
) -> anyhow::Result<Vec<Duration>> {
    let mut samples = JoinSet::new();
    let mut producer = log.producer()?;
    let mut partitioner = Partitioner::new();
    let mut pace = interval(Duration::from_secs(1) / arguments.rate);
    for n in 0..arguments.warm_up + arguments.samples {
        pace.tick().await;
        producer.serve();
        let user = format!("user-{n}");
        let value = serde_json::to_vec(&Click { user: user.clone() })?;
        let appended = Instant::now();
        producer.append(Append {
            topic,
            partition: partitioner.partition(None, PARTITIONS),
            key: Some(user.as_bytes()),
            value: Some(&value),
            timestamp_ms: i64::from(n),
            headers: &Headers::default(),
        })?;
        producer.serve();
        let visible = visible(client.clone(), Arc::clone(urls), user, appended);
        let counts = n >= arguments.warm_up;
        samples.spawn(async move { anyhow::Ok((counts, visible.await?)) });
    }
    producer.flush(Duration::from_secs(10))?;
    let mut times = Vec::new();
    while let Some(sample) = samples.join_next().await {
        if let (true, time) = sample?? {
            times.push(time);
        }
    }
    Ok(times)
}

/// Asks until an instance that does not own the key answers with it.
///
/// The key does not exist yet, but "not found" names the owner too: whoever turns out to own it is not asked again.
async fn visible(
    client: reqwest::Client,
    urls: Arc<[String]>,
    key: String,
    appended: Instant,
) -> anyhow::Result<Duration> {
    let mut asked = 0;
    loop {
        let response = client.get(format!("{}/stores/{STORE}/keys/{key}", urls[asked])).send().await?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        match status {
            StatusCode::OK | StatusCode::NOT_FOUND if answer["served_by"] == INSTANCES[asked] => asked = 1 - asked,
            StatusCode::OK => return Ok(appended.elapsed()),
            _ => {}
        }
        ensure!(appended.elapsed() < PATIENCE, "`{key}` is not visible: {status} {answer}");
        sleep(POLL_INTERVAL).await;
    }
}

fn report(arguments: &Arguments, mut times: Vec<Duration>) -> anyhow::Result<()> {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let Arguments { rate, warm_up, p99_below_ms, .. } = arguments;
    let count = times.len();
    println!(
        "append to visible on another instance: two commits (repartition), default settings, {rate} records/s; \
         the first {warm_up} are not counted"
    );
    println!(
        "{count} records: p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    ensure!(at(0.99) < *p99_below_ms as f64, "p99 is above {p99_below_ms} ms");
    Ok(())
}
