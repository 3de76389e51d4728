//! Records that fail, and what the handlers decide about them: whole instances on the embedded log.

use std::sync::Arc;

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
    processor::Handlers,
    serde::Raw,
};

const DEAD: &str = "dead";

fn place(topics: &[(&str, &[(&str, &str)])]) -> anyhow::Result<Place> {
    Place::new(Arc::new(EmbeddedLog::new()), topics)
}

/// Sums the numbers of each key; the sum is written unless it is a multiple of 13, for which a function fails behind the store.
fn sums() -> anyhow::Result<Topology> {
    let topology = Topology::builder("sums");
    topology
        .stream("in", Serdes::<String, i64>::json())
        .group_by_key()
        .aggregate(|| 0, |_, value, sum: i64| sum + value)
        .materialized("sum")
        .to_stream()
        .try_map_values(|_, sum| match sum {
            Some(sum) if sum % 13 == 0 => Err(format!("{sum} is unlucky")),
            sum => Ok(sum.unwrap_or_default().to_string()),
        })
        .with_serdes(Serdes::default())
        .to("out");
    Ok(topology.build()?)
}

fn values(records: &[Text]) -> Vec<&str> {
    records.iter().map(Text::value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fails_half_way_leaves_no_trace_but_its_dead_letter() -> anyhow::Result<()> {
    let place = place(&[("in", &[]), ("out", &[]), (DEAD, &[])])?;
    let given = ["1", "no number", "2", "10", "4", "6", "{", "5"];
    place.append("in", given.map(|value| ("\"a\"", value, 1_000)))?;
    let config = Config {
        deserialization_errors: OnError::DeadLetter,
        processing_errors: OnError::DeadLetter,
        dead_letter_topic: Some(DEAD.into()),
        ..place.config()
    };
    let instance = place.start(App::new(sums()?, config)).await?;
    // 1, 3, (13), 7, (13), 12: had one of those that failed stayed in the store, later sums would be others.
    let out = place.committed("out", 4).await?;
    ensure!(values(&out) == ["1", "3", "7", "12"], "{out:?}");
    let dead = place.committed(DEAD, 4).await?;
    ensure!(values(&dead) == ["no number", "10", "6", "{"], "{dead:?}");
    let changelog = place.read("sums-sum-changelog", Isolation::ReadCommitted)?;
    ensure!(changelog.last().map(Text::value) == Some("\0\0\0\0\0\0\0\u{c}"), "12 in 8 bytes: {changelog:?}");

    let letter = &dead[1];
    ensure!(letter.key.as_deref() == Some("\"a\"") && letter.timestamp_ms == 1_000, "{letter:?}");
    let says = |name: &str| letter.header(name).unwrap_or_default();
    ensure!(says("__streams.errors.topic") == "in" && says("__streams.errors.partition") == "0", "{letter:?}");
    ensure!(
        says("__streams.errors.offset") == "3" && says("__streams.errors.message") == "13 is unlucky",
        "{letter:?}"
    );
    ensure!(says("__millpond.errors.stage") == "processing" && says("__millpond.errors.task") == "0_0", "{letter:?}");
    ensure!(says("__millpond.errors.node").ends_with("map-values"), "{letter:?}");
    for reason in ["deserialization_error", "processing_error"] {
        let counted = format!("millpond_task_dropped_records_total{{reason=\"{reason}\",task=\"0_0\"}} 2\n");
        until("each is counted once", PATIENCE, async || Ok(place.get("/metrics").await?.1.contains(&counted))).await?;
    }
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_decides_record_by_record() -> anyhow::Result<()> {
    let place = place(&[("in", &[]), ("out", &[]), (DEAD, &[])])?;
    place.append("in", ["6", "7", "-13", "1", "25"].map(|value| ("\"a\"", value, 5)))?;
    let handlers = Handlers::default().dead_letters_to(DEAD).on_processing_error(|failure| {
        if failure.record.value == Some(b"7") { OnError::SkipNode } else { OnError::DeadLetter }
    });
    let instance = place.start(App::new(sums()?, place.config()).with_handlers(handlers)).await?;
    // 6, 13 (stays, only not written), 0 (fails whole: 13 stays), 14, 39 (whole).
    let out = place.committed("out", 2).await?;
    ensure!(values(&out) == ["6", "14"], "{out:?}");
    ensure!(values(&place.committed(DEAD, 2).await?) == ["-13", "25"]);
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_failures_cost_time_and_nothing_else() -> anyhow::Result<()> {
    const RECORDS: usize = 2_000;
    let place = place(&[("in", &[]), ("out", &[])])?;
    let topology = Topology::builder("half");
    topology
        .stream("in", Serdes::<String, String>::default())
        .try_map_values(|_, value| if value == "bad" { Err("bad") } else { Ok(value.clone()) })
        .to("out");
    let bad = |index: usize| index % 10 == 3;
    place.append("in", (0..RECORDS).map(|index| ("k", if bad(index) { "bad" } else { "good" }, 1)))?;
    let config = Config { processing_errors: OnError::Continue, ..place.config() };
    let started = tokio::time::Instant::now();
    let instance = place.start(App::new(topology.build()?, config)).await?;
    place.committed("out", RECORDS - RECORDS / 10).await?;
    println!("{} failures among {RECORDS} records took {:?}", RECORDS / 10, started.elapsed());
    Ok(instance.stop().await?)
}

/// The log refuses a result for its size when it is delivered: which record it came from is not known then.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_whose_result_is_refused_is_found() -> anyhow::Result<()> {
    const RECORDS: usize = 300;
    let place = place(&[("in", &[]), ("out", &[("max.message.bytes", "500")]), (DEAD, &[])])?;
    let topology = Topology::builder("blow-up");
    let stream = topology.stream("in", Serdes::<String, String>::default());
    stream.map_values(|_, value| if value.ends_with('7') { value.repeat(500) } else { value.clone() }).to("out");
    stream.group_by_key().count().materialized("counted").queryable();
    let given: Vec<String> =
        (0..RECORDS).map(|index| if index % 100 == 57 { "7".into() } else { index.to_string() + "." }).collect();
    place.append("in", given.iter().map(|value| ("k", value.as_str(), 1)))?;
    let config =
        Config { production_errors: OnError::DeadLetter, dead_letter_topic: Some(DEAD.into()), ..place.config() };
    let instance = place.start(App::new(topology.build()?, config)).await?;
    let out = place.committed("out", RECORDS - 3).await?;
    let good: Vec<_> = given.iter().filter(|value| *value != "7").map(String::as_str).collect();
    ensure!(values(&out) == good, "{out:?}");
    let dead = place.committed(DEAD, 3).await?;
    let offsets: Vec<_> = dead.iter().filter_map(|letter| letter.header("__streams.errors.offset")).collect();
    ensure!(offsets == ["57", "157", "257"], "{dead:?}");
    ensure!(dead[0].header("__millpond.errors.stage") == Some("production"), "{dead:?}");
    until("the others are counted", PATIENCE, async || {
        let (_, row) = place.get("/stores/counted/keys/k").await?;
        Ok(row.contains("\"value\":297"))
    })
    .await?;
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_refused_stops_the_task() -> anyhow::Result<()> {
    let place = place(&[("in", &[]), ("out", &[]), (DEAD, &[("max.message.bytes", "100")])])?;
    place.append("in", ["1", "no number", "2"].map(|value| ("\"a\"", value, 1_000)))?;
    let config = Config {
        deserialization_errors: OnError::DeadLetter,
        production_errors: OnError::DeadLetter,
        dead_letter_topic: Some(DEAD.into()),
        ..place.config()
    };
    let instance = place.start(App::new(sums()?, config)).await?;
    until("the task fails, and the dead-letter topic is named", PATIENCE, async || {
        let (status, body) = place.get("/readyz").await?;
        Ok(status == 503 && body.contains("task 0_0 failed") && body.contains("record for topic `dead` refused"))
    })
    .await?;
    ensure!(values(&place.committed("out", 1).await?) == ["1"], "what comes before is committed, nothing behind it");
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stops_the_instance_and_names_the_record() -> anyhow::Result<()> {
    let place = place(&[("in", &[]), ("out", &[])])?;
    let topology = Topology::builder("panic");
    let stream = topology.stream("in", Serdes::<String, String>::default());
    stream.peek(|_, value| assert!(value != "boom", "no booms")).to("out");
    place.append("in", ["a", "boom", "b"].map(|value| ("k", value, 1)))?;
    let config = Config { processing_errors: OnError::Continue, ..place.config() };
    let mut instance = place.start(App::new(topology.build()?, config)).await?;
    let error = tokio::time::timeout(PATIENCE, instance.failed()).await?.context("it ends by itself")?.to_string();
    ensure!(error.contains("offset 1 of in-0") && error.contains("no booms"), "{error}");
    ensure!(place.read("out", Isolation::ReadCommitted)?.is_empty(), "nothing of the interval is committed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_without_a_topic_for_them_are_refused_at_start() -> anyhow::Result<()> {
    let place = place(&[("in", &[]), ("out", &[])])?;
    let raw = Topology::builder("raw");
    raw.stream("in", Serdes::new(Raw, Raw)).to("out");
    let raw = raw.build()?;
    let config = |topic: Option<&str>| Config {
        production_errors: OnError::DeadLetter,
        dead_letter_topic: topic.map(str::to_owned),
        ..place.config()
    };
    for (topic, says) in [(None, "production errors"), (Some("in"), "`in` is read by the topology itself")] {
        let refused = place.start(App::new(raw.clone(), config(topic))).await.err().context("refused")?.to_string();
        ensure!(refused.contains("MILLPOND_DEAD_LETTER_TOPIC") && refused.contains(says), "{refused}");
    }
    let mut instance = place.start(App::new(raw, config(Some("nowhere")))).await?;
    let error = tokio::time::timeout(PATIENCE, instance.failed()).await?.context("it ends by itself")?.to_string();
    ensure!(error.contains("`nowhere`") && error.contains("do not exist"), "{error}");
    Ok(())
}
