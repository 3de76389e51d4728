//! The main job with real processes: flights fed to a real Kafka, records counted, every answer compared with the truth.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flights::{check, model::topics::FLIGHTS, topology::topology, truth::Truth};
use millpond::{
    log::{
        Isolation, Log, ReadFrom, ReaderEvent, TopicPartition,
        kafka::{KafkaLog, KafkaOptions},
    },
    state::TaskId,
    topology::Resolved,
};

use crate::service::{APPLICATION, Instance, flights_binary, until};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Partitions of each topic, and so tasks of each sub-topology.
pub const PARTITIONS: i32 = 6;

/// The topology of the service, with the names that its topics have on Kafka.
///
/// # Errors
/// None.
pub fn resolved() -> anyhow::Result<Resolved> {
    Ok(topology()?.resolve(APPLICATION))
}

/// `flights feed` with these arguments.
///
/// # Errors
/// When the binary is not built.
pub fn feed(bootstrap: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(flights_binary()?);
    command.args(["feed", "--bootstrap", bootstrap]).args(arguments).env("MILLPOND_LOG", "warn").stdin(Stdio::null());
    Ok(command)
}

/// Creates the topics and feeds the reference tables.
///
/// # Errors
/// When that fails.
pub fn feed_tables(bootstrap: &str) -> anyhow::Result<()> {
    ensure!(feed(bootstrap, &["--only", "tables"])?.status()?.success(), "the tables were not fed");
    Ok(())
}

/// Starts instances, and waits until they run all tasks.
///
/// # Errors
/// When that takes too long.
pub async fn start_all(instances: &mut [Instance]) -> anyhow::Result<()> {
    for instance in &mut *instances {
        instance.start()?;
    }
    for instance in &mut *instances {
        instance.ready(PATIENCE).await?;
    }
    all_tasks_run(&*instances).await
}

/// Waits until the tasks are spread evenly over these instances, and run.
///
/// # Errors
/// When that takes too long.
pub async fn all_tasks_run(instances: &[Instance]) -> anyhow::Result<()> {
    let share = resolved()?.sub_topologies.len() * PARTITIONS as usize / instances.len();
    until("each instance runs its share of the tasks", PATIENCE, async || {
        for instance in instances {
            if instance.active_tasks().await? != share as f64 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// Asks instances to stop, all at once, and waits until they have.
///
/// # Errors
/// When one does not, or not well.
pub async fn stop_all(instances: &mut [Instance]) -> anyhow::Result<()> {
    for instance in &mut *instances {
        instance.terminate()?;
    }
    for instance in instances {
        let status = instance.ended(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status}", instance.id);
    }
    Ok(())
}

/// Waits until every instance answers every key as the truth has it.
///
/// # Errors
/// When answers stay wrong: says which.
pub async fn all_right(instances: &[&Instance], truth: &Truth) -> anyhow::Result<()> {
    let urls: Vec<String> = instances.iter().map(|instance| instance.url()).collect();
    for url in &urls {
        check::wait_until_right(url, truth, None, PATIENCE, |_, _| {}).await?;
    }
    let report = check::check(&urls, truth, None).await?;
    ensure!(report.is_right(), "{report}");
    Ok(())
}

/// How many flights the instances have taken in: each does so once, before it goes to its four stores.
///
/// # Errors
/// When one does not answer.
pub async fn flights_read(instances: impl IntoIterator<Item = &Instance>) -> anyhow::Result<f64> {
    let resolved = resolved()?;
    let reads_flights = |topics: &[Arc<str>]| topics.iter().any(|topic| **topic == *FLIGHTS);
    let first = resolved.sub_topologies.iter().find(|part| reads_flights(&part.sources)).context("flights are read")?;
    let mut read = 0.0;
    for instance in instances {
        for (task, records) in instance.by_task("millpond_task_records_total").await? {
            read += if task.sub_topology == first.id { records } else { 0.0 };
        }
    }
    Ok(read)
}

/// Whether every repartition topic has lost the records that were processed, in all partitions that had any.
///
/// # Errors
/// When Kafka cannot be asked.
pub async fn repartition_topics_are_purged(bootstrap: &str) -> anyhow::Result<bool> {
    let topics = resolved()?.sub_topologies.iter().flat_map(|part| part.repartition_topics.clone()).collect::<Vec<_>>();
    let options = KafkaOptions { bootstrap: bootstrap.into(), client_id: "purge".into(), ..KafkaOptions::default() };
    tokio::task::spawn_blocking(move || {
        let mut reader = KafkaLog::connect(options)?.reader(Isolation::ReadCommitted)?;
        ensure!(!topics.is_empty(), "flights are grouped by other keys than their own");
        for topic in topics {
            for partition in (0..PARTITIONS).map(|partition| TopicPartition::new(Arc::clone(&topic), partition)) {
                if reader.end_offset(&partition)? > 0 && reader.beginning_offset(&partition)? == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    })
    .await?
}

/// How many committed records the changelogs of these tasks have.
///
/// # Errors
/// When Kafka cannot be read.
pub async fn changelog_records(bootstrap: &str, tasks: &BTreeSet<TaskId>) -> anyhow::Result<u64> {
    let resolved = resolved()?;
    let changelogs = |task: &TaskId| {
        let stores = resolved.sub_topologies[task.sub_topology as usize].stores.iter();
        let partition = task.partition;
        stores.filter_map(move |store| Some(TopicPartition::new(store.changelog.clone()?, partition)))
    };
    committed_records(bootstrap, tasks.iter().flat_map(changelogs).collect()).await
}

/// Reads partitions to their ends, and counts.
async fn committed_records(bootstrap: &str, partitions: Vec<TopicPartition>) -> anyhow::Result<u64> {
    let options = KafkaOptions { bootstrap: bootstrap.into(), client_id: "count".into(), ..KafkaOptions::default() };
    tokio::task::spawn_blocking(move || {
        let log = KafkaLog::connect(options)?;
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        for partition in &partitions {
            reader.assign(partition, ReadFrom::Beginning)?;
        }
        let (mut records, mut ended) = (0, BTreeSet::new());
        while ended.len() < partitions.len() {
            let fetched = reader.poll(10_000, Duration::from_millis(200))?;
            records += fetched.batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
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
