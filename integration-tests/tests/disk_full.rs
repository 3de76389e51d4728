//! A disk that fills up: the instance says so and stops, and nothing is lost.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use flights::truth::Truth;
use integration_tests::{
    broker::Broker,
    job::{PATIENCE, all_right, feed, feed_tables},
    service::Instance,
};

/// Room for the databases when they are new, and not for what the flights make of them.
const DISK_BYTES: u64 = 4 << 20;
/// Little, so that rows go to the disk soon.
const MEMORY_BYTES: &str = "10485760";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_disk_is_full_stops_by_name_and_loses_nothing() -> anyhow::Result<()> {
    let (broker, folder) = (Broker::private()?, tempfile::tempdir()?);
    let truth = Truth::compute()?;
    feed_tables(broker.bootstrap())?;
    let mut instance =
        Instance::new("a", broker.bootstrap(), folder.path())?.with("MILLPOND_MEMORY_BYTES", MEMORY_BYTES);
    instance.set_disk(Some(DISK_BYTES));
    instance.start()?;
    instance.ready(PATIENCE).await.context("there is room for new databases")?;
    ensure!(feed(broker.bootstrap(), &["--only", "flights"])?.status()?.success(), "the flights were not fed");
    let status = instance.ended(PATIENCE).await?;
    let log = fs::read_to_string(instance.log())?;
    ensure!(!status.success(), "it ended well, with a full disk: {}", instance.log().display());
    for told in ["No space left on device", instance.state_dir().to_str().context("UTF-8")?, "free space"] {
        ensure!(log.contains(told), "its log does not say `{told}`: {}", instance.log().display());
    }

    // On a disk with room it restores what was committed, and does the rest once.
    instance.set_disk(None);
    instance.start()?;
    instance.ready(PATIENCE).await?;
    all_right(&[&instance], &truth).await.context("on a disk with room")?;
    instance.terminate()?;
    ensure!(instance.ended(Duration::from_secs(30)).await?.success(), "it did not stop well");
    Ok(())
}
