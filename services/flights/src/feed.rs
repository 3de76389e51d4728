//! Writes the data set to its topics: the reference tables, then all flights.
//!
//! Event time is the scheduled departure; that of the tables lies before the first one, so that a join that goes by time
//! finds them. **Flights are written in the order of event time**, as a live source would: the file sorts its months as
//! text (1, 10, 11, 12, 2, …), and stream time would be in December after a tenth of the records, with every other month
//! late.
//!
//! Feeding twice doubles what the stores count: a flight is an event, not a row of a table.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use millpond::{
    log::{Admin, Append, Headers, Log, NewTopic, Partitioner, Producer, TopicInfo},
    time::{Clock, SystemClock},
};
use serde::Serialize;

use crate::{
    data,
    model::topics::{AIRLINES, AIRPORTS, ALL, FLIGHTS, PLANES},
};

/// Event time of the reference tables: 2013-01-01T00:00:00Z, hours before the first departure.
pub const TABLES_TIMESTAMP_MS: i64 = 1_356_998_400_000;

/// How long acknowledgements, and new topics, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the producer is served and progress told, in records.
const STRIDE: u64 = 500;

/// What to feed, and how.
#[derive(Debug, Clone)]
pub struct FeedOptions {
    /// Only a part; `None` is everything.
    pub only: Option<Part>,
    /// The flights of the first so many months; 12 are all.
    pub months: u32,
    /// The most records per second; 0 is without a limit.
    pub rate: u32,
    /// How many partitions each topic has: created with, or checked for.
    pub partitions: i32,
    /// Replication factor of topics that are created; `None` is the broker's default.
    pub replication_factor: Option<i32>,
    /// What `rate` is measured with.
    pub clock: Arc<dyn Clock>,
}

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Airlines, airports and planes.
    Tables,
    /// The flights.
    Flights,
}

/// How far a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedProgress {
    /// The topic being written.
    pub topic: &'static str,
    /// Its records so far.
    pub written: u64,
    /// Its records in the end.
    pub total: u64,
}

/// What was written and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedReport {
    /// Records by topic, in the order they were written.
    pub topics: Vec<(&'static str, u64)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Creates the topics that do not exist, checks those that do, writes the data and waits for its acknowledgement.
///
/// All topics are created, whatever part is fed: instances refuse to start while one is missing. Blocks: not for the async runtime.
///
/// # Errors
/// When a topic exists that does not fit (the message names it and what to do), or the log fails.
pub fn feed(log: &dyn Log, options: &FeedOptions, progress: impl FnMut(FeedProgress)) -> anyhow::Result<FeedReport> {
    prepare_topics(&mut *log.admin()?, options)?;
    let mut feeder = Feeder::new(log.producer()?, options, progress);
    if options.only != Some(Part::Flights) {
        feeder.feed_tables()?;
    }
    if options.only != Some(Part::Tables) {
        feeder.feed_flights()?;
    }
    Ok(feeder.report())
}

/// Writes records one by one, at the wanted pace.
#[derive(Debug)]
struct Feeder<'a, P> {
    producer: Box<dyn Producer>,
    options: &'a FeedOptions,
    progress: P,
    started: Duration,
    topics: Vec<(&'static str, u64)>,
    /// Records of all topics: what the pace goes by.
    written: u64,
    /// The value being written, kept for its allocation.
    value: Vec<u8>,
}

// === impl FeedOptions ===

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            only: None,
            months: 12,
            rate: 0,
            partitions: 6,
            replication_factor: None,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

// === impl FeedReport ===

impl FeedReport {
    /// Records of all topics.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.topics.iter().map(|(_, records)| records).sum()
    }
}

// === impl Feeder ===

impl<'a, P: FnMut(FeedProgress)> Feeder<'a, P> {
    fn new(producer: Box<dyn Producer>, options: &'a FeedOptions, progress: P) -> Self {
        let started = options.clock.monotonic();
        Self { producer, options, progress, started, topics: Vec::new(), written: 0, value: Vec::new() }
    }

    fn feed_tables(&mut self) -> anyhow::Result<()> {
        let row = |id: &String| (id.clone(), TABLES_TIMESTAMP_MS);
        self.feed_topic(AIRLINES, &collect(data::airlines())?, |airline| row(&airline.carrier))?;
        self.feed_topic(AIRPORTS, &collect(data::airports())?, |airport| row(&airport.faa))?;
        self.feed_topic(PLANES, &collect(data::planes())?, |plane| row(&plane.tailnum))
    }

    fn feed_flights(&mut self) -> anyhow::Result<()> {
        let mut flights = collect(data::flights()?)?;
        flights.retain(|row| row.flight.month <= self.options.months);
        flights.sort_by_key(|row| row.departure_ms); // stable: the order does not differ from run to run
        let (times, flights): (Vec<i64>, Vec<_>) =
            flights.into_iter().map(|row| (row.departure_ms, row.flight)).unzip();
        let mut times = times.into_iter();
        self.feed_topic(FLIGHTS, &flights, |flight| (flight.id(), times.next().unwrap_or_default()))
    }

    fn feed_topic<R: Serialize>(
        &mut self,
        topic: &'static str,
        rows: &[R],
        mut key_and_timestamp: impl FnMut(&R) -> (String, i64),
    ) -> anyhow::Result<()> {
        let name: Arc<str> = topic.into();
        let total = rows.len() as u64;
        for (written, row) in (0..).zip(rows) {
            if written % STRIDE == 0 {
                self.producer.serve();
                (self.progress)(FeedProgress { topic, written, total });
            }
            let (key, timestamp_ms) = key_and_timestamp(row);
            self.append(&name, &key, row, timestamp_ms)
                .with_context(|| format!("writing record `{key}` to topic `{topic}`"))?;
        }
        self.producer.flush(PATIENCE).with_context(|| format!("writing to topic `{topic}`"))?;
        (self.progress)(FeedProgress { topic, written: total, total });
        self.topics.push((topic, total));
        Ok(())
    }

    fn append<R: Serialize>(&mut self, topic: &Arc<str>, key: &str, row: &R, timestamp_ms: i64) -> anyhow::Result<()> {
        self.keep_pace();
        self.value.clear();
        serde_json::to_writer(&mut self.value, row)?;
        self.producer.append(Append {
            topic,
            partition: Partitioner::for_key(key.as_bytes(), self.options.partitions),
            key: Some(key.as_bytes()),
            value: Some(&self.value),
            timestamp_ms,
            headers: &Headers::default(),
        })?;
        self.written += 1;
        Ok(())
    }

    /// Sleeps until the next record is due.
    fn keep_pace(&mut self) {
        if self.options.rate == 0 {
            return;
        }
        let early = due(self.written, self.options.rate).saturating_sub(self.elapsed());
        if early > Duration::from_millis(1) {
            self.producer.serve();
            thread::sleep(early);
        }
    }

    fn elapsed(&self) -> Duration {
        self.options.clock.monotonic().saturating_sub(self.started)
    }

    fn report(self) -> FeedReport {
        FeedReport { elapsed: self.elapsed(), topics: self.topics }
    }
}

/// When, after the start, a record is to be written.
fn due(written: u64, rate: u32) -> Duration {
    Duration::from_secs_f64(written as f64 / f64::from(rate))
}

fn collect<R>(rows: impl Iterator<Item = anyhow::Result<R>>) -> anyhow::Result<Vec<R>> {
    rows.collect()
}

// === Topics ===

fn prepare_topics(admin: &mut dyn Admin, options: &FeedOptions) -> anyhow::Result<()> {
    let wanted = options.partitions;
    ensure!(wanted > 0, "a topic has at least one partition, not {wanted}");
    for TopicInfo { name, partitions, .. } in admin.topics(&ALL)? {
        ensure!(
            partitions == wanted,
            "topic `{name}` exists with {partitions} partitions, not {wanted}: \
             feed with `--partitions {partitions}`, or delete the topic"
        );
        check_config(&name, &admin.topic_config(&name)?)?;
    }
    let topics = ALL.map(|name| NewTopic {
        name: name.into(),
        partitions: wanted,
        replication_factor: options.replication_factor,
        config: config_of(name),
    });
    admin.create_topics(&topics).context("creating the topics")?;
    wait_until_listed(admin)
}

/// A broker acknowledges a new topic some time before it lists it.
fn wait_until_listed(admin: &mut dyn Admin) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if admin.topics(&ALL)?.len() == ALL.len() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    let listed = admin.topics(&ALL)?;
    let missing = ALL.iter().find(|name| listed.iter().all(|topic| topic.name != **name)).unwrap_or(&FLIGHTS);
    bail!("topic `{missing}` was created, but the broker did not list it within {} s", PATIENCE.as_secs())
}

/// The records are of 2013: under a broker's default retention they would be gone within minutes.
fn config_of(topic: &str) -> BTreeMap<String, String> {
    let cleanup = if topic == FLIGHTS { ("cleanup.policy", "delete") } else { ("cleanup.policy", "compact") };
    [cleanup, ("retention.ms", "-1"), ("message.timestamp.type", "CreateTime")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn check_config(topic: &str, config: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let setting = |name| config.get(name).map_or("", String::as_str);
    ensure!(
        setting("message.timestamp.type") != "LogAppendTime",
        "topic `{topic}` has message.timestamp.type=LogAppendTime, and the scheduled departures would be lost: \
         set it to CreateTime, or delete the topic"
    );
    let retention = setting("retention.ms");
    ensure!(
        !setting("cleanup.policy").contains("delete") || ["", "-1"].contains(&retention),
        "topic `{topic}` has retention.ms={retention}, and the flights of 2013 would be deleted at once: \
         set it to -1, or delete the topic"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
