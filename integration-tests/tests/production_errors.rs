//! A result that a real Kafka refuses for its size: what the setting says happens, and all other records take effect exactly once.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use integration_tests::{
    broker::{broker, unique},
    faults::Rng,
    in_process::{PATIENCE, Place, Text},
    service::until,
};
use millpond::{
    Config, Serdes, Topology,
    app::App,
    config::OnError,
    log::{
        Append, Headers, Isolation, Log,
        kafka::{KafkaLog, KafkaOptions},
    },
};

/// What a record of the output may have, in bytes.
const LIMIT: &str = "20000";
const RECORDS: usize = 60;
/// Its result is refused by the broker, when it is delivered.
const LARGE: usize = 17;
/// Its result is refused by the client, when it is appended (`message.max.bytes`, 1 MB).
const HUGE: usize = 41;

/// The metric of what was left out for its results.
const DROPPED: &str = "millpond_task_dropped_records_total{reason=\"production_error\",task=\"0_0\"}";

/// A topology on topics of its own.
struct Bed {
    name: String,
    place: Place,
    given: Vec<String>,
}

fn kafka() -> anyhow::Result<Arc<dyn Log>> {
    let bootstrap = broker()?.bootstrap().to_owned();
    Ok(Arc::new(KafkaLog::connect(KafkaOptions { bootstrap, client_id: unique("test"), ..KafkaOptions::default() })?))
}

/// Text that does not compress.
fn noise(length: usize) -> String {
    let mut rng = Rng::new(5);
    (0..length / 16).map(|_| format!("{:016x}", rng.next())).collect()
}

// === impl Bed ===

impl Bed {
    /// With records `0.`, `1.` and so on, but for the two whose results are too large.
    fn new() -> anyhow::Result<Self> {
        let name = unique("production");
        let topic = |what: &str| format!("{name}-{what}");
        let limit: &[_] = &[("max.message.bytes", LIMIT)];
        let place = Place::new(kafka()?, &[(&topic("in"), &[]), (&topic("out"), limit), (&topic("dead"), &[])])?;
        let given: Vec<_> = (0..RECORDS)
            .map(|index| match index {
                LARGE => "large".to_owned(),
                HUGE => "huge".to_owned(),
                index => format!("{index}."),
            })
            .collect();
        let mut producer = place.log.producer()?;
        let topic: Arc<str> = topic("in").into();
        for (index, value) in (0..).zip(&given) {
            let headers = &Headers::new([("trace", Some(format!("t{index}").as_bytes()))]);
            let (key, value) = (Some(&b"k"[..]), Some(value.as_bytes()));
            producer.append(Append {
                topic: &topic,
                partition: 0,
                key,
                value,
                timestamp_ms: 1_000 + index,
                headers,
            })?;
        }
        producer.flush(PATIENCE)?;
        Ok(Self { name, place, given })
    }

    fn topic(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// Passes records on, two of them blown up; counts them.
    fn app(&self, production_errors: OnError) -> anyhow::Result<App> {
        let topology = Topology::builder(&self.name);
        let stream = topology.stream(&self.topic("in"), Serdes::<String, String>::default());
        let blown_up = |_: &_, value: &String| match value.as_str() {
            "large" => noise(30_000),
            "huge" => noise(1_500_000),
            _ => value.clone(),
        };
        stream.map_values(blown_up).to(&self.topic("out"));
        stream.group_by_key().count().materialized("counted").queryable();
        let dead_letter_topic = (production_errors == OnError::DeadLetter).then(|| self.topic("dead"));
        // All records are in the first transaction.
        let commit_interval = Duration::from_millis(500);
        let config = Config { production_errors, dead_letter_topic, commit_interval, ..self.place.config() };
        Ok(App::new(topology.build()?, config))
    }

    /// The results are those of all records but the two, each once and in order, and so is the count.
    async fn others_exactly_once(&self) -> anyhow::Result<()> {
        let out = self.place.committed(&self.topic("out"), RECORDS - 2).await?;
        let good: Vec<_> = self.given.iter().map(String::as_str).filter(|value| value.ends_with('.')).collect();
        ensure!(out.iter().map(Text::value).collect::<Vec<_>>() == good, "{out:?}");
        until("the others are counted", PATIENCE, async || {
            let (_, row) = self.place.get("/stores/counted/keys/k").await?;
            Ok(row.contains(&format!("\"value\":{}", RECORDS - 2)))
        })
        .await?;
        let changelog = self.place.read(&format!("{}-counted-changelog", self.name), Isolation::ReadCommitted)?;
        let last = changelog.last().context("the count is logged")?;
        ensure!(last.value.as_deref().is_some_and(|value| value.ends_with((RECORDS - 2) as u8 as char)), "{last:?}");
        Ok(())
    }
}

// === The tests ===

#[tokio::test(flavor = "multi_thread")]
async fn continue_leaves_out_the_record_whose_result_is_too_large() -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let instance = bed.place.start(bed.app(OnError::Continue)?).await?;
    bed.others_exactly_once().await?;
    until("both are counted as dropped", PATIENCE, async || {
        let (_, metrics) = bed.place.get("/metrics").await?;
        let dropped = metrics.lines().find(|line| line.starts_with(DROPPED)).unwrap_or_default();
        ensure!(dropped.is_empty() || dropped.ends_with(" 1") || dropped.ends_with(" 2"), "{dropped}");
        Ok(dropped.ends_with(" 2"))
    })
    .await?;
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_the_records_as_they_were_read() -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let instance = bed.place.start(bed.app(OnError::DeadLetter)?).await?;
    bed.others_exactly_once().await?;
    let dead = bed.place.committed(&bed.topic("dead"), 2).await?;
    for (letter, index) in dead.iter().zip([LARGE, HUGE]) {
        let says = |name: &str| letter.header(name).unwrap_or_default().to_owned();
        ensure!(letter.value() == bed.given[index] && letter.key.as_deref() == Some("k"), "{letter:?}");
        ensure!(letter.timestamp_ms == 1_000 + index as i64 && says("trace") == format!("t{index}"), "{letter:?}");
        ensure!(letter.headers[0].0 == "trace", "its own headers come first: {letter:?}");
        ensure!(says("__streams.errors.topic") == bed.topic("in"), "{letter:?}");
        ensure!(says("__streams.errors.offset") == index.to_string(), "{letter:?}");
        ensure!(says("__streams.errors.exception") == "RecordRefused", "{letter:?}");
        ensure!(says("__streams.errors.message").contains(&bed.topic("out")), "{letter:?}");
        ensure!(says("__millpond.errors.stage") == "production", "{letter:?}");
    }
    Ok(instance.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_stops_the_task_at_the_record_and_a_restart_goes_on_from_there() -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let instance = bed.place.start(bed.app(OnError::Fail)?).await?;
    let refused = format!("record for topic `{}` refused", bed.topic("out"));
    until("the task fails, and the topic is named", PATIENCE, async || {
        let (status, body) = bed.place.get("/readyz").await?;
        Ok(status == 503 && body.contains("task 0_0 failed") && body.contains(&refused))
    })
    .await?;
    let out = bed.place.read(&bed.topic("out"), Isolation::ReadCommitted)?;
    ensure!(out.len() <= LARGE, "something behind the record is committed: {out:?}");
    instance.stop().await?;
    let instance = bed.place.start(bed.app(OnError::Continue)?).await?;
    bed.others_exactly_once().await?;
    Ok(instance.stop().await?)
}
