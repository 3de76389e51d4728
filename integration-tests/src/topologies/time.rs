//! The time of records.

use millpond::{
    dsl::{Consumed, JoinWindows, SessionWindows, TimeWindows, TopologyBuilder},
    processor::Record,
};

use super::{Cases, HOUR, ms, nullable, text};

pub(super) const ALL: Cases = &[
    ("timestamp_extractor_drop_negative", drop_negative),
    ("timestamp_extractor_partition_time", partition_time),
    ("zero_and_equal_timestamps", zero_and_equal),
];

/// Longer than any of the vectors' times.
const LONG_MS: u64 = 1_000_000_000_000;

/// The number before the first ":", or the record's own timestamp.
fn number(record: &Record<Option<String>, Option<String>>) -> i64 {
    let number = record.value.as_deref().and_then(|value| value.split_once(':')).map(|(number, _)| number.parse());
    number.and_then(Result::ok).unwrap_or(record.timestamp_ms)
}

fn drop_negative(topology: &TopologyBuilder) {
    let stream = topology.stream("in", Consumed::new(nullable()).timestamps_by(|record, _| number(record)));
    stream.to("copy");
    stream
        .group_by_key()
        .windowed_by(TimeWindows::tumbling(ms(100)).grace(ms(100)))
        .retention(HOUR)
        .count()
        .materialized("n")
        .to_stream()
        .to("out");
}

fn partition_time(topology: &TopologyBuilder) {
    let by_number = |record: &Record<_, _>, partition_time_ms| match number(record) {
        time_ms if time_ms < 0 => partition_time_ms,
        time_ms => time_ms,
    };
    topology.stream("in", Consumed::new(nullable()).timestamps_by(by_number)).to("copy");
}

fn zero_and_equal(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    let tumbling = stream.group_by_key().windowed_by(TimeWindows::tumbling(ms(10)).grace(ms(0)));
    tumbling.retention(HOUR).count().materialized("t").to_stream().to("tumbling");
    let sessions = stream.group_by_key().windowed_by(SessionWindows::with_gap(ms(5)).grace(ms(LONG_MS)));
    sessions.retention(ms(2 * LONG_MS)).count().materialized("se").to_stream().to("session");
    let windows = JoinWindows::of(ms(3)).grace(ms(LONG_MS));
    stream.join_within(&stream, windows, |_, left, right| text::plus(left.as_ref(), right.as_ref())).to("joined");
}
