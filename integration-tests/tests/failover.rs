//! What a service is promised when it loses an instance, with real processes on a real Kafka: a short form of `make failover`, without its seconds.

use anyhow::{Context as _, ensure};
use integration_tests::failover::{Bars, How, Options, kill, roll};
use tokio::sync::Mutex;

/// One at a time: each has a broker and three instances.
static ONE: Mutex<()> = Mutex::const_new(());

async fn play(measure: impl AsyncFnOnce(&Options, &mut Bars) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    let folder = tempfile::tempdir()?;
    let options = Options { times: 1, settings: Vec::new(), folder: folder.path().to_owned(), timed: false };
    let mut bars = Bars::default();
    let measured = measure(&options, &mut bars).await;
    if measured.is_err() || !bars.missed().is_empty() {
        let kept = folder.keep();
        measured.with_context(|| format!("logs and state: {}", kept.display()))?;
        ensure!(bars.missed().is_empty(), "{:?}; logs and state: {}", bars.missed(), kept.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_takes_over_from_a_killed_instance_and_nothing_is_lost() -> anyhow::Result<()> {
    play(async |options, bars| kill(options, How::Kill, bars).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_that_stops_hands_over_first_and_no_read_fails() -> anyhow::Result<()> {
    play(async |options, bars| roll(options, 1, bars).await).await
}
