//! The files of the vectors, and how they are replayed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    time::Duration,
};

use millpond::{
    Serdes, Topology,
    log::Headers,
    processor::{Handlers, OnError},
    serde::Raw,
    testing::{DriverError, TestRecord, TopologyTestDriver},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A file.
#[derive(Debug, Deserialize)]
pub struct Vector {
    topology: String,
    order: Order,
    #[serde(default)]
    config: BTreeMap<String, Value>,
    sources: BTreeMap<String, Types>,
    sinks: BTreeMap<String, Types>,
    inputs: Vec<Step>,
    stores: BTreeMap<String, Store>,
}

/// How far the order of the outputs of one step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Total,
    PerTopic,
    PerKey,
}

/// What keys and values of a topic or store are.
#[derive(Debug, Deserialize)]
struct Types {
    key: Type,
    value: Type,
    #[serde(default)]
    window_size_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    String,
    I64,
    #[serde(rename = "time_windowed<string>")]
    TimeWindowed,
    #[serde(rename = "session_windowed<string>")]
    SessionWindowed,
}

/// A record that goes in, or time that passes, and what must come out.
#[derive(Debug, Deserialize)]
struct Step {
    advance_wall_clock_ms: Option<u64>,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    value: Value,
    value_hex: Option<String>,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    headers: Vec<(String, Option<String>)>,
    #[serde(default)]
    dropped: u64,
    outputs: Vec<Output>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
struct Output {
    topic: String,
    key: Value,
    value: Value,
    timestamp: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Option<String>)>,
}

/// Whether the numbers of records that operators left out are compared. Kafka Streams' own are an aid, not a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// They must be equal.
    Compared,
    /// They may be anything.
    Ignored,
}

/// Why a file does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It cannot be replayed.
    #[error("cannot be replayed: {0}")]
    Unusable(String),
    /// A step gives something else.
    #[error("step {index}: {input}\n  expected: {expected}\n  got:      {found}")]
    Step {
        /// Which one, from 0.
        index: usize,
        /// What goes in.
        input: String,
        /// What must come out.
        expected: String,
        /// What comes out.
        found: String,
    },
    /// A store is not what it must be after all steps.
    #[error("after all steps: {0}")]
    Store(String),
}

/// What must be in a store at the end.
#[derive(Debug, Deserialize)]
struct Store {
    kind: String,
    #[serde(flatten)]
    types: Types,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Entry {
    key: Value,
    start: Option<i64>,
    end: Option<i64>,
    value: Value,
    timestamp: Option<i64>,
    /// Of a store that keeps versions: the latest one.
    latest: Value,
    /// All of them.
    versions: Vec<Value>,
    /// Those that were valid at some times.
    as_of: Vec<(i64, Value)>,
}

/// The settings for how often closed windows, and records that were not joined, are looked for.
const EMIT_INTERVALS: [&str; 2] = [
    "__emit.interval.ms.kstreams.windowed.aggregation__",
    "__emit.interval.ms.kstreams.outer.join.spurious.results.fix__",
];
const DEAD_LETTERS: &str = "errors.dead.letter.queue.topic.name";
const ON_DESERIALIZATION_ERROR: (&str, &str) = ("deserialization.exception.handler", "LogAndContinueExceptionHandler");
const ON_PROCESSING_ERROR: (&str, &str) = ("processing.exception.handler", "LogAndContinueProcessingExceptionHandler");
/// It changes no result: the topology that has it is written as it says.
const OPTIMIZATION: (&str, &str) = ("topology.optimization", "all");

// === impl Vector ===

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or asks for what is not known here.
    pub fn read(path: &Path) -> Result<Self, Difference> {
        let text = fs::read_to_string(path).map_err(|error| Difference::Unusable(error.to_string()))?;
        let vector: Self = serde_json::from_str(&text).map_err(|error| Difference::Unusable(error.to_string()))?;
        vector.check().map_err(Difference::Unusable)?;
        Ok(vector)
    }

    /// The topology it is of.
    #[must_use]
    pub fn topology(&self) -> &str {
        &self.topology
    }

    /// How many steps it has.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.inputs.len()
    }

    /// Replays all steps, and compares the stores at the end.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn replay(&self, topology: &Topology, dropped: Dropped) -> Result<(), Difference> {
        let mut driver = self.driver(topology).map_err(Difference::Unusable)?;
        for (index, step) in self.inputs.iter().enumerate() {
            self.step(&mut driver, step, dropped).map_err(|(expected, found)| Difference::Step {
                index,
                input: step.to_string(),
                expected,
                found,
            })?;
        }
        self.stores.iter().try_for_each(|(name, store)| store.compare(name, &driver)).map_err(Difference::Store)
    }

    /// A driver that is configured as the file says.
    ///
    /// # Errors
    ///
    /// When the topology cannot be run.
    pub fn driver(&self, topology: &Topology) -> Result<TopologyTestDriver, String> {
        let driver = TopologyTestDriver::new(topology).map_err(|error| error.to_string())?;
        let mut driver = driver.with_handlers(self.handlers());
        if let Some(interval) = EMIT_INTERVALS.iter().find_map(|setting| self.config.get(*setting)?.as_u64()) {
            driver.set_emit_interval(Duration::from_millis(interval));
        }
        Ok(driver)
    }

    /// Puts the input of a step into a driver.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn pipe(&self, driver: &mut TopologyTestDriver, index: usize) -> Result<(), String> {
        self.pipe_step(driver, &self.inputs[index]).map_err(|error| error.to_string())
    }

    /// The records of all steps, in their order.
    pub fn records(&self) -> impl Iterator<Item = TestRecord> {
        self.inputs.iter().filter(|step| step.advance_wall_clock_ms.is_none()).map(|step| self.record(step))
    }

    /// Whether everything it asks for is known here.
    fn check(&self) -> Result<(), String> {
        for (setting, value) in &self.config {
            let known = match value.as_str() {
                Some(_) if setting == DEAD_LETTERS => true,
                Some(value) => {
                    [ON_DESERIALIZATION_ERROR, ON_PROCESSING_ERROR, OPTIMIZATION].contains(&(setting.as_str(), value))
                }
                None => value.is_u64() && EMIT_INTERVALS.contains(&setting.as_str()),
            };
            if !known {
                return Err(format!("the config {setting}={value} is not known"));
            }
        }
        let intervals: BTreeSet<_> =
            EMIT_INTERVALS.iter().filter_map(|setting| self.config.get(*setting)?.as_u64()).collect();
        if intervals.len() > 1 {
            return Err(format!("one emit interval per file, not {intervals:?}"));
        }
        let unknown = |topic: &&String, known: &BTreeMap<String, Types>| !known.contains_key(*topic);
        let inputs = self.inputs.iter().filter(|step| step.advance_wall_clock_ms.is_none()).map(|step| &step.topic);
        let outputs = self.inputs.iter().flat_map(|step| &step.outputs).map(|output| &output.topic);
        if let Some(topic) = inputs.into_iter().find(|topic| unknown(topic, &self.sources)) {
            return Err(format!("the input topic {topic} is not among the sources"));
        }
        if let Some(topic) = outputs.into_iter().find(|topic| unknown(topic, &self.sinks)) {
            return Err(format!("the output topic {topic} is not among the sinks"));
        }
        Ok(())
    }

    fn pipe_step(&self, driver: &mut TopologyTestDriver, step: &Step) -> Result<(), DriverError> {
        match step.advance_wall_clock_ms {
            Some(by) => driver.advance_wall_clock(Duration::from_millis(by)),
            None => driver.pipe_bytes(&self.record(step)),
        }
    }

    /// Replays a step; the error is what was expected and what was found.
    fn step(&self, driver: &mut TopologyTestDriver, step: &Step, dropped: Dropped) -> Result<(), (String, String)> {
        let dropped_before = driver.dropped();
        let expected: Vec<Output> = step.outputs.iter().cloned().map(Output::without_java).collect();
        self.pipe_step(driver, step).map_err(|error| (listed(&expected), error.to_string()))?;
        let mut found = Vec::new();
        for record in driver.outputs() {
            match self.sinks.get(&*record.topic) {
                Some(types) => found.push(types.output(&record)),
                None => return Err((listed(&expected), format!("a record in {}, which is no sink", record.topic))),
            }
        }
        if self.ordered(&found) != self.ordered(&expected) {
            return Err((listed(&expected), listed(&found)));
        }
        let found = driver.dropped() - dropped_before;
        if dropped == Dropped::Compared && found != step.dropped {
            return Err((format!("dropped {}", step.dropped), format!("dropped {found}")));
        }
        Ok(())
    }

    /// What Kafka Streams was configured to do with records that fail. Its `continue` skips the node that fails.
    fn handlers(&self) -> Handlers {
        let mut handlers = Handlers::default();
        let topic = self.config.get(DEAD_LETTERS).and_then(Value::as_str);
        let answer = |else_: OnError| if topic.is_some() { OnError::DeadLetter } else { else_ };
        if let Some(topic) = topic {
            handlers = handlers.dead_letters_to(topic);
        }
        if self.config.contains_key(ON_DESERIALIZATION_ERROR.0) {
            let answer = answer(OnError::Continue);
            handlers = handlers.on_deserialization_error(move |_| answer);
        }
        if self.config.contains_key(ON_PROCESSING_ERROR.0) {
            let answer = answer(OnError::SkipNode);
            handlers = handlers.on_processing_error(move |_| answer);
        }
        handlers
    }

    fn record(&self, step: &Step) -> TestRecord {
        let types = &self.sources[&step.topic];
        let headers = step.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(str::as_bytes)));
        TestRecord {
            topic: step.topic.as_str().into(),
            key: types.key.encode(&step.key),
            value: step.value_hex.as_deref().map(from_hex).or_else(|| types.value.encode(&step.value)),
            timestamp_ms: step.timestamp,
            headers: Headers::new(headers),
        }
    }

    /// The outputs in groups within which their order counts.
    fn ordered(&self, outputs: &[Output]) -> BTreeMap<String, Vec<Output>> {
        let mut groups: BTreeMap<String, Vec<Output>> = BTreeMap::new();
        for output in outputs {
            let group = match self.order {
                Order::Total => String::new(),
                Order::PerTopic => output.topic.clone(),
                Order::PerKey => format!("{} {}", output.topic, output.key),
            };
            groups.entry(group).or_default().push(output.clone());
        }
        groups
    }
}

// === impl Step ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, key, timestamp, headers, .. } = self;
        if let Some(by) = self.advance_wall_clock_ms {
            return write!(f, "the wall clock advances by {by} ms");
        }
        let value = self.value_hex.clone().map_or_else(|| self.value.clone(), Value::from);
        write!(f, "topic {topic}, key {key}, value {value}, timestamp {timestamp}")?;
        if headers.is_empty() { Ok(()) } else { write!(f, ", headers {headers:?}") }
    }
}

// === impl Output ===

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Output {
    /// Of the headers of dead letters, only names are compared where the values are Java's, and those of Kafka Streams.
    fn without_java(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "__streams.errors.stacktrace" && !name.starts_with("__millpond."));
        for (name, value) in &mut self.headers {
            if matches!(name.as_str(), "__streams.errors.exception" | "__streams.errors.message") {
                *value = None;
            }
        }
        self
    }
}

// === impl Store ===

impl Store {
    fn compare(&self, name: &str, driver: &TopologyTestDriver) -> Result<(), String> {
        let found = match self.kind.as_str() {
            "versioned" => self.versions(name, driver)?,
            _ => self.rows(name, driver)?,
        };
        (found == self.entries)
            .then_some(())
            .ok_or_else(|| format!("store {name} has {found:?}, not {:?}", self.entries))
    }

    fn rows(&self, name: &str, driver: &TopologyTestDriver) -> Result<Vec<Entry>, String> {
        let rows = driver.rows(name, &Serdes::new(Raw, Raw)).map_err(|error| error.to_string())?;
        let mut found: Vec<Entry> = rows
            .iter()
            .map(|(key, value, timestamp_ms)| {
                let (key, start, end) = self.split(key);
                let value = self.types.value.decode(Some(value));
                let timestamp =
                    (!["session", "plain_kv", "plain_window"].contains(&&*self.kind)).then_some(*timestamp_ms);
                let key = self.types.key.decode(Some(key));
                Entry { key, start, end, value, timestamp, ..Entry::default() }
            })
            .collect();
        // The files are sorted by text also where keys are numbers.
        let text = |key: &Value| key.as_str().map(str::to_owned).unwrap_or_else(|| key.to_string());
        found.sort_by_key(|entry| (text(&entry.key), entry.start, entry.end));
        Ok(found)
    }

    /// Versions by key, and those at the times at which they are expected.
    fn versions(&self, name: &str, driver: &TopologyTestDriver) -> Result<Vec<Entry>, String> {
        let (raw, wanted) = (Serdes::new(Raw, Raw), |key: &Value| self.entries.iter().find(|entry| entry.key == *key));
        let row = |value: &Vec<u8>, timestamp: i64| json!({ "value": self.types.value.decode(Some(value)), "timestamp": timestamp });
        let mut found: Vec<Entry> = Vec::new();
        for version in driver.versions(name, &raw).map_err(|error| error.to_string())? {
            let key = self.types.key.decode(Some(&version.key));
            if found.last().is_none_or(|entry| entry.key != key) {
                let times = wanted(&key).into_iter().flat_map(|entry| entry.as_of.iter().map(|(time, _)| *time));
                let as_of = times.map(|time| {
                    let at = driver.row_as_of(name, &raw, &version.key, time).map_err(|error| error.to_string())?;
                    Ok((time, at.map_or(Value::Null, |(value, from)| row(&value, from))))
                });
                let as_of = as_of.collect::<Result<_, String>>()?;
                found.push(Entry { key, as_of, ..Entry::default() });
            }
            let entry = found.last_mut().expect("it was pushed, if it was not there");
            let mut this = row(&version.value, version.valid_from_ms);
            if version.valid_to_ms.is_none() {
                entry.latest = this.clone();
            }
            this["valid_to"] = version.valid_to_ms.into();
            entry.versions.push(this);
        }
        Ok(found)
    }

    /// The key of a row, its start and its end.
    fn split<'k>(&self, key: &'k [u8]) -> (&'k [u8], Option<i64>, Option<i64>) {
        match self.kind.as_str() {
            "kv" | "plain_kv" => (key, None, None),
            "window" | "plain_window" => {
                let (key, start) = take_time(key);
                // The size is known to those who read the store: all windows have one.
                let size = self.entries.first().and_then(|entry| Some((entry.start?, entry.end?)));
                let end = size.map(|(of_start, of_end)| match of_end {
                    i64::MAX => i64::MAX,
                    end => start + end - of_start,
                });
                (key, Some(start), end)
            }
            "session" => {
                let (key, start) = take_time(key);
                let (key, end) = take_time(key);
                (key, Some(start), Some(end))
            }
            other => panic!("stores of the kind {other} are not compared"),
        }
    }
}

/// Splits the time at the end of a windowed key off.
fn take_time(key: &[u8]) -> (&[u8], i64) {
    let (key, time) = key.split_last_chunk::<8>().expect("a windowed key");
    (key, i64::from_be_bytes(*time))
}

// === impl Types ===

impl Types {
    /// A record of a topic of these types.
    fn output(&self, record: &TestRecord) -> Output {
        let header = |(name, value): (&str, Option<&[u8]>)| {
            (name.to_owned(), value.map(|value| String::from_utf8_lossy(value).into_owned()))
        };
        Output {
            topic: record.topic.to_string(),
            key: self.decode_key(record.key.as_deref()),
            value: self.value.decode(record.value.as_deref()),
            timestamp: record.timestamp_ms,
            headers: record.headers.iter().map(header).collect(),
        }
        .without_java()
    }

    fn decode_key(&self, bytes: Option<&[u8]>) -> Value {
        let text = |key| Type::String.decode(Some(key));
        match (self.key, bytes) {
            (Type::TimeWindowed, Some(bytes)) => {
                let (key, start) = take_time(bytes);
                json!({ "key": text(key), "start": start, "end": start.saturating_add(self.window_size_ms) })
            }
            (Type::SessionWindowed, Some(bytes)) => {
                let (key, start) = take_time(bytes);
                let (key, end) = take_time(key);
                json!({ "key": text(key), "start": start, "end": end })
            }
            (plain, bytes) => plain.decode(bytes),
        }
    }
}

// === impl Type ===

impl Type {
    fn encode(self, value: &Value) -> Option<Vec<u8>> {
        match (self, value) {
            (_, Value::Null) => None,
            (Self::String, value) => Some(value.as_str().expect("a text").as_bytes().to_vec()),
            (Self::I64, value) => Some(value.as_i64().expect("a number").to_be_bytes().to_vec()),
            (Self::TimeWindowed | Self::SessionWindowed, _) => panic!("windowed keys are only written"),
        }
    }

    fn decode(self, bytes: Option<&[u8]>) -> Value {
        match (self, bytes) {
            (_, None) => Value::Null,
            (Self::String, Some(bytes)) => std::str::from_utf8(bytes).expect("UTF-8").into(),
            (Self::I64, Some(bytes)) => i64::from_be_bytes(bytes.try_into().expect("8 bytes")).into(),
            (Self::TimeWindowed | Self::SessionWindowed, Some(_)) => panic!("only keys are windowed"),
        }
    }
}

/// Outputs, one a line when there are several.
fn listed(outputs: &[Output]) -> String {
    let lines: Vec<_> = outputs.iter().map(Output::to_string).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n            ") }
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}
