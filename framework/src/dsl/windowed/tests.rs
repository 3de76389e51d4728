use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use crate::{
    Topology, TopologyError, Windowed,
    dsl::{Buffer, SessionWindows, SlidingWindows, Stream, TimeWindows, TopologyBuilder},
    serde::{Serdes, SessionWindowed, TimeWindowed, Utf8},
    testing::{TestTopic, TopologyTestDriver},
};

type Plain = Serdes<String, String>;
/// Key and start (of sessions: and end) to count.
type Counts = BTreeMap<(String, i64, i64), i64>;

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

/// The rows of the store `counts`.
fn counts(driver: &TopologyTestDriver, serdes: &Serdes<Windowed<String>, i64>) -> Counts {
    let rows = driver.rows("counts", serdes).expect("a store of counts");
    rows.into_iter().map(|(window, count, _)| ((window.key, window.start_ms, window.end_ms), count)).collect()
}

fn of_windows(size_ms: i64) -> Serdes<Windowed<String>, i64> {
    Serdes::of(Arc::new(TimeWindowed::new(Arc::new(Utf8), size_ms)), crate::serde::default_serde())
}

fn records() -> impl Strategy<Value = Vec<(u8, i64)>> {
    prop::collection::vec((0..3u8, 0..400i64), 1..60)
}

proptest! {
    #[test]
    fn time_windows_count_what_is_not_late(records in records(), size in 1..120i64, part in 1..6i64, grace in 0..100i64) {
        let advance = (size / part).max(1);
        let windows = TimeWindows::tumbling(ms(size)).advance_by(ms(advance)).grace(ms(grace));
        let mut driver = driver(|topology| {
            input(topology).group_by_key().windowed_by(windows).retention(ms(100_000)).count().materialized("counts");
        });
        pipe(&mut driver, &records);
        let (mut expected, mut stream_time, mut late) = (Counts::new(), -1, 0);
        for (key, at) in &records {
            stream_time = stream_time.max(*at);
            for start in (0..=*at).filter(|start| start % advance == 0 && start + size > *at) {
                if start + size <= stream_time - grace {
                    late += 1;
                } else {
                    *expected.entry((format!("k{key}"), start, start + size)).or_default() += 1;
                }
            }
        }
        prop_assert_eq!(counts(&driver, &of_windows(size)), expected);
        prop_assert_eq!(driver.dropped(), late);
    }

    #[test]
    fn sliding_windows_have_every_set_of_records_that_are_near(records in records(), difference in 0..120i64) {
        let windows = SlidingWindows::of(ms(difference)).grace(ms(1000));
        let mut driver = driver(|topology| {
            input(topology).group_by_key().windowed_by(windows).retention(ms(100_000)).count().materialized("counts");
        });
        pipe(&mut driver, &records);
        let mut expected = Counts::new();
        for (key, at) in &records {
            for start in [(at - difference).max(0), at + 1] {
                let within = |other: &&(u8, i64)| other.0 == *key && (start..=start + difference).contains(&other.1);
                let count = records.iter().filter(within).count() as i64;
                if count > 0 {
                    expected.insert((format!("k{key}"), start, start + difference), count);
                }
            }
        }
        prop_assert_eq!(counts(&driver, &of_windows(difference)), expected);
    }

    #[test]
    fn sessions_are_records_without_a_gap_in_any_order(records in records(), gap in 1..60i64) {
        let windows = SessionWindows::with_gap(ms(gap)).grace(ms(1000));
        let mut driver = driver(|topology| {
            input(topology).group_by_key().windowed_by(windows).retention(ms(100_000)).count().materialized("counts");
        });
        pipe(&mut driver, &records);
        let mut sorted = records.clone();
        sorted.sort_unstable();
        let mut sessions: Vec<(u8, i64, i64, i64)> = Vec::new();
        for (key, at) in sorted {
            match sessions.last_mut() {
                Some((of, _, end, count)) if *of == key && at - *end <= gap => (*end, *count) = (at, *count + 1),
                _ => sessions.push((key, at, at, 1)),
            }
        }
        let expected: Counts =
            sessions.into_iter().map(|(key, start, end, count)| ((format!("k{key}"), start, end), count)).collect();
        let serdes = Serdes::of(Arc::new(SessionWindowed::new(Arc::new(Utf8))), crate::serde::default_serde());
        prop_assert_eq!(counts(&driver, &serdes), expected);
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
    let too_short = refused(|topology| {
        let windows = TimeWindows::tumbling(ms(10)).grace(ms(5));
        input(topology).group_by_key().windowed_by(windows).retention(ms(14)).count();
    });
    assert!(too_short.starts_with("retention"), "{too_short}");
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
