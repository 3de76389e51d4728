//! Settings of internal topics on a real Kafka: by environment, by store, and what exists with another value.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use integration_tests::{
    broker::{broker, unique},
    in_process::{PATIENCE, Place},
    service::until,
};
use millpond::{
    Config, Serdes, Topology,
    app::App,
    log::kafka::{KafkaLog, KafkaOptions},
};

fn place(input: &str) -> anyhow::Result<Place> {
    let bootstrap = broker()?.bootstrap().to_owned();
    let log = KafkaLog::connect(KafkaOptions { bootstrap, client_id: unique("test"), ..KafkaOptions::default() })?;
    Place::new(Arc::new(log), &[(input, &[])])
}

/// Two counts, one of them with settings of its own.
fn counts(name: &str, input: &str) -> anyhow::Result<Topology> {
    let topology = Topology::builder(name);
    let stream = topology.stream(input, Serdes::<String, String>::default());
    stream.group_by_key().count().materialized("plain");
    let grouped = stream.group_by(|_, value| value.clone());
    let tuned = [("min.cleanable.dirty.ratio", "0.1"), ("segment.ms", "700000"), ("max.compaction.lag.ms", "800000")];
    grouped.count().materialized("tuned").changelog_config(tuned);
    Ok(topology.build()?)
}

/// The settings of an instance, as the environment gives them.
fn config(place: &Place, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let Config { internal_topics, .. } = Config::from_variables(variables)?;
    Ok(Config { internal_topics, ..place.config() })
}

/// Why an instance ends by itself.
async fn refused(place: &Place, topology: Topology, config: Config) -> anyhow::Result<String> {
    let mut instance = place.start(App::new(topology, config)).await?;
    let said = tokio::time::timeout(PATIENCE, instance.failed()).await?.context("it ends by itself")?.to_string();
    // Its address is free again only then.
    instance.stop().await?;
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_reach_the_topics_and_a_topic_with_another_value_is_named_with_both() -> anyhow::Result<()> {
    let (name, input) = (unique("counts"), unique("in"));
    let place = place(&input)?;
    let by_pattern = format!(r#"{{"{name}-tuned-changelog": {{"segment.ms": "900000"}}}}"#);
    let variables =
        &[("MILLPOND_TOPIC_MAX_MESSAGE_BYTES", "2000000"), ("MILLPOND_INTERNAL_TOPICS", by_pattern.as_str())];
    let instance = place.start(App::new(counts(&name, &input)?, config(&place, variables)?)).await?;
    until("ready", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await?;
    let mut admin = place.log.admin()?;
    for (topic, settings) in [
        ("plain-changelog", [("max.message.bytes", "2000000"), ("min.cleanable.dirty.ratio", "0.5")]),
        ("tuned-repartition", [("max.message.bytes", "2000000"), ("cleanup.policy", "delete")]),
        ("tuned-changelog", [("max.message.bytes", "2000000"), ("min.cleanable.dirty.ratio", "0.1")]),
        // What the environment says goes before what the store says.
        ("tuned-changelog", [("segment.ms", "900000"), ("max.compaction.lag.ms", "800000")]),
    ] {
        let found = admin.topic_config(&format!("{name}-{topic}"))?;
        for (setting, value) in settings {
            ensure!(found.get(setting).is_some_and(|found| found == value), "{topic}: {setting} in {found:?}");
        }
    }
    instance.stop().await?;

    // The store asks for another `segment.ms` than the topic has by now.
    let said = refused(&place, counts(&name, &input)?, config(&place, &variables[..1])?).await?;
    ensure!(said.contains(&format!("`{name}-tuned-changelog` has segment.ms=900000, expected 700000")), "{said}");
    let other = &[("MILLPOND_TOPIC_MAX_MESSAGE_BYTES", "1000000"), variables[1]];
    let said = refused(&place, counts(&name, &input)?, config(&place, other)?).await?;
    ensure!(
        said.contains(&format!("`{name}-plain-changelog` has max.message.bytes=2000000, expected 1000000")),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repartition_topic_that_deletes_by_age_is_named_with_what_to_do() -> anyhow::Result<()> {
    let (name, input) = (unique("counts"), unique("in"));
    let place = place(&input)?;
    let repartition = format!("{name}-tuned-repartition");
    place.create(&repartition, &[("retention.ms", "604800000")])?;
    let said = refused(&place, counts(&name, &input)?, place.config()).await?;
    ensure!(said.contains(&format!("`{repartition}` has retention.ms=604800000, expected -1")), "{said}");
    ensure!(said.contains("kafka-configs.sh --alter"), "{said}");
    Ok(())
}
