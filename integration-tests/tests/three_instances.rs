//! The main job with real processes on a real Kafka: three instances, all flights, a kill in their middle, a return, a restart.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use flights::truth::Truth;
use integration_tests::{
    broker::Broker,
    job::{
        PATIENCE, all_right, all_tasks_run, changelog_records, feed, feed_tables, flights_read,
        repartition_topics_are_purged, start_all, stop_all,
    },
    service::{Instance, until},
};
use millpond::time::{Clock as _, SystemClock};

/// Flights per second of the feed: slow enough for a kill in its middle, fast enough for a test.
const RATE: &str = "20000";
/// The share of the flights that are read before the kill: late enough that most of the state is on disk.
const READ_BEFORE_KILL: f64 = 0.8;
/// The most that the killed instance may have done without committing it, as the time that it worked for it: one commit interval (100 ms), the commit
/// itself (some 20 ms, several times that on a busy machine), and what came between the last look at its metrics and the kill. A burst may
/// be some times faster than its work on average. This is about 5 % of all that it did.
const IN_HAND: Duration = Duration::from_secs(1);
/// The memory of the stores, in bytes. What lies in their write buffers goes with a killed process; with the default of 256 MiB
/// that is all that so short a test ever writes.
const MEMORY_BYTES: &str = "16777216";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_right_on_every_instance_through_a_kill_and_a_restart() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let truth = Truth::compute()?;
    feed_tables(broker.bootstrap())?;
    let mut instances = Instance::three(broker.bootstrap(), folder.path())?
        .map(|instance| instance.with("MILLPOND_MEMORY_BYTES", MEMORY_BYTES));
    start_all(&mut instances).await?;

    // Kill one in the middle of the flights.
    let clock = SystemClock::new();
    let mut feeding = feed(broker.bootstrap(), &["--only", "flights", "--rate", RATE])?.spawn()?;
    until("most flights are read", PATIENCE, async || {
        Ok(flights_read(&instances).await? > READ_BEFORE_KILL * truth.flights() as f64)
    })
    .await?;
    let [a, b, c] = &mut instances;
    let before = flights_read([&*b]).await?;
    b.kill()?;
    let in_hand = before / clock.monotonic().as_secs_f64() * IN_HAND.as_secs_f64();
    ensure!(tokio::task::spawn_blocking(move || feeding.wait()).await??.success(), "the flights were not fed");
    all_right(&[a, c], &truth).await.context("after the kill")?;

    // What b had committed was followed by standbys, not read again: only what it had in hand was read twice. (Or it
    // committed a little after `before` was read: then as little is missing.) Who took its tasks over restored their tails alone.
    let followed = a.followed().await? + c.followed().await?;
    ensure!(followed > 0.0, "nothing was followed");
    let restored = a.restored().await? + c.restored().await?;
    ensure!(restored < followed / 10.0, "{restored} records were restored, {followed} had been followed");
    let read = before + flights_read([&*a, &*c]).await?;
    let flights = truth.flights() as f64;
    ensure!(
        (read - flights).abs() < in_hand,
        "{read} flights read, of {flights}: b had read {before} of them, and at most {in_hand:.0} since a commit"
    );

    // It comes back, takes tasks again, and keeps what was on its disk. Of their changelogs it reads what came after: a fifth of the flights, and
    // what was in write buffers when it was killed. From the beginning it would be all.
    b.start()?;
    b.ready(PATIENCE).await?;
    all_tasks_run(&instances).await?;
    let [a, b, c] = &mut instances;
    all_right(&[a, b, c], &truth).await.context("after the return")?;
    let mut read = b.by_task("millpond_restore_records_total").await?;
    for (task, records) in b.by_task("millpond_standby_records_total").await? {
        *read.entry(task).or_default() += records;
    }
    let whole = changelog_records(broker.bootstrap(), &read.keys().copied().collect()).await?;
    let tail: f64 = read.values().sum();
    ensure!(tail < whole as f64 / 2.0, "b restored and followed {tail} of {whole} changelog records: {read:?}");

    // What was processed leaves the repartition topics.
    until("repartition topics are purged", PATIENCE, async || repartition_topics_are_purged(broker.bootstrap()).await)
        .await?;

    // A clean stop and start of all three reads nothing again, neither inputs nor changelogs: tasks go where their state is.
    stop_all(&mut instances).await?;
    start_all(&mut instances).await?;
    all_right(&instances.each_ref(), &truth).await.context("after the restart")?;
    for instance in &instances {
        let (processed, restored) = (instance.processed().await?, instance.restored().await?);
        ensure!(processed == 0.0, "{} processed {processed} records again after a clean restart", instance.id);
        ensure!(restored == 0.0, "{} restored {restored} records after a clean restart", instance.id);
    }
    Ok(())
}
