//! Joins by a foreign key through the real runtime: tables with different numbers of partitions, two instances, a restart
//! in the middle. In the end the results are those of the driver, which has one partition of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use integration_tests::{in_process::PATIENCE, service::until};
use millpond::{
    App, Config, Serdes, Topology,
    app::Instance,
    config::MemoryShares,
    log::{
        Append, Headers, Isolation, Log, NewTopic, Partitioner, ReadFrom, ReaderEvent, TopicPartition,
        embedded::EmbeddedLog,
    },
    testing::{TestTopic, TopologyTestDriver},
};
use tempfile::TempDir;

/// Topics and their partitions.
const TOPICS: [(&str, i32); 4] = [("orders", 3), ("customers", 2), ("named", 4), ("all", 4)];
const UPDATES: u32 = 900;

/// The latest value of each key.
type Rows = BTreeMap<String, String>;

/// An update of a row: topic, key, value.
type Update = (&'static str, String, Option<String>);

/// Orders with the names of their customers: those that have one, and all.
fn topology() -> anyhow::Result<Topology> {
    let topology = Topology::builder("foreign-keys");
    let orders = topology.table("orders", Serdes::<String, String>::default());
    let customers = topology.table("customers", Serdes::<String, String>::default());
    let customer_of = |_: &String, order: &String| Some(order.split_once(' ')?.0.to_owned());
    let named = orders.join_on(&customers, customer_of, |_, order, name| format!("{order} {name}"));
    named.materialized("named").to_stream().to("named");
    let all = orders.left_join_on(&customers, customer_of, |_, order, name| {
        format!("{order} {}", name.map_or("nobody", String::as_str))
    });
    all.to_stream().to("all");
    Ok(topology.build()?)
}

/// Updates of 60 orders and 9 customers, in no order.
fn updates() -> impl Iterator<Item = Update> {
    let mut state: u32 = 42;
    let mut below = move |end: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % end
    };
    (0..UPDATES).map(move |n| match below(4) {
        0 => ("customers", format!("c{}", below(9)), (below(4) > 0).then(|| format!("name-{n}"))),
        _ => {
            let order = match below(10) {
                0 => None,
                1 => Some(format!("nobody's-{n}")),
                _ => Some(format!("c{} item-{n}", below(9))),
            };
            ("orders", format!("o{}", below(60)), order)
        }
    })
}

/// What the driver makes of all updates: by the topic of the results.
fn expected() -> anyhow::Result<BTreeMap<&'static str, Rows>> {
    let mut driver = TopologyTestDriver::new(&topology()?)?;
    let topic = |name| TestTopic::<String, Option<String>>::new(name, Serdes::default());
    let mut tables = BTreeMap::from([("named", Rows::new()), ("all", Rows::new())]);
    for (to, key, value) in updates() {
        driver.pipe(&topic(to), &key, &value, 0)?;
        for (from, rows) in &mut tables {
            for result in driver.read(&topic(from))? {
                apply(rows, result.key, result.value);
            }
        }
    }
    Ok(tables)
}

fn apply(rows: &mut Rows, key: String, value: Option<String>) {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    };
}

fn create_topics(log: &EmbeddedLog) -> anyhow::Result<()> {
    let new = |(name, partitions): (&str, i32)| NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: None,
        config: BTreeMap::new(),
    };
    Ok(log.admin()?.create_topics(&TOPICS.map(new))?)
}

/// Appends updates. Orders are where whoever writes them wants them; customers must be where their keys belong.
fn feed(log: &EmbeddedLog, updates: &[Update]) -> anyhow::Result<()> {
    let mut producer = log.producer()?;
    for (topic, key, value) in updates {
        let partition = match *topic {
            "orders" => key.len() as i32 + i32::from(key.ends_with('7')) - 2,
            _ => Partitioner::for_key(key.as_bytes(), 2),
        };
        let (topic, key, value) = (Arc::from(*topic), Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
        producer.append(Append {
            topic: &topic,
            partition,
            key,
            value,
            timestamp_ms: 0,
            headers: &Headers::default(),
        })?;
    }
    Ok(producer.flush(PATIENCE)?)
}

/// The rows that a topic of results tells of.
fn results(log: &EmbeddedLog, topic: &str) -> anyhow::Result<Rows> {
    let partitions = || (0..4).map(|partition| TopicPartition::new(topic, partition));
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    partitions().try_for_each(|partition| reader.assign(&partition, ReadFrom::Beginning))?;
    let (mut rows, mut unread) = (Rows::new(), partitions().collect::<BTreeSet<_>>());
    while !unread.is_empty() {
        let fetched = reader.poll(10_000, Duration::from_millis(100))?;
        for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            apply(&mut rows, text(record.key.unwrap_or_default()), record.value.map(text));
        }
        for event in fetched.events {
            if let ReaderEvent::EndReached { partition, .. } = event {
                unread.remove(&partition);
            }
        }
    }
    Ok(rows)
}

async fn start(log: &EmbeddedLog, name: &str, state: &Path) -> anyhow::Result<Instance> {
    let config = Config {
        instance_id: name.into(),
        http: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        state_dir: state.join(name),
        threads: 1,
        commit_interval: Duration::from_millis(20),
        session_timeout: Duration::from_millis(300),
        memory_bytes: MemoryShares::least(1),
        ..Config::default()
    };
    let instance = App::new(topology()?, config).with_log(Arc::new(log.connect())).start().await?;
    let url = format!("{}/readyz", instance.url());
    until("ready", PATIENCE, async || Ok(reqwest::get(&url).await?.status().is_success())).await?;
    Ok(instance)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_different_numbers_of_partitions_join_as_if_there_was_one() -> anyhow::Result<()> {
    let (log, state) = (EmbeddedLog::new(), TempDir::new()?);
    create_topics(&log)?;
    let updates: Vec<Update> = updates().collect();
    let parts: Vec<&[Update]> = updates.chunks(updates.len() / 3).collect();

    feed(&log, parts[0])?;
    let first = start(&log, "a", state.path()).await?;
    let second = start(&log, "b", state.path()).await?;
    feed(&log, parts[1])?;
    second.stop().await?;
    feed(&log, parts[2])?;
    let second = start(&log, "b", state.path()).await?;

    for (topic, expected) in expected()? {
        ensure!(expected.len() > 20, "{topic}: too few rows to tell anything");
        let settled =
            until("the results are those of the driver", PATIENCE, async || Ok(results(&log, topic)? == expected));
        if settled.await.is_err() {
            ensure!(results(&log, topic)? == expected, "{topic}: {:?}\nnot\n{expected:?}", results(&log, topic)?);
        }
    }
    second.stop().await?;
    Ok(first.stop().await?)
}
