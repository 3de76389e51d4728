//! Windows against what Kafka Streams says they are.

mod history;
mod session;
mod sliding;
mod time;

use std::time::Duration;

use crate::{
    Topology, TopologyError,
    dsl::{Buffer, SessionWindows, SlidingWindows, Stream, TimeWindows, TopologyBuilder, UnlimitedWindows},
    log::Headers,
    serde::Serdes,
    testing::{TestRecord, TestTopic, TopologyTestDriver},
};

type Plain = Serdes<String, String>;

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn input(topology: &TopologyBuilder) -> Stream<'_, String, String> {
    topology.stream("in", Plain::default())
}

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

fn pipe(driver: &mut TopologyTestDriver, records: &[(u8, i64)]) {
    let topic = TestTopic::new("in", Plain::default());
    for (key, at) in records {
        driver.pipe(&topic, &format!("k{key}"), &"v".to_owned(), *at).expect("processed");
    }
}

#[test]
fn many_windows_that_close_at_once_are_passed_on_once_each_in_order() {
    let mut driver = driver(|topology| {
        let windows = TimeWindows::tumbling(ms(100));
        let counts = input(topology).group_by_key().windowed_by(windows).retention(ms(100_000)).emit_on_close().count();
        counts.to_stream().map(|window, count| (format!("{}@{}", window.key, window.start_ms), *count)).to("out");
    });
    let topic = TestTopic::new("in", Plain::default());
    let keys: Vec<String> = (0..1500).map(|n| format!("{n:04}")).collect();
    for key in &keys {
        for at in [50, 150] {
            driver.pipe(&topic, key, &String::new(), at).expect("processed");
        }
    }
    driver.pipe(&topic, &"last".to_owned(), &String::new(), 1000).expect("processed");
    let out = TestTopic::<String, Option<i64>>::new("out", Serdes::default());
    let closed: Vec<String> = driver.read(&out).expect("counts").into_iter().map(|record| record.key).collect();
    // The first of the windows at 100 closes those at 0, of the first key only; what comes later to them is late.
    let second = keys.iter().map(|key| format!("{key}@100"));
    let expected: Vec<_> = std::iter::once("0000@0".to_owned()).chain(second).collect();
    assert_eq!(closed, expected);
}

#[test]
fn windows_that_cannot_be_are_refused_when_the_topology_is_built() {
    fn refused(write: impl Fn(&TopologyBuilder)) -> String {
        let topology = Topology::builder("test");
        write(&topology);
        match topology.build() {
            Err(error @ TopologyError::Windows { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
    let windows =
        |windows: TimeWindows| refused(|topology| drop(input(topology).group_by_key().windowed_by(windows).count()));
    assert!(windows(TimeWindows::tumbling(ms(0))).contains("size"));
    assert!(windows(TimeWindows::tumbling(ms(10)).advance_by(ms(11))).contains("advance"));
    let narrow =
        refused(|topology| drop(input(topology).group_by_key().windowed_by(SlidingWindows::of(ms(0))).count()));
    assert!(narrow.contains("1 ms or more"), "{narrow}");
    let too_short = refused(|topology| {
        let windows = TimeWindows::tumbling(ms(10)).grace(ms(5));
        input(topology).group_by_key().windowed_by(windows).retention(ms(14)).count();
    });
    assert!(too_short.starts_with("retention"), "{too_short}");
    let never = refused(|topology| {
        drop(input(topology).group_by_key().windowed_by(UnlimitedWindows::start_on(0)).emit_on_close().count());
    });
    assert!(never.contains("never close"), "{never}");
    let early = refused(|topology| {
        let counts = input(topology).group_by_key().windowed_by(TimeWindows::tumbling(ms(10))).count();
        drop(counts.suppress_until_windows_close(Buffer::unbounded().max_records(1).emit_early_when_full()));
    });
    assert!(early.contains("final"), "{early}");
}

#[test]
fn a_buffer_that_must_not_emit_early_fails_when_it_is_full() {
    let mut driver = driver(|topology| {
        let counts = input(topology).group_by_key().windowed_by(TimeWindows::tumbling(ms(10))).count();
        counts.suppress_until_windows_close(Buffer::unbounded().max_records(1)).to_stream().to("out");
    });
    pipe(&mut driver, &[(0, 1), (0, 2)]);
    let topic = TestTopic::new("in", Plain::default());
    let error = driver.pipe(&topic, &"k1".to_owned(), &"v".to_owned(), 3).expect_err("two windows wait");
    assert!(error.to_string().contains("2 updates"), "{error}");
}

#[test]
fn sessions_that_have_closed_are_passed_on_by_the_default_retention_with_the_headers_of_what_closed_them() {
    let mut driver = driver(|topology| {
        let windows = SessionWindows::with_gap(ms(40)).grace(ms(20));
        let counts = input(topology).group_by_key().windowed_by(windows).emit_on_close().count();
        counts.to_stream().map(|session, count| (session.key.clone(), *count)).to("out");
    });
    pipe(&mut driver, &[(1, 0), (1, 30), (2, 50), (2, 90)]);
    let (key, value) = (Some(b"k3".to_vec()), Some(b"v".to_vec()));
    let headers = Headers::new([("h", Some(&b"1"[..]))]);
    let last = TestRecord { topic: "in".into(), key, value, timestamp_ms: 120, headers: headers.clone() };
    driver.pipe_bytes(&last).expect("processed");
    let out = TestTopic::<String, Option<i64>>::new("out", Serdes::default());
    let closed = driver.read(&out).expect("counts");
    let closed: Vec<_> =
        closed.into_iter().map(|record| (record.key, record.value, record.timestamp_ms, record.headers)).collect();
    assert_eq!(closed, [("k1".to_owned(), Some(2), 30, headers)]);
}

#[test]
fn windows_without_grace_are_passed_on_by_the_default_retention_when_they_close() {
    let mut driver = driver(|topology| {
        let windows = TimeWindows::tumbling(ms(100));
        let counts = input(topology).group_by_key().windowed_by(windows).emit_on_close().count();
        counts.to_stream().map(|window, count| (window.start_ms.to_string(), *count)).to("out");
    });
    pipe(&mut driver, &[(1, 0), (1, 50), (1, 100), (1, 200)]);
    let out = TestTopic::<String, Option<i64>>::new("out", Serdes::default());
    let closed = driver.read(&out).expect("counts").into_iter().map(|record| (record.key, record.value));
    assert_eq!(closed.collect::<Vec<_>>(), [("0".to_owned(), Some(2)), ("100".to_owned(), Some(1))]);
}
