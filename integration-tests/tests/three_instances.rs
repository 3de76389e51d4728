//! The main job with real processes on a real Kafka: three instances, all flights, a kill in the middle of the feed.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flights::{check, topology::topology, truth::Truth};
use integration_tests::{
    broker::Broker,
    service::{APPLICATION, Instance, flights_binary, until},
};
use millpond::log::{
    Batch, Isolation, Log, ReadFrom, ReaderEvent, TopicPartition,
    kafka::{KafkaLog, KafkaOptions},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Flights per second of the feed: slow enough for a kill in its middle, fast enough for a test.
const RATE: &str = "20000";
/// Records of the instance before it is killed.
const KILL_AFTER: f64 = 100_000.0;
const PARTITIONS: i32 = 6;
const SUB_TOPOLOGIES: f64 = 5.0;

/// The sum of a metric's samples.
async fn total(instance: &Instance, metric: &str) -> anyhow::Result<f64> {
    Ok(instance.metric(metric).await?.values().sum())
}

/// Records processed by an instance.
async fn processed(instance: &Instance) -> anyhow::Result<f64> {
    total(instance, "millpond_task_records_total").await
}

/// How many committed records the tasks have to process: those of the sources and of the repartition topics.
async fn input_records(bootstrap: String) -> anyhow::Result<usize> {
    tokio::task::spawn_blocking(move || {
        let options = KafkaOptions { bootstrap, client_id: "count".into(), ..KafkaOptions::default() };
        let log = KafkaLog::connect(options)?;
        let topology = topology()?.resolve(APPLICATION);
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        let mut open = 0;
        for topic in topology.sub_topologies.iter().flat_map(|sub_topology| &sub_topology.sources) {
            for partition in 0..PARTITIONS {
                reader.assign(&TopicPartition::new(Arc::clone(topic), partition), ReadFrom::Beginning)?;
                open += 1;
            }
        }
        let (mut records, mut ended) = (0, BTreeSet::new());
        while ended.len() < open {
            let fetched = reader.poll(10_000, Duration::from_millis(200))?;
            records += fetched.batches.iter().map(Batch::len).sum::<usize>();
            for event in fetched.events {
                if let ReaderEvent::EndReached { partition, .. } = event {
                    ended.insert(partition);
                }
            }
        }
        Ok(records)
    })
    .await?
}

/// The tasks that an instance runs, as it says itself.
async fn active_tasks(instance: &Instance) -> anyhow::Result<f64> {
    let tasks = instance.metric("millpond_tasks").await?;
    Ok(tasks.get(r#"{role="active",state="running"}"#).copied().unwrap_or(0.0))
}

fn feed(bootstrap: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(flights_binary()?);
    command.args(["feed", "--bootstrap", bootstrap]).args(arguments).stdin(Stdio::null());
    Ok(command)
}

async fn all_right(instances: &[&Instance], truth: &Truth) -> anyhow::Result<()> {
    let urls: Vec<String> = instances.iter().map(|instance| instance.url()).collect();
    for url in &urls {
        check::wait_until_right(url, truth, None, PATIENCE, |_, _| {}).await?;
    }
    let report = check::check(&urls, truth, None).await?;
    ensure!(report.wrong == 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_right_on_every_instance_through_a_kill_and_a_restart() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let truth = Truth::compute()?;
    ensure!(feed(broker.bootstrap(), &["--only", "tables"])?.status()?.success(), "the tables were not fed");

    let mut instances = ["a", "b", "c"].map(|id| Instance::new(id, broker.bootstrap(), folder.path()));
    let [Ok(a), Ok(b), Ok(c)] = &mut instances else { anyhow::bail!("no free ports") };
    for instance in [&mut *a, &mut *b, &mut *c] {
        instance.start()?;
    }
    for instance in [&mut *a, &mut *b, &mut *c] {
        instance.ready(PATIENCE).await?;
    }

    // Kill one in the middle of the feed.
    let mut feeding = feed(broker.bootstrap(), &["--only", "flights", "--rate", RATE])?.spawn()?;
    until("b processes flights", PATIENCE, async || Ok(processed(b).await? > KILL_AFTER)).await?;
    let before = processed(b).await?;
    ensure!(feeding.try_wait()?.is_none(), "the feed ended before the kill: lower its rate");
    b.kill()?;
    ensure!(tokio::task::spawn_blocking(move || feeding.wait()).await??.success(), "the flights were not fed");
    all_right(&[a, c], &truth).await.context("after the kill")?;

    // What b had committed was restored from changelogs, not read again: but for what it had in hand, no record was processed twice.
    let restored =
        total(a, "millpond_restore_records_total").await? + total(c, "millpond_restore_records_total").await?;
    ensure!(restored > 0.0, "nothing was restored from changelogs");
    let done = before + processed(a).await? + processed(c).await?;
    let records = input_records(broker.bootstrap().to_owned()).await? as f64;
    ensure!(done >= records - before, "{done} records processed, of {records}");
    ensure!(done < records + before / 2.0, "{done} records processed, of {records}: b had done {before} of them");

    // It comes back and takes tasks again.
    b.start()?;
    b.ready(PATIENCE).await?;
    until("b takes tasks again", PATIENCE, async || Ok(active_tasks(b).await? >= 1.0)).await?;
    all_right(&[a, b, c], &truth).await.context("after the return")?;

    // A clean stop and start of all three reads nothing again.
    for instance in [&mut *a, &mut *b, &mut *c] {
        instance.terminate()?;
    }
    for instance in [&mut *a, &mut *b, &mut *c] {
        let status = instance.ended(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status}", instance.id);
    }
    for instance in [&mut *a, &mut *b, &mut *c] {
        instance.start()?;
    }
    for instance in [&mut *a, &mut *b, &mut *c] {
        instance.ready(PATIENCE).await?;
    }
    until("all tasks run", PATIENCE, async || {
        let running = active_tasks(a).await? + active_tasks(b).await? + active_tasks(c).await?;
        Ok(running >= f64::from(PARTITIONS) * SUB_TOPOLOGIES)
    })
    .await?;
    all_right(&[a, b, c], &truth).await.context("after the restart")?;
    for instance in [&*a, &*b, &*c] {
        let again = processed(instance).await?;
        ensure!(again == 0.0, "{} processed {again} records again after a clean restart", instance.id);
    }
    Ok(())
}
