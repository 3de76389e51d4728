//! Bad input and a bad environment: a clear error that names the thing, and nothing is lost.

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use integration_tests::{
    broker::Broker,
    job::{feed, feed_tables},
    service::{APPLICATION, Instance, until},
};
use millpond::log::{
    Append, Headers, Log, NewTopic, TopicPartition,
    kafka::{KafkaLog, KafkaOptions},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn log(bootstrap: &str) -> anyhow::Result<KafkaLog> {
    let options = KafkaOptions { bootstrap: bootstrap.into(), client_id: "test".into(), ..KafkaOptions::default() };
    Ok(KafkaLog::connect(options)?)
}

/// Creates the topics of the service.
fn create_topics(log: &dyn Log) -> anyhow::Result<()> {
    let topics = ["airlines", "airports", "flights", "planes"].map(|name| {
        let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
        NewTopic { name: name.into(), partitions: 6, replication_factor: None, config }
    });
    let mut admin = log.admin()?;
    admin.create_topics(&topics)?;
    let names = topics.each_ref().map(|topic| topic.name.as_str());
    for _ in 0..200 {
        if admin.topics(&names)?.len() == names.len() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the topics are not listed")
}

fn append(log: &dyn Log, partition: i32, key: Option<&str>, value: Option<&str>) -> anyhow::Result<()> {
    let topic: Arc<str> = "flights".into();
    let mut producer = log.producer()?;
    producer.append(Append {
        topic: &topic,
        partition,
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        timestamp_ms: 1_400_000_000_000,
        headers: &Headers::default(),
    })?;
    producer.flush(Duration::from_secs(10))?;
    Ok(())
}

/// Starts an instance that cannot run, and gives what it printed when it ended.
async fn refused(mut instance: Instance) -> anyhow::Result<String> {
    instance.start()?;
    let status = instance.ended(PATIENCE).await?;
    ensure!(!status.success(), "{} ended as if all were well", instance.id);
    instance.read_log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_stops_its_task_alone_and_is_not_skipped() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let log = log(broker.bootstrap())?;
    create_topics(&log)?;
    append(&log, 2, Some("UA-1"), Some("{not JSON"))?;
    append(&log, 3, None, Some("{}"))?;

    let mut instance = Instance::new("a", broker.bootstrap(), folder.path())?;
    instance.start()?;
    until("the two tasks fail and the others run", PATIENCE, async || {
        let tasks = instance.metric("millpond_tasks").await?;
        let count = |state: &str| tasks.get(&format!("{{role=\"active\",state=\"{state}\"}}")).copied();
        Ok(count("failed") == Some(2.0) && count("running") == Some(28.0))
    })
    .await?;
    let (status, body) = instance.get("/readyz").await?;
    let reasons = body.to_string();
    ensure!(status == 503, "{status} {reasons}");
    for named in ["offset 0 of flights-2", "offset 0 of flights-3", "null cannot be read"] {
        ensure!(reasons.contains(named), "`{named}` is not named: {reasons}");
    }
    let (live, _) = instance.get("/livez").await?;
    ensure!(live == 200, "one bad record is no reason to restart");

    // Nothing was skipped: the group has not moved past the records.
    let (status, body) = instance.get("/stores/no-such-store/keys/x").await?;
    ensure!(status == 404 && body["code"] == "UnknownStore", "{status} {body}");
    let (status, body) = instance.get("/stores/delays-by-carrier/keys/UA").await?;
    ensure!(status == 404 && body["code"] == "NotFound", "{status} {body}");
    let position = committed(&log, &["flights-2", "flights-3"]).await?;
    ensure!(position.iter().all(|offset| offset.is_none_or(|offset| offset == 0)), "committed: {position:?}");
    Ok(())
}

/// A changelog takes no record of that size: only its tasks stop, those beside them on the same worker go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_broker_refuses_stops_its_task_alone() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let log = log(broker.bootstrap())?;
    feed_tables(broker.bootstrap())?;
    let config =
        [("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime"), ("max.message.bytes", "100")];
    let tiny = NewTopic {
        name: format!("{APPLICATION}-flights-per-day-changelog"),
        partitions: 6,
        replication_factor: None,
        config: config.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    log.admin()?.create_topics(&[tiny])?;
    let mut instance = Instance::new("a", broker.bootstrap(), folder.path())?;
    instance.start()?;
    instance.ready(PATIENCE).await?;
    let mut feeding = feed(broker.bootstrap(), &["--only", "flights", "--months", "1"])?.spawn()?;
    ensure!(tokio::task::spawn_blocking(move || feeding.wait()).await??.success(), "the flights were not fed");
    until("the tasks of that store fail, by name, and the others are right", PATIENCE, async || {
        let (_, ready) = instance.get("/readyz").await?;
        let (status, body) = instance.get("/stores/delays-by-carrier/keys/UA").await?;
        Ok(ready.to_string().contains("flights-per-day-changelog") && status == 200 && body["value"]["flights"] == 4637)
    })
    .await?;
    let (live, _) = instance.get("/livez").await?;
    ensure!(live == 200, "the instance goes on");
    Ok(())
}

/// Positions that the application has committed, as a member that joins its group sees them.
async fn committed(log: &KafkaLog, partitions: &[&str]) -> anyhow::Result<Vec<Option<i64>>> {
    let partitions: Vec<TopicPartition> = partitions
        .iter()
        .map(|name| name.rsplit_once('-').context("topic-partition"))
        .map(|split| split.and_then(|(topic, partition)| Ok(TopicPartition::new(topic, partition.parse()?))))
        .collect::<anyhow::Result<_>>()?;
    let membership = log.join(millpond::log::MembershipOptions {
        group_id: APPLICATION.into(),
        client_id: "test".into(),
        coordination_topic: format!("{APPLICATION}-coordination"),
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(60),
    })?;
    let result = membership.group().committed(&partitions, Duration::from_secs(10))?;
    membership.leave()?;
    Ok(result)
}

#[tokio::test]
async fn an_internal_topic_that_does_not_fit_is_named_with_both_counts() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let log = log(broker.bootstrap())?;
    create_topics(&log)?;
    let name = format!("{APPLICATION}-delays-by-carrier-repartition");
    log.admin()?.create_topics(&[NewTopic {
        name: name.clone(),
        partitions: 4,
        replication_factor: None,
        config: BTreeMap::new(),
    }])?;
    let said = refused(Instance::new("a", broker.bootstrap(), folder.path())?).await?;
    ensure!(said.contains(&format!("`{name}` has partitions=4, expected 6")), "{said}");
    Ok(())
}

#[tokio::test]
async fn missing_topics_are_named() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let said = refused(Instance::new("a", broker.bootstrap(), folder.path())?).await?;
    ensure!(said.contains("`flights`") && said.contains("do not exist"), "{said}");
    Ok(())
}

/// It is waited for, since it may come: see the tests of `log_away`.
#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut instance = Instance::new("a", "127.0.0.1:1", folder.path())?;
    instance.start()?;
    until("the probe names it", PATIENCE, async || {
        let (status, body) = instance.get("/readyz").await?;
        Ok(status == 503 && body.to_string().contains("127.0.0.1:1") && body.to_string().contains("refused"))
    })
    .await?;
    instance.terminate()?;
    ensure!(instance.ended(PATIENCE).await?.success(), "a stop before the start is over is no failure");
    Ok(())
}

#[tokio::test]
async fn a_kafka_property_that_there_is_not_is_named_before_a_broker_is_asked() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let instance = Instance::new("a", "127.0.0.1:1", folder.path())?.with("MILLPOND_KAFKA_NO_SUCH_THING", "1");
    let said = refused(instance).await?;
    ensure!(said.contains("`no.such.thing`"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_state_directory_in_use_is_named_and_its_holder_goes_on() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    create_topics(&log(broker.bootstrap())?)?;
    let mut holder = Instance::new("a", broker.bootstrap(), folder.path())?;
    holder.start()?;
    holder.ready(PATIENCE).await?;

    // The same state directory, but a port and a name of its own: nothing else is in its way.
    let second = Instance::new("b", broker.bootstrap(), folder.path())?.with_state_dir(holder.state_dir());
    let said = refused(second).await?;
    let dir = holder.state_dir().join(APPLICATION);
    ensure!(said.contains(&format!("`{}` is in use", dir.display())), "{said}");
    holder.ready(PATIENCE).await
}

#[test]
fn a_wrong_setting_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Instance::new("a", "127.0.0.1:1", folder.path())?.command()?;
    let output = command.env("MILLPOND_COMMIT_INTERVAL_MS", "soon").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("MILLPOND_COMMIT_INTERVAL_MS"), "{said}");
    Ok(())
}

#[test]
fn a_misspelt_setting_is_named_with_the_one_that_may_be_meant() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Instance::new("a", "127.0.0.1:1", folder.path())?.command()?;
    command.env("MILLPOND_COMIT_INTERVAL_MS", "100").env("MILLPOND_CAPACITY", "none"); // the second ends it at once
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let named =
        |line: &str| line.contains("MILLPOND_COMIT_INTERVAL_MS") && line.ends_with("MILLPOND_COMMIT_INTERVAL_MS");
    ensure!(said.lines().any(named), "{said}");
    Ok(())
}

#[test]
fn an_advertised_url_that_nobody_can_ask_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Instance::new("a", "127.0.0.1:1", folder.path())?.command()?;
    let output = command.env("MILLPOND_ADVERTISED_URL", "10.0.0.7:8080").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("--advertised-url") && said.contains("expected"), "{said}");
    Ok(())
}
