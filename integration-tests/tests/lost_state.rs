//! State on a disk that its changelog lacks, or that is damaged while it is in use.

use std::sync::Arc;

use anyhow::ensure;
use integration_tests::{
    in_process::{PATIENCE, Place},
    service::until,
};
use millpond::{App, Config, Serdes, Topology, config::OffsetReset, log::embedded::EmbeddedLog};

fn counts() -> anyhow::Result<Topology> {
    let topology = Topology::builder("counts");
    topology.stream("in", Serdes::<String, i64>::json()).group_by_key().count().materialized("count").queryable();
    Ok(topology.build()?)
}

/// Whether `a` has been counted so often.
async fn is_counted(place: &Place, times: u32) -> anyhow::Result<bool> {
    Ok(place.get("/stores/count/keys/%22a%22").await?.1.contains(&format!("\"value\":{times}")))
}

/// Two records are read, counted and committed, and the instance has stopped.
async fn place_with_two_counted() -> anyhow::Result<Place> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[])])?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    place.append("in", [("\"a\"", "1", 1_000), ("\"a\"", "1", 1_000)])?;
    until("both are counted", PATIENCE, async || is_counted(&place, 2).await).await?;
    instance.stop().await?;
    Ok(place)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_copy_of_a_state_is_kept_when_its_changelog_is_gone() -> anyhow::Result<()> {
    let place = place_with_two_counted().await?;
    place.log.admin()?.delete_topics(&["counts-count-changelog"])?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    let told = async || Ok(place.get("/readyz").await?.1.contains("the last copy of the state"));
    until("the task stops", PATIENCE, told).await?;
    instance.stop().await?;
    let state = place.config().state_dir.join("counts/tasks/0_0/rocksdb/CURRENT");
    ensure!(state.exists(), "the state is gone: no {}", state.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_made_anew_is_not_read_from_where_the_old_one_ended() -> anyhow::Result<()> {
    let place = place_with_two_counted().await?;
    place.log.admin()?.delete_topics(&["in"])?;
    place.create("in", &[])?;
    place.append("in", [("\"a\"", "1", 1_000), ("\"a\"", "1", 1_000), ("\"a\"", "1", 1_000)])?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    let told = async || Ok(place.get("/readyz").await?.1.contains("the topic was made anew"));
    until("the task stops", PATIENCE, told).await?;
    instance.stop().await?;

    let earliest = Config { offset_reset: Some(OffsetReset::Earliest), ..place.config() };
    let instance = place.start(App::new(counts()?, earliest)).await?;
    until("it is read from its beginning", PATIENCE, async || is_counted(&place, 5).await).await?;
    instance.stop().await?;
    Ok(())
}

/// The task has its rows at hand: only the query reads them from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_rebuilt_when_a_query_meets_damage() -> anyhow::Result<()> {
    let place = place_with_two_counted().await?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    until("it runs", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await?;
    let task = place.config().state_dir.join("counts/tasks/0_0/rocksdb");
    for file in std::fs::read_dir(task)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "sst") {
            let bytes = std::fs::read(&file)?.len();
            std::fs::write(&file, vec![0x55; bytes])?;
        }
    }
    until("it is counted again", PATIENCE, async || is_counted(&place, 2).await).await?;
    let aside = place.config().state_dir.join("counts/damaged/0_0");
    ensure!(aside.exists(), "nothing was damaged: no {}", aside.display());
    instance.stop().await?;
    Ok(())
}
