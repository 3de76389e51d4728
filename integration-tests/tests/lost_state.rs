//! State on a disk that its changelog lacks, or that is damaged while it is in use.

use std::sync::Arc;

use anyhow::ensure;
use integration_tests::{
    broker::{broker, unique},
    in_process::{PATIENCE, Place},
    service::until,
};
use millpond::{
    App, Config, Serdes, Topology,
    config::OffsetReset,
    log::{
        Log,
        embedded::EmbeddedLog,
        kafka::{KafkaLog, KafkaOptions},
    },
};

fn counts() -> anyhow::Result<Topology> {
    counts_of("counts", "in")
}

fn counts_of(name: &str, input: &str) -> anyhow::Result<Topology> {
    let topology = Topology::builder(name);
    topology.stream(input, Serdes::<String, i64>::json()).group_by_key().count().materialized("count").queryable();
    Ok(topology.build()?)
}

/// Whether `a` has been counted so often.
async fn is_counted(place: &Place, times: u32) -> anyhow::Result<bool> {
    is_counted_of(place, "a", times).await
}

async fn is_counted_of(place: &Place, key: &str, times: u32) -> anyhow::Result<bool> {
    Ok(place.get(&format!("/stores/count/keys/%22{key}%22")).await?.1.contains(&format!("\"value\":{times}")))
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
async fn a_changelog_that_was_made_anew_and_outgrew_the_state_is_found_out() -> anyhow::Result<()> {
    outgrown_by_another_changelog(Arc::new(EmbeddedLog::new()), "counts", "in").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changelog_that_was_made_anew_on_kafka_is_found_out() -> anyhow::Result<()> {
    let bootstrap = broker()?.bootstrap().to_owned();
    let options = KafkaOptions { bootstrap, client_id: unique("test"), ..KafkaOptions::default() };
    outgrown_by_another_changelog(Arc::new(KafkaLog::connect(options)?), &unique("counts"), &unique("in")).await
}

/// The changelog of a stopped instance is deleted and made anew, and another instance, with a disk of its own, writes more than there was.
async fn outgrown_by_another_changelog(log: Arc<dyn Log>, name: &str, input: &str) -> anyhow::Result<()> {
    let place = Place::new(log, &[(input, &[])])?;
    let (count, own_disk) = (|| counts_of(name, input), place.config());
    let instance = place.start(App::new(count()?, own_disk.clone())).await?;
    place.append(input, [("\"a\"", "1", 1_000)])?;
    until("it is counted", PATIENCE, async || is_counted(&place, 1).await).await?;
    instance.stop().await?;

    place.log.admin()?.delete_topics(&[&format!("{name}-count-changelog")])?;
    let disk = tempfile::tempdir()?;
    let other_disk = Config { state_dir: disk.path().to_owned(), ..own_disk.clone() };
    let instance = place.start(App::new(count()?, other_disk)).await?;
    for times in 1..=5 {
        // Each in a commit of its own.
        place.append(input, [("\"b\"", "1", 1_000)])?;
        until("it is counted", PATIENCE, async || is_counted_of(&place, "b", times).await).await?;
    }
    instance.stop().await?;

    let instance = place.start(App::new(count()?, own_disk.clone())).await?;
    until("it has what the changelog has", PATIENCE, async || is_counted_of(&place, "b", 5).await).await?;
    let (status, body) = place.get("/stores/count/keys/%22a%22").await?;
    ensure!(status == 404, "a row of the old changelog is there: {status} {body}");
    instance.stop().await?;
    let aside = own_disk.state_dir.join(name).join("damaged/0_0");
    ensure!(aside.exists(), "what may be the last copy is gone: no {}", aside.display());

    // It knows the new one now.
    std::fs::remove_dir_all(&aside)?;
    let instance = place.start(App::new(count()?, own_disk)).await?;
    until("it goes on", PATIENCE, async || is_counted_of(&place, "b", 5).await).await?;
    instance.stop().await?;
    ensure!(!aside.exists(), "nothing was wrong");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_table_of_a_topic_that_was_made_anew_is_read_again() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[])])?;
    let topology = Topology::builder("prices");
    topology.global_table("in", Serdes::<String, i64>::json()).materialized("count").queryable();
    let topology = topology.build()?;
    let start = async || place.start(App::new(topology.clone(), place.config())).await;

    let instance = start().await?;
    place.append("in", [("\"a\"", "1", 1_000)])?;
    until("the row is there", PATIENCE, async || is_counted_of(&place, "a", 1).await).await?;
    instance.stop().await?;

    place.log.admin()?.delete_topics(&["in"])?;
    place.create("in", &[])?;
    place.append("in", (1..=5).map(|_| ("\"b\"", "2", 1_000)))?;
    let instance = start().await?;
    until("the new row is there", PATIENCE, async || is_counted_of(&place, "b", 2).await).await?;
    let (status, body) = place.get("/stores/count/keys/%22a%22").await?;
    ensure!(status == 404, "a row of the old topic is there: {status} {body}");
    instance.stop().await?;
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
