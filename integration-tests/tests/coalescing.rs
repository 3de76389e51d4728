//! Updates that wait for the commit: whole instances on the embedded log.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use integration_tests::{
    in_process::{PATIENCE, Place, Text},
    service::until,
};
use millpond::{
    Config, Serdes, Topology,
    app::App,
    config::OnError,
    log::{Isolation, embedded::EmbeddedLog},
};

const RECORDS: usize = 2_000;
const DEAD: &str = "dead";

/// Counts each key; the sum of these counts; how often which was passed on.
fn totals() -> anyhow::Result<Topology> {
    let topology = Topology::builder("totals");
    let counts =
        topology.stream("in", Serdes::<String, String>::default()).group_by_key().count().materialized("counts");
    counts.to_stream().map_values(|_, n| n.map(|n| n.to_string())).to("passed-on");
    counts
        .group_by(|_, n| ("all".to_owned(), *n))
        .aggregate(|| 0, |_, n, sum: i64| sum + n, |_, n, sum| sum - n)
        .materialized("total")
        .to_stream()
        .map_values(|_, sum| sum.map(|sum| sum.to_string()))
        .to("total");
    Ok(topology.build()?)
}

fn last(records: &[Text]) -> &str {
    records.last().map(Text::value).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_updates_are_passed_on_and_the_sum_is_right_through_a_restart() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("passed-on", &[]), ("total", &[])])?;
    let keys: Vec<String> = (0..10).map(|key| format!("k{key}")).collect();
    for round in 1..=2 {
        place.append("in", (0..RECORDS).map(|record| (keys[record % keys.len()].as_str(), "", record as i64)))?;
        let config = Config { coalesce_updates: true, commit_interval: Duration::from_millis(200), ..place.config() };
        let instance = place.start(App::new(totals()?, config)).await?;
        let expected = (round * RECORDS).to_string();
        until("the sum is right", PATIENCE, async || {
            Ok(last(&place.read("total", Isolation::ReadCommitted)?) == expected)
        })
        .await
        .context(expected)?;
        instance.stop().await?;
    }
    let passed_on = place.read("passed-on", Isolation::ReadCommitted)?;
    for key in &keys {
        let of_key: Vec<_> = passed_on.iter().filter(|record| record.key.as_ref() == Some(key)).collect();
        ensure!(of_key.last().map(|record| record.value()) == Some("400"), "{key}: {of_key:?}");
    }
    ensure!(passed_on.len() < RECORDS, "{} of {} updates were passed on", passed_on.len(), 2 * RECORDS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_makes_a_dead_letter_of_its_last_record() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("out", &[]), (DEAD, &[])])?;
    let topology = Topology::builder("counts");
    topology
        .stream("in", Serdes::<String, String>::default())
        .group_by_key()
        .count()
        .materialized("counts")
        .coalesced()
        .to_stream()
        .try_map_values(|_, n| if *n == Some(3) { Err("three") } else { Ok(n.map(|n| n.to_string())) })
        .to("out");
    place.append("in", [("a", "1st", 1), ("b", "2nd", 2), ("a", "3rd", 3), ("a", "4th", 4)])?;
    let config =
        Config { processing_errors: OnError::DeadLetter, dead_letter_topic: Some(DEAD.into()), ..place.config() };
    let instance = place.start(App::new(topology.build()?, config)).await?;
    let dead = place.committed(DEAD, 1).await?;
    ensure!(last(&dead) == "4th" && dead[0].header("__streams.errors.message") == Some("three"), "{dead:?}");
    until("what is left is passed on", PATIENCE, async || {
        let out = place.read("out", Isolation::ReadCommitted)?;
        let of = |key: &str| out.iter().rev().find(|record| record.key.as_deref() == Some(key)).map(Text::value);
        Ok((of("a"), of("b")) == (Some("2"), Some("1")))
    })
    .await?;
    instance.stop().await?;
    let changelog = place.read("counts-counts-changelog", Isolation::ReadCommitted)?;
    ensure!(changelog.iter().all(|record| record.value() != "\0\0\0\0\0\0\0\u{3}"), "{changelog:?}");
    Ok(())
}
