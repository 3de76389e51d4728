//! An instance of a small topology in this process, on any log: for tests of what it reads, writes and commits.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use millpond::{
    Config,
    app::{App, Instance},
    log::{Append, Headers, Isolation, Log, NewTopic, ReadFrom, ReaderEvent, TopicPartition},
};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A record of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The key.
    pub key: Option<String>,
    /// The value.
    pub value: Option<String>,
    /// Event time in ms since the epoch.
    pub timestamp_ms: i64,
    /// The headers that have a value.
    pub headers: Vec<(String, String)>,
}

/// A log with topics of one partition each, and a place for the state of an instance.
#[derive(Debug)]
pub struct Place {
    /// The log.
    pub log: Arc<dyn Log>,
    state: TempDir,
    port: u16,
}

// === impl Place ===

impl Place {
    /// With these topics and their settings.
    ///
    /// # Errors
    /// When the topics cannot be made.
    pub fn new(log: Arc<dyn Log>, topics: &[(&str, &[(&str, &str)])]) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let place = Self { log, state: tempfile::tempdir()?, port };
        for (topic, settings) in topics {
            place.create(topic, settings)?;
        }
        Ok(place)
    }

    /// Creates a topic of one partition.
    ///
    /// # Errors
    /// When that fails.
    pub fn create(&self, topic: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let config = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let new = NewTopic { name: topic.to_owned(), partitions: 1, replication_factor: None, config };
        let mut admin = self.log.admin()?;
        admin.create_topics(&[new])?;
        let deadline = Instant::now() + PATIENCE;
        while admin.topics(&[topic])?.is_empty() {
            ensure!(Instant::now() < deadline, "topic {topic} does not show up");
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Settings of an instance: one thread, commits every 20 ms.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            instance_id: "a".into(),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            state_dir: self.state.path().to_owned(),
            threads: 1,
            commit_interval: Duration::from_millis(20),
            ..Config::default()
        }
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, app: App) -> anyhow::Result<Instance> {
        Ok(app.with_log(Arc::clone(&self.log)).start().await?)
    }

    /// Appends records: key, value, time in ms since the epoch.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn append<'r>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (&'r str, &'r str, i64)>,
    ) -> anyhow::Result<()> {
        let topic: Arc<str> = topic.into();
        let mut producer = self.log.producer()?;
        for (key, value, timestamp_ms) in records {
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            let headers = &Headers::default();
            producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers })?;
        }
        Ok(producer.flush(PATIENCE)?)
    }

    /// All records of a topic.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, topic: &str, isolation: Isolation) -> anyhow::Result<Vec<Text>> {
        let mut reader = self.log.reader(isolation)?;
        reader.assign(&TopicPartition::new(topic, 0), ReadFrom::Beginning)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut records, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let fetched = reader.poll(10_000, Duration::from_millis(100))?;
            for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
                let headers = record.headers.iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?))));
                records.push(Text {
                    key: record.key.map(text),
                    value: record.value.map(text),
                    timestamp_ms: record.timestamp_ms,
                    headers: headers.collect(),
                });
            }
            if fetched.events.iter().any(|event| matches!(event, ReaderEvent::EndReached { .. })) {
                return Ok(records);
            }
            ensure!(Instant::now() < deadline, "the end of {topic} is not reached");
        }
    }

    /// The committed records of a topic, as soon as there are so many.
    ///
    /// # Errors
    /// When there are fewer for long, or ever more.
    pub async fn committed(&self, topic: &str, count: usize) -> anyhow::Result<Vec<Text>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.read(topic, Isolation::ReadCommitted)?;
            ensure!(records.len() <= count, "{} records in {topic}, not {count}: {records:?}", records.len());
            if records.len() == count {
                return Ok(records);
            }
            if Instant::now() > deadline {
                bail!("{} records in {topic}, not {count}", records.len());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What a probe or another endpoint answers: status and body.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await?;
        Ok((answer.status().as_u16(), answer.text().await.context("the body")?))
    }

    /// What the metrics say of a part of the memory, in bytes.
    ///
    /// # Errors
    /// When nobody answers, or does not know the part.
    pub async fn memory_bytes(&self, part: &str) -> anyhow::Result<usize> {
        let (_, metrics) = self.get("/metrics").await?;
        let name = format!("millpond_memory_bytes{{part=\"{part}\"}} ");
        let bytes = metrics.lines().find_map(|line| line.strip_prefix(&name));
        Ok(bytes.with_context(|| format!("no {name}in {metrics}"))?.parse()?)
    }
}

// === impl Text ===

impl Text {
    /// The value; "" when there is none.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}
