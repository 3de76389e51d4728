//! Whole records on changelogs and repartition topics.

use std::{collections::BTreeMap, sync::Arc};

use integration_tests::{
    conformance::{folder, vectors::Vector},
    topologies,
};
use millpond::testing::TestRecord;
use serde::Deserialize;
use serde_json::Value;

use super::formats::{rows, to_hex};

/// What we call topics that were not named by their users: the topology, the name there, the name here.
const NAMES: [(&str, &str, &str); 14] = [
    ("headers_aggregates", "KTABLE-SUPPRESS-STATE-STORE-0000000011-changelog", "n-suppress-changelog"),
    ("fk_join_inner", "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-0000000004-topic", "j-subscription-registration-topic"),
    ("fk_join_inner", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000012-topic", "j-subscription-response-topic"),
    ("fk_join_inner", "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-0000000008-changelog", "j-subscription-store-changelog"),
    ("fk_join_left", "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-0000000004-topic", "j-subscription-registration-topic"),
    ("fk_join_left", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000012-topic", "j-subscription-response-topic"),
    ("fk_join_left", "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-0000000008-changelog", "j-subscription-store-changelog"),
    ("suppress_time_limit", "KTABLE-SUPPRESS-STATE-STORE-0000000003-changelog", "counts-suppress-changelog"),
    ("suppress_window_tumbling", "KTABLE-SUPPRESS-STATE-STORE-0000000003-changelog", "agg-suppress-changelog"),
    ("stream_stream_join_inner", "KSTREAM-JOINTHIS-0000000004-store-changelog", "left-join-within-left-changelog"),
    ("stream_stream_join_inner", "KSTREAM-JOINOTHER-0000000005-store-changelog", "right-join-within-right-changelog"),
    (
        "stream_stream_join_outer",
        "KSTREAM-OUTERTHIS-0000000004-store-changelog",
        "left-outer-join-within-left-changelog",
    ),
    (
        "stream_stream_join_outer",
        "KSTREAM-OUTEROTHER-0000000005-store-changelog",
        "right-outer-join-within-right-changelog",
    ),
    (
        "stream_stream_join_outer",
        "KSTREAM-OUTERSHARED-0000000004-store-changelog",
        "left-outer-join-within-unmatched-changelog",
    ),
];

/// A key of our own in changelogs, too short for a windowed one: up to which time windows were closed and passed on
/// (docs/adr/0004-windows.md). There, that is in the metadata of committed positions.
const CLOSED: &[u8] = b"closed";

/// How many inputs of its first vector each topology was given.
const STEPS: usize = 24;

/// A record on an internal topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Record {
    key: Option<String>,
    value: Option<String>,
    /// Not said of buffers: it is any there.
    timestamp: Option<i64>,
    #[serde(default)]
    headers: Vec<(String, Option<String>)>,
}

#[derive(Deserialize)]
struct Row {
    topology: String,
    step: usize,
    topic: String,
    #[serde(flatten)]
    record: Record,
}

/// Records by topic and step.
type Records = BTreeMap<(String, usize), Vec<Record>>;

pub(crate) fn records(section: &[Value]) {
    let mut by_topology: BTreeMap<String, Records> = BTreeMap::new();
    for row in rows::<Row>(section) {
        let topic = our_name(&row.topology, row.topic.strip_prefix("app-").expect("the application id"));
        by_topology.entry(row.topology).or_default().entry((topic, row.step)).or_default().push(row.record);
    }
    for (topology, expected) in by_topology {
        let case = topologies::all().find(|case| case.name == topology);
        check(case.unwrap_or_else(|| panic!("there is no topology {topology}")), &expected);
    }
}

fn check(case: topologies::Case, expected: &Records) {
    let mut found = found(case);
    for (at @ (topic, step), expected) in expected {
        let mut found = found.remove(at).unwrap_or_default();
        let mut expected = expected.clone();
        if is_changelog(topic) {
            (found, expected) = (changelog(found), changelog(expected));
            for (found, expected) in found.iter_mut().zip(&expected) {
                found.timestamp = found.timestamp.filter(|_| expected.timestamp.is_some());
            }
        }
        assert_eq!(found, expected, "{} step {step}: {topic}", case.name);
    }
    assert!(found.is_empty(), "{}: Kafka Streams does not write {found:?}", case.name);
}

/// What we write.
fn found(case: topologies::Case) -> Records {
    let topology = case.topology().unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let vector = Vector::read(&folder::own().join(format!("{}.1.json", case.name))).expect("the vector");
    let mut driver = vector.driver(&topology).expect("it runs").with_internal_outputs();
    let mut found = Records::new();
    for step in 0..STEPS {
        vector.pipe(&mut driver, step).expect("it is processed");
        for record in driver.internal_outputs().into_iter().filter(|record| record.key.as_deref() != Some(CLOSED)) {
            let topic = record.topic.strip_prefix(case.name).and_then(|name| name.strip_prefix('-'));
            let topic = topic.unwrap_or_else(|| panic!("{} does not begin with the application id", record.topic));
            found.entry((topic.to_owned(), step)).or_default().push(Record::from(&record));
        }
    }
    found
}

fn our_name(topology: &str, theirs: &str) -> String {
    let named = NAMES.iter().find(|(of, name, _)| (*of, *name) == (topology, theirs));
    named.map_or(theirs, |(_, _, ours)| ours).to_owned()
}

fn is_changelog(topic: &str) -> bool {
    topic.ends_with("-changelog")
}

/// The last record of each key: what a commit leaves of those of a step. Their order is no promise.
fn changelog(records: Vec<Record>) -> Vec<Record> {
    let last: BTreeMap<Arc<str>, Record> =
        records.into_iter().map(|record| (record.key.as_deref().unwrap_or_default().into(), record)).collect();
    last.into_values().collect()
}

// === impl Record ===

impl From<&TestRecord> for Record {
    fn from(record: &TestRecord) -> Self {
        let header = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(to_hex));
        Self {
            key: record.key.as_deref().map(to_hex),
            value: record.value.as_deref().map(to_hex),
            timestamp: Some(record.timestamp_ms),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}
