//! Joins of streams against what Kafka Streams says they are.

mod changelog;
mod model;
mod task;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::prelude::*;

use self::{
    model::{Model, Shape},
    task::Task,
};
use crate::{
    Topology, TopologyError,
    dsl::{JoinWindows, Stream, TopologyBuilder},
    log::Headers,
    processor::Record,
    serde::Serdes,
    state::{MemoryBudget, StateDir, StateSettings},
    testing::{TestTopic, TopologyTestDriver},
    topology::InternalTopic,
};

type Text = Option<String>;
type Nullable = Serdes<Text, Text>;

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn stream<'t>(topology: &'t TopologyBuilder, topic: &str) -> Stream<'t, Text, Text> {
    topology.stream(topic, Nullable::default())
}

fn shown(left: Option<&Text>, right: Option<&Text>) -> String {
    let text = |value: Option<&Text>| value.cloned().flatten().unwrap_or_else(|| "-".to_owned());
    format!("{}+{}", text(left), text(right))
}

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

/// A join of `left` and `right`, to `out`.
fn write(topology: &TopologyBuilder, shape: Shape) {
    let (left, right) = (stream(topology, "left"), stream(topology, "right"));
    let Shape { left_is_outer, right_is_outer, before_ms, after_ms, grace_ms } = shape;
    let mut windows = JoinWindows::of(ms(before_ms)).after(ms(after_ms)).grace(ms(grace_ms));
    if before_ms < 0 {
        windows = windows.later_by(ms(before_ms));
    }
    if after_ms < 0 {
        windows = windows.earlier_by(ms(after_ms));
    }
    let joined: Stream<'_, Text, String> = match (left_is_outer, right_is_outer) {
        (false, _) => left.join_within(&right, windows, |_, left, right| shown(Some(left), Some(right))).into(),
        (true, false) => left.left_join_within(&right, windows, |_, left, right| shown(Some(left), right)).into(),
        (true, true) => left.outer_join_within(&right, windows, |_, left, right| shown(left, right)).into(),
    };
    joined.to("out");
}

/// A record of a stream, or time that passes.
#[derive(Debug, Clone)]
enum Step {
    Record { left: bool, key: Text, has_value: bool, at: i64 },
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // One is a prefix of another; mostly there is a key and a value.
    let keys = prop_oneof![4 => Just(Some("a")), 3 => Just(Some("ab")), 2 => Just(Some("b")), 1 => Just(None)];
    let values = prop::bool::weighted(0.9);
    let record = (any::<bool>(), keys, values, 0..30i64).prop_map(|(left, key, has_value, at)| {
        let key = key.map(str::to_owned);
        // Equal times are of interest.
        Step::Record { left, key, has_value, at: at * 7 }
    });
    let step = prop_oneof![9 => record, 1 => (0..40i64).prop_map(Step::Wait)];
    // So are several values of one key and time, and time that goes on: windows close by the latest record only.
    let steps = prop::collection::vec((step, prop::bool::weighted(0.2)), 1..20);
    (steps, any::<bool>()).prop_map(|(mut steps, goes_on)| {
        for (number, (step, _)) in (0..).zip(&mut steps) {
            if let Step::Record { at, .. } = step
                && goes_on
            {
                *at = *at / 4 / 7 * 7 + number * 14;
            }
        }
        steps.into_iter().flat_map(|(step, twice)| vec![step; 1 + usize::from(twice)]).collect()
    })
}

fn shapes(left_is_outer: bool, right_is_outer: bool) -> impl Strategy<Value = Shape> {
    let range = (-20..60i64, 0..60i64, any::<bool>()).prop_map(|(one, length, mirrored)| {
        let (before_ms, after_ms) = (-one, one + length);
        if mirrored { (after_ms, before_ms) } else { (before_ms, after_ms) }
    });
    (range, prop_oneof![Just(0), 0..40i64]).prop_map(move |((before_ms, after_ms), grace_ms)| Shape {
        left_is_outer,
        right_is_outer,
        before_ms,
        after_ms,
        grace_ms,
    })
}

fn agrees(shape: Shape, steps: &[Step], interval_ms: i64) -> Result<(), TestCaseError> {
    let mut driver = driver(|topology| write(topology, shape));
    driver.set_emit_interval(ms(interval_ms));
    let mut model = Model::new(shape, interval_ms);
    let topics = [TestTopic::new("right", Nullable::default()), TestTopic::new("left", Nullable::default())];
    let out: TestTopic<Text, String> = TestTopic::new("out", Serdes::default());
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Wait(by) => {
                driver.advance_wall_clock(ms(*by)).expect("nothing is due");
                model.wait(*by);
            }
            Step::Record { left, key, has_value, at } => {
                let value = has_value.then(|| number.to_string());
                driver.pipe(&topics[usize::from(*left)], key, &value, *at).expect("processed");
                model.record(*left, key.as_deref(), value.as_deref(), *at);
            }
        }
        let show = |record: Record<Text, String>| (record.key, record.value, record.timestamp_ms);
        let found: Vec<_> = driver.read(&out).expect("text").into_iter().map(show).collect();
        prop_assert_eq!(found, model.take_results(), "step {} of {:?} {:?}", number, shape, steps);
    }
    prop_assert_eq!(driver.dropped(), model.dropped());
    Ok(())
}

/// Small cases, of which many run: what goes wrong goes wrong with few records.
fn many() -> ProptestConfig {
    ProptestConfig { cases: 10_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn inner_joins_are_as_the_model_says(shape in shapes(false, false), steps in steps()) {
        agrees(shape, &steps, 0)?;
    }

    #[test]
    fn left_joins_are_as_the_model_says(shape in shapes(true, false), steps in steps(), wait in prop_oneof![Just(0), Just(30)]) {
        agrees(shape, &steps, wait)?;
    }

    #[test]
    fn outer_joins_are_as_the_model_says(shape in shapes(true, true), steps in steps(), wait in prop_oneof![Just(0), Just(30)]) {
        agrees(shape, &steps, wait)?;
    }

    #[test]
    fn a_stream_joined_with_itself_gives_the_same_with_one_store_and_with_two(shape in shapes(false, false), steps in steps()) {
        let windows = |topology: &TopologyBuilder, one_store: bool| {
            let stream = stream(topology, "in");
            // What is too late to be found by others, by a millisecond, is not joined with itself.
            let (before, after) = (shape.before_ms.max(0), shape.after_ms.max(0));
            let windows = JoinWindows::of(ms(before)).after(ms(after)).grace(ms(10_000));
            let joiner = |_: &Text, left: &Text, right: &Text| shown(Some(left), Some(right));
            let joined = if one_store { stream.self_join_within(windows, joiner) } else { stream.join_within(&stream, windows, joiner) };
            joined.to("out");
        };
        let mut drivers = [driver(|topology| windows(topology, true)), driver(|topology| windows(topology, false))];
        let input = TestTopic::new("in", Nullable::default());
        for (number, step) in steps.iter().enumerate() {
            let Step::Record { key, at, .. } = step else { continue };
            for driver in &mut drivers {
                driver.pipe(&input, key, &Some(number.to_string()), *at).expect("processed");
            }
            let [one, two] = &mut drivers;
            prop_assert_eq!(one.outputs(), two.outputs());
        }
    }
}

#[test]
fn many_values_of_one_time_are_read_in_pages() {
    let shape = Shape { left_is_outer: true, right_is_outer: false, before_ms: 10, after_ms: 10, grace_ms: 0 };
    let steps: Vec<_> = (0..2_500)
        .map(|n| (true, if n < 1_200 { 5 } else { 6 }))
        .chain([(false, 7), (false, 5)])
        .chain((0..2_100).map(|n| (true, 100 + n / 1_050)))
        .chain([(false, 500)])
        .map(|(left, at)| Step::Record { left, key: Some("a".to_owned()), has_value: true, at })
        .collect();
    agrees(shape, &steps, 0).expect("as the model says");
}

/// Windows of both sides are found open at a key and time with two values, behind which there is another one.
#[test]
fn looking_for_closed_windows_ends_between_two_values_of_one_key_and_time() {
    let shape = Shape { left_is_outer: true, right_is_outer: true, before_ms: 70, after_ms: 10, grace_ms: 20 };
    let records = [(false, "a", 443), (true, "b", 471), (true, "b", 471), (false, "b", 492), (true, "c", 494)];
    let records = records.into_iter().chain([(true, "d", 515)]);
    let steps: Vec<_> =
        records.map(|(left, key, at)| Step::Record { left, key: Some(key.to_owned()), has_value: true, at }).collect();
    agrees(shape, &steps, 0).expect("as the model says");
    let mut model = Model::new(shape, 0);
    for step in &steps {
        let Step::Record { left, key, at, .. } = step else { continue };
        model.record(*left, key.as_deref(), Some("v"), *at);
    }
    let expected = [("b", "v+-", 471); 2].map(|(key, joined, at)| (Some(key.to_owned()), joined.to_owned(), at));
    assert_eq!(model.take_results(), expected, "of Kafka Streams");
}

#[test]
fn what_a_record_that_failed_had_passed_on_is_passed_on_again() {
    let topology = Topology::builder("test");
    let (left, right) = (stream(&topology, "left"), stream(&topology, "right"));
    let failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failing);
    left.left_join_within(&right, JoinWindows::of(ms(10)), |_, left, right| shown(Some(left), right))
        .try_map_values(move |_, joined| match joined.as_str() {
            "2+3" if fails.load(Relaxed) => Err("not now"),
            _ => Ok(joined.clone()),
        })
        .to("out");
    let topology = topology.build().expect("a correct topology");
    let mut driver = TopologyTestDriver::new(&topology).expect("state in memory");
    driver.set_emit_interval(ms(10));
    let topic = |name| TestTopic::new(name, Nullable::default());
    let pipe = |driver: &mut TopologyTestDriver, name, value: &str, at| {
        driver.advance_wall_clock(ms(5)).expect("nothing is due");
        driver.pipe(&topic(name), &Some("a".to_owned()), &Some(value.to_owned()), at)
    };
    pipe(&mut driver, "left", "1", 0).expect("processed");
    pipe(&mut driver, "left", "2", 45).expect("processed, too soon to look for what has closed");
    failing.store(true, Relaxed);
    pipe(&mut driver, "right", "3", 50).expect_err("it fails when the first record was passed on");
    assert!(driver.outputs().is_empty());
    failing.store(false, Relaxed);
    pipe(&mut driver, "right", "3", 50).expect("processed");
    pipe(&mut driver, "right", "4", 50).expect("processed");
    let out = TestTopic::<Text, String>::new("out", Serdes::default());
    let values: Vec<_> = driver.read(&out).expect("text").into_iter().map(|record| record.value).collect();
    assert_eq!(values, ["2+3", "1+-", "2+4"]);
}

#[test]
fn after_a_restart_a_join_goes_on_where_it_was() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let dir = StateDir::open(state_dir.path(), "app").expect("a directory of its own");
    let settings = StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::new(8 << 20) };
    let shape = Shape { left_is_outer: true, right_is_outer: true, before_ms: 10, after_ms: 10, grace_ms: 0 };
    let mut task = Task::open(shape, &settings);
    assert!(task.process("left", Some("a"), Some("1"), 0).is_empty());
    assert!(task.process("right", Some("b"), Some("2"), 5).is_empty());
    assert!(task.process("left", Some("c"), Some("3"), 8).is_empty());
    task.commit(|_| {});
    task.close();

    let mut task = Task::open(shape, &settings);
    assert_eq!(task.process("left", Some("b"), Some("4"), 3), ["4+2"], "it is kept, and has a match now");
    assert_eq!(task.process("right", Some("d"), Some("5"), 17), ["1+-"]);
    assert_eq!(task.process("right", Some("c"), Some("6"), 18), ["3+6"]);
    task.commit(|_| {});
    task.close();

    let mut task = Task::open(shape, &settings);
    assert_eq!(task.process("left", Some("e"), Some("7"), 5), ["7+-"], "too late by the stream time before");
    assert_eq!(task.process("left", None, None, 100), Vec::<String>::new());
    assert_eq!(task.process("left", Some("f"), Some("8"), 100), ["-+5"]);
}

#[test]
fn results_have_the_headers_of_the_record_that_brought_them() {
    let shape = Shape { left_is_outer: true, right_is_outer: false, before_ms: 10, after_ms: 10, grace_ms: 0 };
    let mut driver = driver(|topology| write(topology, shape));
    let topic = |name| TestTopic::new(name, Nullable::default());
    for (name, at, header) in [("left", 5, "first"), ("left", 20, "second"), ("right", 30, "third")] {
        let mut record = topic(name).record(&Some("a".to_owned()), &Some(header.to_owned()), at).expect("text");
        record.headers = Headers::new([(header, None)]);
        driver.pipe_bytes(&record).expect("processed");
    }
    let headers =
        |record: &crate::testing::TestRecord| record.headers.iter().map(|(name, _)| name.to_owned()).collect();
    let found: Vec<Vec<String>> = driver.outputs().iter().map(headers).collect();
    assert_eq!(found, [["second"], ["third"]], "the one that closes a window, the one that finds a match");
}

#[test]
fn windows_that_end_before_they_begin_are_refused() {
    let topology = Topology::builder("test");
    let (left, right) = (stream(&topology, "left"), stream(&topology, "right"));
    let windows = JoinWindows::of(ms(10)).later_by(ms(11));
    left.join_within(&right, windows, |_, left, right| shown(Some(left), Some(right))).to("out");
    let error = topology.build().expect_err("no record is within them");
    assert!(matches!(&error, TopologyError::Windows { windows, .. } if windows == "JoinWindows"), "{error}");
}

/// Nobody would ask for it; it is what Kafka Streams does.
#[test]
fn windows_of_no_width_without_grace_join_nothing() {
    for (grace_ms, expected) in [(0, 0), (1, 1)] {
        let shape = Shape { left_is_outer: false, right_is_outer: false, before_ms: 0, after_ms: 0, grace_ms };
        let mut driver = driver(|topology| write(topology, shape));
        for (name, at) in [("left", 5), ("right", 5), ("right", 6)] {
            let topic = TestTopic::new(name, Nullable::default());
            driver.pipe(&topic, &Some("a".to_owned()), &Some("1".to_owned()), at).expect("processed");
        }
        assert_eq!(driver.outputs().len(), expected);
    }
}

#[test]
fn a_record_is_joined_with_itself_whatever_the_windows_of_one_store_say() {
    let mut driver = driver(|topology| {
        let windows = JoinWindows::of(ms(20)).later_by(ms(-10)).grace(ms(100));
        let joiner = |_: &Text, left: &Text, right: &Text| shown(Some(left), Some(right));
        stream(topology, "in").self_join_within(windows, joiner).to("out");
    });
    let input = TestTopic::new("in", Nullable::default());
    for (value, at) in [("1", 5), ("2", 10), ("3", 20)] {
        driver.pipe(&input, &Some("a".to_owned()), &Some(value.to_owned()), at).expect("processed");
    }
    let joined = driver.read(&TestTopic::new("out", Serdes::<Text, String>::default())).expect("text");
    let joined: Vec<_> = joined.into_iter().map(|record| record.value).collect();
    assert_eq!(joined, ["1+1", "2+2", "1+3", "2+3", "3+3"]);
}

#[test]
fn changelogs_have_the_settings_that_kafka_streams_gives_them() {
    let topology = Topology::builder("test");
    let shape = Shape { left_is_outer: true, right_is_outer: true, before_ms: 50, after_ms: 50, grace_ms: 30 };
    write(&topology, shape);
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let counts = ["left", "right", "out"].map(|topic| (topic.to_owned(), 1)).into();
    let partitions = resolved.partitions(&counts).expect("one partition each");
    let settings = |additional_ms| {
        let topics = partitions.internal_topics().iter();
        let of_topic = |topic: &InternalTopic| {
            let config = topic.config_with_additional_retention(additional_ms);
            let value = |setting: &str| config.get(setting).cloned();
            (value("cleanup.policy"), value("retention.ms"))
        };
        topics.map(of_topic).collect::<Vec<_>>()
    };
    let of = |policy: &str, retention: Option<&str>| (Some(policy.to_owned()), retention.map(str::to_owned));
    let (kept, unmatched) = (of("delete", Some("130")), of("compact", None));
    assert_eq!(settings(0), [kept.clone(), kept, unmatched.clone()]);
    let kept = of("delete", Some("1130"));
    assert_eq!(settings(1000), [kept.clone(), kept, unmatched]);
    let kept = &partitions.internal_topics()[0];
    assert!(kept.refuses("retention.ms", "129").is_some(), "the store keeps for 130 ms");
    assert!(kept.refuses("retention.ms", "131").is_none());
}

#[test]
fn stores_are_called_after_the_place_of_the_join_or_by_its_name() {
    let stores = |name: Option<&str>| {
        let topology = Topology::builder("test");
        let left = stream(&topology, "left").select_key(|_, value| value.clone());
        let right = stream(&topology, "right");
        let joined = left.left_join_within(&right, JoinWindows::of(ms(10)), |_, left, right| shown(Some(left), right));
        match name {
            Some(name) => joined.named(name).to("out"),
            None => joined.to("out"),
        }
        let resolved = topology.build().expect("a correct topology").resolve("app");
        let names = |sub_topology: &crate::topology::SubTopology| {
            let stores = sub_topology.stores.iter().map(|store| store.name.to_string());
            stores.chain(sub_topology.repartition_topics.iter().map(ToString::to_string)).collect::<Vec<_>>()
        };
        resolved.sub_topologies.iter().flat_map(names).collect::<Vec<_>>()
    };
    let place = "left-select-key-left-join-within";
    let right = "right-left-join-within-right".to_owned();
    let topic = format!("app-{place}-left-repartition");
    assert_eq!(stores(None), [format!("{place}-left"), right, format!("{place}-unmatched"), topic]);
    assert_eq!(
        stores(Some("orders")),
        [
            "orders-this-join-store",
            "orders-outer-other-join-store",
            "orders-left-shared-join-store",
            "app-orders-left-repartition"
        ]
    );
}
