//! The files of the vectors, and how they are replayed.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use integration_tests::checkout::crate_folder;
use millpond::{
    Serdes, Topology,
    log::Headers,
    processor::{Handlers, OnError},
    serde::Raw,
    testing::{TestRecord, TopologyTestDriver},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where the files are.
pub(crate) fn folder() -> PathBuf {
    crate_folder().join("vectors")
}

/// A file.
#[derive(Debug, Deserialize)]
pub(crate) struct Vector {
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

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Output {
    topic: String,
    key: Value,
    value: Value,
    timestamp: i64,
    #[serde(default)]
    headers: Vec<(String, Option<String>)>,
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

/// The settings for how often closed windows are looked for: of aggregations, of joins.
const EMIT_INTERVALS: [&str; 2] = [
    "__emit.interval.ms.kstreams.windowed.aggregation__",
    "__emit.interval.ms.kstreams.outer.join.spurious.results.fix__",
];

// === impl Vector ===

impl Vector {
    pub(crate) fn read(topology: &str, seed: u32) -> Self {
        let path = folder().join(format!("{topology}.{seed}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replays all steps; says where the first difference is.
    pub(crate) fn replay(&self, topology: &Topology) -> Result<(), String> {
        let driver = TopologyTestDriver::new(topology).map_err(|error| error.to_string())?;
        let mut driver = driver.with_handlers(self.handlers());
        let mut intervals = EMIT_INTERVALS.iter().filter_map(|setting| self.config.get(*setting));
        if let Some(interval) = intervals.next().and_then(Value::as_u64) {
            driver.set_emit_interval(Duration::from_millis(interval));
        }
        for (index, step) in self.inputs.iter().enumerate() {
            self.step(&mut driver, step).map_err(|difference| format!("step {index} ({step:?}): {difference}"))?;
        }
        self.stores.iter().try_for_each(|(name, store)| store.compare(name, &driver))
    }

    fn step(&self, driver: &mut TopologyTestDriver, step: &Step) -> Result<(), String> {
        let dropped_before = driver.dropped();
        let result = match step.advance_wall_clock_ms {
            Some(by) => driver.advance_wall_clock(Duration::from_millis(by)),
            None => driver.pipe_bytes(&self.record(step)),
        };
        result.map_err(|error| error.to_string())?;
        let found: Vec<Output> = driver.outputs().iter().map(|record| self.output(record)).collect();
        let expected: Vec<Output> = step.outputs.iter().cloned().map(Output::without_java).collect();
        if self.ordered(&found) != self.ordered(&expected) {
            return Err(format!("wrote {found:?}"));
        }
        let dropped = driver.dropped() - dropped_before;
        if dropped != step.dropped {
            return Err(format!("dropped {dropped}"));
        }
        Ok(())
    }

    /// What Kafka Streams was configured to do with records that fail. Its `continue` skips the node that fails.
    fn handlers(&self) -> Handlers {
        let mut handlers = Handlers::default();
        let topic = self.config.get("errors.dead.letter.queue.topic.name").and_then(Value::as_str);
        let answer = |else_: OnError| if topic.is_some() { OnError::DeadLetter } else { else_ };
        if let Some(topic) = topic {
            handlers = handlers.dead_letters_to(topic);
        }
        if self.config.contains_key("deserialization.exception.handler") {
            let answer = answer(OnError::Continue);
            handlers = handlers.on_deserialization_error(move |_| answer);
        }
        if self.config.contains_key("processing.exception.handler") {
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

    fn output(&self, record: &TestRecord) -> Output {
        let types = &self.sinks[&*record.topic];
        let header = |(name, value): (&str, Option<&[u8]>)| {
            (name.to_owned(), value.map(|value| String::from_utf8_lossy(value).into_owned()))
        };
        Output {
            topic: record.topic.to_string(),
            key: types.decode_key(record.key.as_deref()),
            value: types.value.decode(record.value.as_deref()),
            timestamp: record.timestamp_ms,
            headers: record.headers.iter().map(header).collect(),
        }
        .without_java()
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

// === impl Output ===

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

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}
