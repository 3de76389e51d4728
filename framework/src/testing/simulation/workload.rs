//! What the simulated instances do, and what has to come out of it.
//!
//! Every record that is fed has a number of its own. It is passed on as it is (`seen`), tallied by its key where it is read (`by-key`), counted
//! by windows, and tallied by its class behind a repartition (`by-class`). A tally is how many there were and the sum of their numbers: one
//! that was lost, or came twice, is found whatever else happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::life::EPOCH_MS;
use crate::{
    config::Guarantee,
    dsl::TimeWindows,
    log::{
        Append, Headers, Isolation, Log, LogError, NewTopic, Partitioner, Producer, ReadFrom, Reader, TopicPartition,
        embedded::EmbeddedLog,
    },
    serde::Serdes,
    topology::{Resolved, Topology, TopologyError},
};

/// The application.
pub(super) const APPLICATION: &str = "tallies";
const EVENTS: &str = "events";
const OUTPUTS: [&str; 3] = ["seen", "by-key", "by-class"];
const KEYS: u64 = 7;
const CLASSES: u64 = 3;

/// Feeds records and checks what is written.
pub(super) struct Workload {
    guarantee: Guarantee,
    partitions: i32,
    events: Arc<str>,
    producer: Box<dyn Producer>,
    outputs: Box<dyn Reader>,
    fed: u64,
    /// What there is to come out, by topic and key.
    truth: BTreeMap<(&'static str, String), Tally>,
    seen: BTreeSet<u64>,
    /// What came out last, by topic and key.
    written: BTreeMap<(&'static str, String), Tally>,
}

/// How many, and the sum of their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    count: u64,
    sum: u64,
}

/// The topology.
pub(super) fn topology() -> Result<Resolved, TopologyError> {
    let topology = Topology::builder(APPLICATION);
    let events = topology.stream(EVENTS, Serdes::<String, String>::default());
    events.to("seen");
    let by_key = events.group_by_key().aggregate(String::new, |_, number, tally| add(&tally, number));
    by_key.materialized("by-key").queryable().to_stream().to("by-key");
    let windows = TimeWindows::tumbling(Duration::from_secs(5)).grace(Duration::from_secs(3600));
    events.group_by_key().windowed_by(windows).count().materialized("by-window").queryable();
    let by_class =
        events.group_by(|_, number| class_of(number)).aggregate(String::new, |_, number, tally| add(&tally, number));
    by_class.materialized("by-class").queryable().to_stream().to("by-class");
    Ok(topology.build()?.resolve(APPLICATION))
}

fn class_of(number: &str) -> String {
    format!("class-{}", number.parse::<u64>().unwrap_or(0) % CLASSES)
}

fn add(tally: &str, number: &str) -> String {
    let mut tally = Tally::parse(tally).unwrap_or_default();
    tally.add(number.parse().unwrap_or(0));
    format!("{} {}", tally.count, tally.sum)
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum += number;
    }

    fn parse(text: &str) -> Option<Self> {
        let (count, sum) = text.split_once(' ')?;
        Some(Self { count: count.parse().ok()?, sum: sum.parse().ok()? })
    }
}

// === impl Workload ===

impl Workload {
    pub(super) fn new(log: &EmbeddedLog, partitions: i32, guarantee: Guarantee) -> Result<Self, LogError> {
        let new_topic = |name: &str| NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            config: BTreeMap::new(),
        };
        let topics: Vec<NewTopic> = [EVENTS].iter().chain(&OUTPUTS).map(|name| new_topic(name)).collect();
        log.admin()?.create_topics(&topics)?;
        let mut outputs = log.reader(Isolation::ReadCommitted)?;
        for (topic, partition) in
            OUTPUTS.iter().flat_map(|topic| (0..partitions).map(move |partition| (*topic, partition)))
        {
            outputs.assign(&TopicPartition::new(topic, partition), ReadFrom::Beginning)?;
        }
        Ok(Self {
            guarantee,
            partitions,
            events: EVENTS.into(),
            producer: log.producer()?,
            outputs,
            fed: 0,
            truth: BTreeMap::new(),
            seen: BTreeSet::new(),
            written: BTreeMap::new(),
        })
    }

    /// Feeds a record; `chance` says of which key.
    pub(super) fn feed(&mut self, now: Duration, chance: u64) -> Result<(), LogError> {
        let (number, key) = (self.fed + 1, format!("key-{}", chance % KEYS));
        let text = number.to_string();
        self.producer.append(Append {
            topic: &self.events,
            partition: Partitioner::for_key(key.as_bytes(), self.partitions),
            key: Some(key.as_bytes()),
            value: Some(text.as_bytes()),
            timestamp_ms: EPOCH_MS + now.as_millis() as i64,
            headers: &Headers::default(),
        })?;
        self.producer.flush(Duration::ZERO)?;
        self.fed = number;
        self.truth.entry(("by-key", key)).or_default().add(number);
        self.truth.entry(("by-class", class_of(&text))).or_default().add(number);
        Ok(())
    }

    pub(super) fn fed(&self) -> u64 {
        self.fed
    }

    /// Looks at what was committed since.
    pub(super) fn check_outputs(&mut self) -> Result<(), String> {
        loop {
            let fetched = self.outputs.poll(10_000, Duration::ZERO).map_err(|error| error.to_string())?;
            if fetched.batches.is_empty() {
                return Ok(());
            }
            for batch in &fetched.batches {
                let topic = OUTPUTS.into_iter().find(|topic| *topic == &*batch.source().topic).unwrap_or_default();
                for record in batch.iter() {
                    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                    let at = || format!("{} at {}", batch.source(), record.offset);
                    self.check_output(topic, &text(record.key), &text(record.value))
                        .map_err(|what| format!("{what}; {}", at()))?;
                }
            }
        }
    }

    fn check_output(&mut self, topic: &'static str, key: &str, value: &str) -> Result<(), String> {
        let exactly_once = self.guarantee == Guarantee::ExactlyOnce;
        if topic == "seen" {
            let number = value.parse().map_err(|_| format!("`{value}` is no number"))?;
            if !self.seen.insert(number) && exactly_once {
                return Err(format!("{number} is committed twice"));
            }
            return Ok(());
        }
        let tally = Tally::parse(value).ok_or_else(|| format!("`{value}` is no tally"))?;
        let before = self.written.insert((topic, key.to_owned()), tally).unwrap_or_default();
        if exactly_once && tally.count != before.count + 1 {
            return Err(format!(
                "the tally of {key} goes from {} to {}: something was lost or came twice",
                before.count, tally.count
            ));
        }
        if exactly_once && self.truth.get(&(topic, key.to_owned())).is_none_or(|truth| tally.count > truth.count) {
            return Err(format!("the tally of {key} is {}, so many were never fed", tally.count));
        }
        Ok(())
    }

    /// What of it all has not come out as it should.
    pub(super) fn missing(&self) -> Option<String> {
        // At least once, who was put out and does not know it yet may write after its successor: what is known then is that every record
        // was processed.
        let is_wrong = |of, truth: &Tally| self.written.get(of).copied().unwrap_or_default() != *truth;
        let wrong = self
            .truth
            .iter()
            .filter(|_| self.guarantee == Guarantee::ExactlyOnce)
            .find(|(of, truth)| is_wrong(*of, truth));
        let unseen =
            || (1..=self.fed).find(|number| !self.seen.contains(number)).map(|number| format!("{number} was not seen"));
        let differs = wrong.map(|(of, truth)| format!("{of:?} is {:?}, not {truth:?}", self.written.get(of)));
        differs.or_else(unseen)
    }
}
