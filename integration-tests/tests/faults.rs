//! Rounds of faults with real processes on a real Kafka: a short form of `make faults`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use integration_tests::{
    broker::Broker,
    faults::{Fault, Plan, Report, round},
};
use millpond::config::Guarantee::ExactlyOnce;
use tokio::sync::Mutex;

/// One round at a time: on a slow disk two brokers and their instances make each other wait for longer than a round may take.
static ONE: Mutex<()> = Mutex::const_new(());

async fn play(instances: usize, faults: Vec<Fault>) -> anyhow::Result<Report> {
    let _one = ONE.lock().await;
    let (mut broker, folder) = (Broker::private_to_crash()?, tempfile::tempdir()?);
    let faults = faults.into_iter().map(|fault| (Duration::from_secs(1), fault)).collect();
    let plan = Plan { seed: 1, guarantee: ExactlyOnce, instances, standbys: 0, faults };
    let report = round(&mut broker, &plan, folder.path()).await.and_then(|report| {
        println!("{plan} => {report}");
        ensure!(report.notes.is_empty(), "{:?}", report.notes);
        Ok(report)
    });
    report.or_else(|error| Err(error).with_context(|| format!("logs and state: {}", folder.keep().display())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_between_kafkas_commit_and_the_local_write_and_a_zombie() -> anyhow::Result<()> {
    let down = Duration::ZERO;
    let killed = Fault::KillAt { victim: 0, at: "commit:after:3".parse()?, down };
    let zombie = Fault::Freeze { victim: 1, time: Duration::from_secs(9) };
    play(2, vec![killed, zombie]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_crashes_tables_that_are_damaged_and_a_kill_while_they_are_restored() -> anyhow::Result<()> {
    let broker = Fault::KillBroker { down: Duration::from_secs(2) };
    let corrupt = Fault::Corrupt { victim: 0, running: false };
    let killed = Fault::KillAtStart { victim: 1, at: "read-changelog:after:1".parse()? };
    let report = play(2, vec![broker, corrupt, killed]).await?;
    ensure!(report.damages_found > 0, "damaged tables were not found");
    Ok(())
}
