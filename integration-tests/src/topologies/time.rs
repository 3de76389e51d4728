//! The time of records.

use millpond::dsl::{Consumed, TopologyBuilder};

use super::{Cases, nullable};

pub(super) const ALL: Cases = &[("timestamp_extractor_partition_time", partition_time)];

fn partition_time(topology: &TopologyBuilder) {
    let consumed = Consumed::new(nullable()).timestamps_by(|record, partition_time_ms| {
        let number = record.value.as_deref().and_then(|value| value.split_once(':')).map(|(number, _)| number.parse());
        match number {
            Some(Ok(time_ms)) if time_ms >= 0 => time_ms,
            Some(_) => partition_time_ms,
            None => record.timestamp_ms,
        }
    });
    topology.stream("in", consumed).to("copy");
}
