use std::time::Duration;

use proptest::prelude::*;

use crate::{
    Topology, TopologyError,
    dsl::{Buffer, StoreBuilder, TimeWindows, TopologyBuilder},
    processor::{Processor, ProcessorContext, ProcessorResult, Record, VersionedStore, VersionedValue},
    serde::Serdes,
    testing::{TestTopic, TestVersion, TopologyTestDriver},
};

type Plain = Serdes<String, String>;
type Nullable = Serdes<String, Option<String>>;

const HISTORY_MS: i64 = 100;

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

fn refused(write: impl Fn(&TopologyBuilder)) -> String {
    let topology = Topology::builder("test");
    write(&topology);
    match topology.build() {
        Err(error @ TopologyError::Versions { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A record of the stream (`true`) or of the table: key, value, timestamp.
type Input = (bool, u8, Option<u8>, i64);

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let values = prop_oneof![1 => Just(None), 3 => (0..9u8).prop_map(Some)];
    // A tombstone has a time of its own: one at exactly the time of a value may leave no trace, which the tests of the store are about.
    let input = (any::<bool>(), 0..3u8, values, 0..150i64)
        .prop_map(|(to_stream, key, value, at)| (to_stream, key, value, at * 2 + i64::from(value.is_none())));
    prop::collection::vec(input, 1..30)
}

/// A table, by its definition: all its updates.
#[derive(Default)]
struct NaiveTable(Vec<(u8, Option<u8>, i64)>, i64);

impl NaiveTable {
    fn update(&mut self, key: u8, value: Option<u8>, at: i64) {
        self.1 = self.1.max(at);
        if at >= self.1 - HISTORY_MS {
            self.0.push((key, value, at));
        }
    }

    /// The last of the latest updates of a key that are not later than a time.
    fn as_of(&self, key: u8, time: i64) -> Option<u8> {
        let last =
            |updates: &mut dyn Iterator<Item = &(u8, Option<u8>, i64)>| updates.max_by_key(|(_, _, at)| *at).copied();
        let latest = last(&mut self.0.iter().filter(|(of, _, _)| *of == key))?;
        if latest.2 > time && time < self.1 - HISTORY_MS {
            return None;
        }
        last(&mut self.0.iter().filter(|(of, _, at)| *of == key && *at <= time))?.1
    }
}

fn pipe(driver: &mut TopologyTestDriver, (to_stream, key, value, at): Input) {
    let topic = TestTopic::new(if to_stream { "s" } else { "t" }, Nullable::default());
    let value = value.map(|value| value.to_string());
    driver.pipe(&topic, &key.to_string(), &value, at).expect("processed");
}

/// The result of a record of the stream, if the join has one.
fn joined(left: bool, (key, value, at): (u8, u8, i64), row: Option<u8>) -> Option<(String, String, i64)> {
    let shown = row.map_or_else(|| "-".to_owned(), |row| row.to_string());
    (left || row.is_some()).then(|| (key.to_string(), format!("{value}{shown}"), at))
}

fn written(driver: &mut TopologyTestDriver) -> Vec<(String, String, i64)> {
    let out = driver.read(&TestTopic::new("out", Plain::default())).expect("text");
    out.into_iter().map(|record| (record.key, record.value, record.timestamp_ms)).collect()
}

fn show(value: &Option<String>, row: Option<&String>) -> String {
    format!("{}{}", value.as_deref().unwrap_or_default(), row.map_or("-", String::as_str))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_finds_rows_as_they_were_at_its_time(inputs in inputs(), left in any::<bool>()) {
        let mut driver = driver(|topology| {
            let table = topology.table("t", Plain::default()).versioned("t", ms(HISTORY_MS));
            let stream = topology.stream("s", Nullable::default());
            match left {
                true => stream.left_join(&table, |_, value, row| show(value, row)).to("out"),
                false => stream.join(&table, |_, value, row| show(value, Some(row))).to("out"),
            }
        });
        let (mut table, mut expected) = (NaiveTable::default(), Vec::new());
        for input in inputs {
            pipe(&mut driver, input);
            match input {
                (true, key, Some(value), at) => expected.extend(joined(left, (key, value, at), table.as_of(key, at))),
                (true, ..) => {}
                (false, key, value, at) => table.update(key, value, at),
            }
        }
        prop_assert_eq!(written(&mut driver), expected);
    }

    #[test]
    fn a_join_with_grace_waits_for_the_table(inputs in inputs(), grace in 0..HISTORY_MS, left in any::<bool>()) {
        let mut driver = driver(|topology| {
            let table = topology.table("t", Plain::default()).versioned("t", ms(HISTORY_MS));
            let stream = topology.stream("s", Nullable::default());
            let joined = match left {
                true => stream.left_join_with_grace(&table, ms(grace), |_, value, row| show(value, row)),
                false => stream.join_with_grace(&table, ms(grace), |_, value, row| show(value, Some(row))),
            };
            joined.to("out");
        });
        let (mut table, mut expected) = (NaiveTable::default(), Vec::new());
        let (mut waiting, mut latest): (Vec<(u8, u8, i64)>, i64) = (Vec::new(), -1);
        for input in inputs {
            pipe(&mut driver, input);
            match input {
                (true, key, Some(value), at) if at < latest - grace => {
                    expected.extend(joined(left, (key, value, at), table.as_of(key, at)));
                }
                (true, key, Some(value), at) => {
                    latest = latest.max(at);
                    waiting.push((key, value, at));
                    // Stable: those of one time and key stay in the order of their coming.
                    waiting.sort_by_key(|(key, _, at)| (*at, *key));
                    let due: Vec<_> = waiting.extract_if(.., |(_, _, at)| *at <= latest - grace).collect();
                    let joined = |(key, value, at)| joined(left, (key, value, at), table.as_of(key, at));
                    expected.extend(due.into_iter().filter_map(joined));
                }
                (true, ..) => {}
                (false, key, value, at) => table.update(key, value, at),
            }
        }
        prop_assert_eq!(written(&mut driver), expected);
    }
}

#[test]
fn tables_that_are_made_row_by_row_have_versions_too() {
    let mut driver = driver(|topology| {
        let table = topology.table("t", Plain::default()).versioned("t", ms(HISTORY_MS));
        let table = table.filter(|_, value| value != "2").map_values(|_, value| format!("{value}!"));
        let stream = topology.stream("s", Nullable::default());
        stream.left_join(&table, |_, value, row| show(value, row)).to("out");
    });
    for (value, at) in [(1, 10), (2, 20), (3, 30)] {
        pipe(&mut driver, (false, 0, Some(value), at));
    }
    for at in [9, 10, 20, 30] {
        pipe(&mut driver, (true, 0, Some(0), at));
    }
    let found: Vec<_> = written(&mut driver).into_iter().map(|(_, value, _)| value).collect();
    assert_eq!(found, ["0-", "01!", "0-", "03!"]);
}

#[test]
fn an_aggregate_keeps_versions() {
    let mut driver = driver(|topology| {
        topology.stream("s", Plain::default()).group_by_key().count().versioned("counts", ms(HISTORY_MS));
    });
    for at in [10, 50, 20] {
        pipe(&mut driver, (true, 0, Some(0), at));
    }
    let serdes = Serdes::<String, i64>::default();
    let count = |at| driver.row_as_of("counts", &serdes, &"0".to_owned(), at).expect("a store");
    assert_eq!([9, 10, 49, 50].map(count), [None, Some((1, 10)), Some((1, 10)), Some((3, 50))]);
    let version =
        |value, valid_from_ms, valid_to_ms| TestVersion { key: "0".to_owned(), value, valid_from_ms, valid_to_ms };
    let versions = driver.versions("counts", &serdes).expect("a store");
    assert_eq!(versions, [version(1, 10, Some(50)), version(3, 50, None)]);
    assert_eq!(driver.rows("counts", &serdes).expect("a store"), [("0".to_owned(), 3, 50)]);
}

/// Keeps each record, and says which versions it knows of its key, two at most, since 5 ms before its time.
struct Versions(VersionedStore<String, String>);

impl Processor<String, Option<String>> for Versions {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        ctx: &mut ProcessorContext<'_, String, String>,
        record: Record<String, Option<String>>,
    ) -> ProcessorResult {
        self.0.put(ctx, &record.key, record.value.as_ref(), record.timestamp_ms)?;
        let versions = self.0.versions(ctx, &record.key, record.timestamp_ms - 5, 2)?;
        let show = |version: &VersionedValue<String>| {
            let end = version.valid_to_ms.map(|end| end.to_string()).unwrap_or_default();
            format!("{}@{}..{end}", version.value, version.valid_from_ms)
        };
        let versions: Vec<_> = versions.iter().map(show).collect();
        Ok(ctx.forward(record.with_value(versions.join(" ")))?)
    }
}

#[test]
fn a_processor_reads_the_versions_of_a_key() {
    for in_memory in [false, true] {
        let mut driver = driver(|topology| {
            let store = StoreBuilder::versioned("versions", Plain::default(), ms(HISTORY_MS));
            let store = topology.add_store(if in_memory { store.in_memory() } else { store.queryable() });
            topology.stream("s", Nullable::default()).process(store, Versions).to("out");
        });
        for (value, at) in [(Some(1), 10), (Some(2), 20), (None, 30), (Some(3), 15), (Some(4), 40)] {
            pipe(&mut driver, (true, 0, value, at));
        }
        let found: Vec<_> = written(&mut driver).into_iter().map(|(_, versions, _)| versions).collect();
        assert_eq!(found, ["1@10..", "1@10..20 2@20..", "2@20..30", "1@10..15 3@15..20", "4@40.."]);
    }
}

#[test]
fn what_needs_versions_that_are_not_there_is_refused() {
    let error = refused(|topology| {
        let table = topology.table("t", Plain::default()).versioned("rows", ms(9));
        let stream = topology.stream("s", Plain::default());
        stream.join_with_grace(&table, ms(10), |_, _, row| row.clone()).to("out");
    });
    assert_eq!(
        error,
        "`s/join-with-grace`: its grace is 10 ms, but table `rows` keeps its history for 9 ms only: that must be as long at the least"
    );
    let error = refused(|topology| {
        let table =
            topology.table("t", Plain::default()).versioned("rows", ms(100)).filter(|_, _| true).materialized("f");
        let stream = topology.stream("s", Plain::default());
        stream.join_with_grace(&table, ms(10), |_, _, row| row.clone()).named("join").to("out");
    });
    assert!(
        error.starts_with("`join`: a join with grace") && error.contains("table `f` does not keep versions"),
        "{error}"
    );
    let error = refused(|topology| {
        let table = topology.table("t", Plain::default()).versioned("rows", ms(100));
        let _ = table.suppress_for(ms(5), Buffer::unbounded());
    });
    assert_eq!(error, "`rows/suppress`: `suppress` cannot hold back the changes of a table that keeps versions");
    let error = refused(|topology| {
        let _ = topology.table("t", Plain::default()).versioned("rows", ms(100)).coalesced();
    });
    assert_eq!(error, "`rows`: the updates of a table that keeps versions cannot be coalesced: each counts");
    let error = refused(|topology| {
        let windows = topology.stream("s", Plain::default()).group_by_key().windowed_by(TimeWindows::tumbling(ms(10)));
        windows.count().versioned("counts", ms(100));
    });
    assert!(error.starts_with("store `counts`: a timestamped-window store cannot keep versions"), "{error}");
}

#[test]
fn a_changelog_keeps_all_versions_while_they_are_needed() {
    let topology = Topology::builder("test");
    topology.table("t", Plain::default()).versioned("rows", ms(500));
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let partitions = resolved.partitions(&[("t".to_owned(), 1)].into()).expect("one partition");
    let changelog = &partitions.internal_topics()[0];
    assert_eq!(changelog.config["min.compaction.lag.ms"], "86400500");
    assert!(changelog.refuses("min.compaction.lag.ms", "86400499").is_some());
    assert!(changelog.refuses("min.compaction.lag.ms", "86400500").is_none());

    let topology = Topology::builder("test");
    let table = topology.table("t", Plain::default()).versioned("rows", ms(500));
    table.changelog_config([("min.compaction.lag.ms", "0")]);
    assert!(matches!(topology.build(), Err(TopologyError::ChangelogConfig { .. })));
}
