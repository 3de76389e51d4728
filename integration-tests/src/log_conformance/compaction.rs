//! Compaction (rule 14).

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use millpond::{
    log::{Append, Headers, Isolation, LogError, Producer, ReadFrom, TopicPartition},
    time::{Clock, SystemClock},
};

use super::{
    Bed,
    tools::{DEADLINE, Patience, Reading, Seen, ensure_error, partition, topic},
};

/// So that a broker compacts in seconds: segments of 100 ms, cleaned however little there is to clean.
const EAGER: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.0"),
    ("delete.retention.ms", "100"),
];

/// Rules 1 and 14: the last record of each key stays at its offset; tombstones go in the end; gaps can be read over.
pub fn the_last_record_of_each_key_stays(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, EAGER)?;
    let source = partition(&topic, 0);
    let mut producer = bed.log().producer()?;
    let mut last = BTreeMap::new();
    for (offset, key) in ["a", "gone", "b", "a", "gone", "b", "a", "c"].into_iter().enumerate() {
        let value = offset.to_string();
        // The second record of `gone` is its tombstone.
        let value = (offset != 4).then_some(value);
        append(&mut *producer, &source, key, value.as_deref())?;
        last.insert(key, (i64::try_from(offset)?, value));
    }
    producer.flush(DEADLINE)?;
    last.remove("gone");

    // A broker looks every 15 s, and never at the newest segment: newer records close it.
    let patience = Patience::new("compaction, twice");
    loop {
        append(&mut *producer, &source, "newest", Some("x"))?;
        producer.flush(DEADLINE)?;
        bed.compact(&topic)?;
        let found = rows(bed, &source)?;
        for (key, row) in &last {
            let newest =
                found.iter().rfind(|(found, ..)| found == key).map(|(_, offset, value)| (*offset, value.clone()));
            ensure!(newest.as_ref() == Some(row), "the last record of {key} is {newest:?}, appended {row:?}");
        }
        if found.iter().filter(|(key, ..)| key != "newest").count() == last.len() {
            break;
        }
        patience.check()?;
        bed.pass(Duration::from_millis(250));
    }

    // Offsets that were compacted away are no reason to stop.
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[])?;
    reading.reader.assign(&source, ReadFrom::Offset(1))?;
    reading.until("the next record that is there", |reading| !reading.seen.is_empty())?;
    ensure!(reading.seen[0].offset == 5, "{:?} follows offset 1", reading.seen[0]);
    ensure!(reading.events.is_empty() || reading.seen.len() > 1, "{:?}", reading.events);
    Ok(())
}

/// As a broker does, which could not compact them.
pub fn a_compacted_topic_refuses_records_without_a_key(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, EAGER)?;
    let mut producer = bed.log().producer()?;
    let record = Append {
        topic: &topic,
        partition: 0,
        key: None,
        value: Some(b"v"),
        timestamp_ms: 1,
        headers: &Headers::default(),
    };
    let refused = producer.append(record).and_then(|()| producer.flush(DEADLINE));
    ensure_error!(refused, LogError::RecordRefused { .. });
    Ok(())
}

/// Appends a record of now: by the times of records a broker decides when a segment is old.
fn append(
    producer: &mut (impl Producer + ?Sized),
    to: &TopicPartition,
    key: &str,
    value: Option<&str>,
) -> Result<(), LogError> {
    producer.append(Append {
        topic: &to.topic,
        partition: to.partition,
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        timestamp_ms: SystemClock::new().now_ms(),
        headers: &Headers::default(),
    })
}

/// Key, offset and value of all records.
fn rows(bed: &dyn Bed, source: &TopicPartition) -> anyhow::Result<Vec<(String, i64, Option<String>)>> {
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(source))?;
    reading.until_end(1)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let row = |seen: Seen| (text(seen.key.unwrap_or_default()), seen.offset, seen.value.map(text));
    Ok(reading.seen.into_iter().map(row).collect())
}
