//! What a restore tells of itself while it goes on.

use std::sync::Arc;

use integration_tests::{
    in_process::{PATIENCE, Place},
    service::until,
};
use millpond::{
    App, Serdes, Topology,
    log::{Append, Headers, TransactionalProducer, embedded::EmbeddedLog},
};

const CHANGELOG: &str = "counts-count-changelog";
/// More than a reader gives at once: the first ones of a store are written at once, the others wait for more.
const RECORDS: usize = 20_000;

fn counts() -> anyhow::Result<Topology> {
    let topology = Topology::builder("counts");
    topology.stream("in", Serdes::<String, i64>::json()).group_by_key().count().materialized("count").queryable();
    Ok(topology.build()?)
}

/// An instance has run and lost its disk; its changelog has much to restore, and ends in an open transaction.
async fn place_that_is_held_back() -> anyhow::Result<(Place, Box<dyn TransactionalProducer>)> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[])])?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    place.append("in", [("\"a\"", "1", 1_000)])?;
    let counted = async || Ok(place.get("/stores/count/keys/%22a%22").await?.0 == 200);
    until("it is counted", PATIENCE, counted).await?;
    instance.stop().await?;
    std::fs::remove_dir_all(place.config().state_dir.join("counts"))?;

    let keys: Vec<_> = (0..RECORDS).map(|number| format!("\"{number:080}\"")).collect();
    place.append(CHANGELOG, keys.iter().map(|key| (&**key, "1", 1_000)))?;
    let mut hanging = place.log.transactional_producer("hanging", PATIENCE)?;
    hanging.init(PATIENCE)?;
    hanging.begin()?;
    let (topic, headers) = (&CHANGELOG.into(), &Headers::default());
    hanging.append(Append { topic, partition: 0, key: Some(b"\"a\""), value: None, timestamp_ms: 1_000, headers })?;
    hanging.flush(PATIENCE)?;
    Ok((place, hanging))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_to_be_written_are_in_the_memory_of_rows() -> anyhow::Result<()> {
    let (place, mut hanging) = place_that_is_held_back().await?;
    let instance = place.start(App::new(counts()?, place.config())).await?;
    until("it is held back", PATIENCE, async || {
        let (_, restores) = place.get("/restores").await?;
        Ok(serde_json::from_str::<serde_json::Value>(&restores)?["restores"][0]["remaining"] == 1)
    })
    .await?;
    // Nothing runs: this is what was read last and is not a table yet.
    let waiting = RECORDS / 2 * 90;
    until("they are counted", PATIENCE, async || Ok(place.memory_bytes("rows").await? > waiting)).await?;
    hanging.commit(PATIENCE)?;
    until("it runs", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await?;
    instance.stop().await?;
    Ok(())
}
