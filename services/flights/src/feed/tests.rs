use std::collections::BTreeSet;

use millpond::log::{Isolation, ReadFrom, ReaderEvent, TopicPartition, embedded::EmbeddedLog};

use super::*;
use crate::model::{Airline, Airport, Flight, Plane};

/// A record that was read back.
struct Written {
    partition: i32,
    key: String,
    value: Vec<u8>,
    timestamp_ms: i64,
}

/// Reads a topic to its end, in the order of each partition.
fn read(log: &dyn Log, topic: &str, partitions: i32) -> anyhow::Result<Vec<Written>> {
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    for partition in 0..partitions {
        reader.assign(&TopicPartition::new(topic, partition), ReadFrom::Beginning)?;
    }
    let mut ended = BTreeSet::new();
    let mut records = Vec::new();
    while ended.len() < usize::try_from(partitions)? {
        let fetched = reader.poll(10_000, Duration::from_secs(1))?;
        for batch in &fetched.batches {
            records.extend(batch.iter().map(|record| Written {
                partition: batch.source().partition,
                key: String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned(),
                value: record.value.unwrap_or_default().to_vec(),
                timestamp_ms: record.timestamp_ms,
            }));
        }
        ended.extend(fetched.events.into_iter().filter_map(|event| match event {
            ReaderEvent::EndReached { partition, .. } => Some(partition.partition),
            _ => None,
        }));
    }
    Ok(records)
}

#[test]
fn everything_is_written_in_the_order_of_event_time() -> anyhow::Result<()> {
    let log = EmbeddedLog::new();
    let mut seen = Vec::new();
    let report = feed(&log, &FeedOptions::default(), |progress| seen.push(progress))?;
    assert_eq!(report.topics, [(AIRLINES, 16), (AIRPORTS, 1_458), (PLANES, 3_322), (FLIGHTS, 336_776)]);
    assert_eq!(report.records(), 341_572);
    assert_eq!(seen.last(), Some(&FeedProgress { topic: FLIGHTS, written: 336_776, total: 336_776 }));

    let flights = read(&log, FLIGHTS, 6)?;
    assert_eq!(flights.len(), 336_776);
    let mut last = [TABLES_TIMESTAMP_MS; 6];
    for Written { partition, key, value, timestamp_ms } in &flights {
        assert_eq!(*partition, Partitioner::for_key(key.as_bytes(), 6));
        let last = &mut last[usize::try_from(*partition)?];
        assert!(timestamp_ms >= last, "`{key}` is late, or earlier than the tables");
        *last = *timestamp_ms;
        let flight: Flight = serde_json::from_slice(value)?;
        assert_eq!(flight.id(), *key);
    }
    let in_one = flights.iter().filter(|flight| flight.partition == 0).count();
    assert!((50_000..63_000).contains(&in_one), "partition 0 has {in_one} flights");

    for Written { key, value, timestamp_ms, .. } in read(&log, PLANES, 6)? {
        assert_eq!((serde_json::from_slice::<Plane>(&value)?.tailnum, timestamp_ms), (key, TABLES_TIMESTAMP_MS));
    }
    for Written { key, value, .. } in read(&log, AIRPORTS, 6)? {
        assert_eq!(serde_json::from_slice::<Airport>(&value)?.faa, key);
    }
    for Written { key, value, .. } in read(&log, AIRLINES, 6)? {
        assert_eq!(serde_json::from_slice::<Airline>(&value)?.carrier, key);
    }
    Ok(())
}

#[test]
fn a_part_creates_all_topics() -> anyhow::Result<()> {
    let log = EmbeddedLog::new();
    let options = FeedOptions { only: Some(Part::Tables), partitions: 2, ..FeedOptions::default() };
    let report = feed(&log, &options, |_| ())?;
    assert_eq!(report.topics, [(AIRLINES, 16), (AIRPORTS, 1_458), (PLANES, 3_322)]);
    let mut admin = log.admin()?;
    let topics = admin.topics(&ALL)?;
    assert_eq!(topics.iter().map(|topic| topic.partitions).collect::<Vec<_>>(), [2, 2, 2, 2]);
    assert_eq!(admin.topic_config(FLIGHTS)?["retention.ms"], "-1");
    assert_eq!(admin.topic_config(PLANES)?["cleanup.policy"], "compact");
    assert_eq!(read(&log, FLIGHTS, 2)?.len(), 0);
    Ok(())
}

#[test]
fn the_first_months_are_those_of_the_truth() -> anyhow::Result<()> {
    let log = EmbeddedLog::new();
    let options = FeedOptions { only: Some(Part::Flights), months: 1, ..FeedOptions::default() };
    assert_eq!(feed(&log, &options, |_| ())?.topics, [(FLIGHTS, 27_004)]);
    for Written { key, value, .. } in read(&log, FLIGHTS, 6)? {
        assert_eq!(serde_json::from_slice::<Flight>(&value)?.month, 1, "{key}");
    }
    Ok(())
}

#[test]
fn a_topic_that_does_not_fit_is_named() -> anyhow::Result<()> {
    let refused = |name: &str, partitions, config: &[(&str, &str)]| -> anyhow::Result<String> {
        let log = EmbeddedLog::new();
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        log.admin()?.create_topics(&[NewTopic { name: name.into(), partitions, replication_factor: None, config }])?;
        let refused = feed(&log, &FeedOptions::default(), |_| ());
        assert_eq!(log.admin()?.topics(&ALL)?.len(), 1, "nothing was created");
        Ok(refused.expect_err("the topic does not fit").to_string())
    };
    assert_eq!(
        refused(PLANES, 3, &[])?,
        "topic `planes` exists with 3 partitions, not 6: feed with `--partitions 3`, or delete the topic"
    );
    let error = refused(FLIGHTS, 6, &[("retention.ms", "604800000")])?;
    assert!(error.starts_with("topic `flights` has retention.ms=604800000, and the flights of 2013 would"), "{error}");
    let append_time = [("message.timestamp.type".to_owned(), "LogAppendTime".to_owned())].into();
    let error = check_config(AIRPORTS, &append_time).expect_err("event times would be lost").to_string();
    assert!(error.starts_with("topic `airports` has message.timestamp.type=LogAppendTime"), "{error}");
    Ok(())
}

#[test]
fn the_pace_is_even() {
    assert_eq!(due(0, 500), Duration::ZERO);
    assert_eq!(due(1_250, 500), Duration::from_millis(2_500));
    assert_eq!(due(336_776, u32::MAX).as_millis(), 0);
}
