//! The time of records.

use millpond::{
    dsl::{Consumed, TimeWindows, TopologyBuilder},
    processor::Record,
};

use super::{Cases, HOUR, ms, nullable};

pub(super) const ALL: Cases =
    &[("timestamp_extractor_drop_negative", drop_negative), ("timestamp_extractor_partition_time", partition_time)];

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
