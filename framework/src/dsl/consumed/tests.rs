//! Records without a valid time, and what each rule makes of them.

use std::time::Duration;

use crate::{
    Serdes, Topology,
    config::Timestamps,
    dsl::Consumed,
    processor::{ProcessError, Record},
    testing::{DriverError, TestTopic, TopologyTestDriver},
};

type Texts = Serdes<String, String>;

/// Given times: `i64::MIN` and -1 are as invalid as each other; 0 is the first valid one.
const GIVEN: [i64; 6] = [-1, 7, -5, 0, i64::MIN, 9];

/// The times of what comes out of a copy of records with these times, and how many were left out. The task goes on behind an error.
fn play(consumed: impl Into<Consumed<String, String>>, default: Timestamps) -> (Vec<i64>, u64, Vec<DriverError>) {
    let topology = Topology::builder("copy");
    topology.stream("in", consumed).to("out");
    let topology = topology.build().expect("a correct topology");
    let mut driver = TopologyTestDriver::new(&topology).expect("in memory").with_timestamps(default);
    driver.advance_wall_clock(Duration::from_millis(50)).expect("nothing is due");
    let (input, output) = (TestTopic::new("in", Texts::default()), TestTopic::new("out", Texts::default()));
    let mut errors = Vec::new();
    for timestamp_ms in GIVEN {
        errors.extend(driver.pipe(&input, &"k".to_owned(), &"v".to_owned(), timestamp_ms).err());
    }
    let out: Vec<Record<String, String>> = driver.read(&output).expect("texts");
    (out.iter().map(|record| record.timestamp_ms).collect(), driver.dropped(), errors)
}

/// The times that were refused.
fn refused(errors: &[DriverError]) -> Vec<i64> {
    let time = |error: &DriverError| match error {
        DriverError::Process(ProcessError::InvalidTimestamp { timestamp_ms, .. }) => *timestamp_ms,
        other => panic!("{other}"),
    };
    errors.iter().map(time).collect()
}

#[test]
fn by_default_a_negative_time_cannot_be_read() {
    let (times, dropped, errors) = play(Texts::default(), Timestamps::Record);
    assert_eq!((times, dropped), (vec![7, 0, 9], 0));
    assert_eq!(refused(&errors), [-1, -5, i64::MIN]);
}

#[test]
fn skip_invalid_leaves_them_out_and_counts_them() {
    let (times, dropped, errors) = play(Texts::default(), Timestamps::SkipInvalid);
    assert_eq!((times, dropped, errors.len()), (vec![7, 0, 9], 3, 0));
}

#[test]
fn partition_time_takes_the_place_of_a_negative_one_as_soon_as_there_is_one() {
    let (times, dropped, errors) = play(Texts::default(), Timestamps::PartitionTime);
    assert_eq!((times, dropped), (vec![7, 7, 0, 7, 9], 0));
    assert_eq!(refused(&errors), [-1], "there was no partition time yet");
}

#[test]
fn wall_clock_does_not_look_at_them() {
    let (times, dropped, errors) = play(Texts::default(), Timestamps::WallClock);
    assert_eq!((times, dropped, errors.len()), (vec![50; 6], 0, 0));
}

#[test]
fn a_function_may_mend_them_or_leave_records_out() {
    let mend = |record: &Record<String, String>, partition_time_ms: i64| match record.timestamp_ms {
        -1 => 3,
        -5 => partition_time_ms + 100,
        9 => -9,
        time => time,
    };
    let (times, dropped, errors) = play(Consumed::new(Texts::default()).timestamps_by(mend), Timestamps::Record);
    // `i64::MIN` stays, and 9 becomes negative.
    assert_eq!((times, dropped, errors.len()), (vec![3, 7, 107, 0], 2, 0));
}

#[test]
fn what_a_source_says_goes_before_the_default() {
    let source = Consumed::new(Texts::default()).timestamps(Timestamps::SkipInvalid);
    assert_eq!(play(source, Timestamps::WallClock).0, [7, 0, 9]);
}
