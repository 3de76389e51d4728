//! How topics are read: which time records have, and where reading begins. Whole instances on the embedded log.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use integration_tests::{
    in_process::{PATIENCE, Place, Text},
    service::until,
};
use millpond::{
    Config, Serdes, Topology,
    app::App,
    config::OffsetReset,
    dsl::Consumed,
    log::{TopicPartition, embedded::EmbeddedLog},
    time::{Clock as _, SystemClock},
};

fn values(records: &[Text]) -> Vec<&str> {
    records.iter().map(Text::value).collect()
}

/// Passes records on.
fn copy(consumed: impl Into<Consumed<String, String>>) -> anyhow::Result<Topology> {
    let topology = Topology::builder("copy");
    topology.stream("in", consumed).to("out");
    Ok(topology.build()?)
}

fn plain() -> Serdes<String, String> {
    Serdes::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_by_the_time_that_a_function_finds() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("a", &[]), ("b", &[]), ("out", &[])])?;
    for (topic, times) in [("a", ["1", "5", "none", "9"]), ("b", ["2", "3", "10", "-1"])] {
        place.append(topic, times.map(|time| ("k", time, 1_000)))?;
    }
    let topology = Topology::builder("times");
    let by_value =
        |record: &millpond::processor::Record<String, String>, _| record.value.parse().unwrap_or(record.timestamp_ms);
    topology.stream(["a", "b"], Consumed::new(plain()).timestamps_by(by_value)).to("out");
    let instance = place.start(App::new(topology.build()?, place.config())).await?;
    let out = place.committed("out", 7).await?;
    // "none" keeps its own time, and holds back what is behind it; "-1" is left out.
    ensure!(values(&out) == ["1", "2", "3", "5", "10", "none", "9"], "{out:?}");
    let times: Vec<i64> = out.iter().map(|record| record.timestamp_ms).collect();
    ensure!(times == [1, 2, 3, 5, 10, 1_000, 9], "{times:?}");
    until("it is counted", PATIENCE, async || {
        let (_, metrics) = place.get("/metrics").await?;
        Ok(metrics.contains("dropped_records_total{reason=\"invalid_timestamp\",task=\"0_0\"} 1"))
    })
    .await?;
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_position_reading_begins_where_it_is_told() -> anyhow::Result<()> {
    let now_ms = SystemClock::new().now_ms();
    let hours_ago = |hours: i64| now_ms - hours * 3_600_000;
    let old = [("k", "old", hours_ago(5)), ("k", "yesterday", hours_ago(3)), ("k", "today", hours_ago(1))];
    let hours = |hours: u64| OffsetReset::ByDuration(Duration::from_secs(hours * 3_600));
    let cases: [(Option<OffsetReset>, &[&str]); 5] = [
        (None, &["old", "yesterday", "today", "new"]),
        (Some(OffsetReset::Earliest), &["old", "yesterday", "today", "new"]),
        (Some(hours(2)), &["today", "new"]),
        (Some(hours(0)), &["new"]),
        (Some(OffsetReset::Latest), &["new"]),
    ];
    for (offset_reset, expected) in cases {
        let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("out", &[])])?;
        place.append("in", old)?;
        let config = Config { offset_reset, ..place.config() };
        let instance = place.start(App::new(copy(plain())?, config)).await?;
        until("ready", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await?;
        place.append("in", [("k", "new", now_ms + 3_600_000)])?;
        let out = place.committed("out", expected.len()).await?;
        ensure!(values(&out) == expected, "{offset_reset:?}: {out:?}");
        instance.stop().await?;
    }
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("out", &[])])?;
    let consumed = Consumed::new(plain()).offset_reset(OffsetReset::Fail);
    // What the source says goes before what the configuration says.
    let config = Config { offset_reset: Some(OffsetReset::Latest), ..place.config() };
    let instance = place.start(App::new(copy(consumed)?, config)).await?;
    until("the task fails by name", PATIENCE, async || {
        Ok(place.get("/readyz").await?.1.contains("beginning with in-0 was refused"))
    })
    .await?;
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_lost_stops_the_task_unless_it_is_told_otherwise() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("out", &[])])?;
    place.append("in", [("k", "0", 1), ("k", "1", 1)])?;
    let instance = place.start(App::new(copy(plain())?, place.config())).await?;
    place.committed("out", 2).await?;
    instance.stop().await?;
    place.append("in", ["2", "3", "4"].map(|value| ("k", value, 1)))?;
    place.log.admin()?.delete_records(&[(TopicPartition::new("in", 0), 4)])?;

    let instance = place.start(App::new(copy(plain())?, place.config())).await?;
    until("the task fails, and what it cannot read is named", PATIENCE, async || {
        Ok(place.get("/readyz").await?.1.contains("reading input in-0 from offset 2 was refused"))
    })
    .await?;
    instance.stop().await?;
    let config = Config { offset_reset: Some(OffsetReset::Earliest), ..place.config() };
    let instance = place.start(App::new(copy(plain())?, config)).await?;
    let out = place.committed("out", 3).await?;
    ensure!(values(&out) == ["0", "1", "4"], "{out:?}");
    instance.stop().await?;
    // The new position is committed: nothing is read twice.
    let instance = place.start(App::new(copy(plain())?, place.config())).await?;
    until("ready", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await?;
    ensure!(place.committed("out", 3).await?.len() == 3);
    Ok(instance.stop().await?)
}
