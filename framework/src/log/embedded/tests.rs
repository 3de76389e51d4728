//! What the conformance suite cannot see: the disk, the clock, links, bounds.

mod bounds;
mod disk;
mod reopening;
mod time;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    log::{
        Append, Group, Headers, MembershipEvent, NewTopic, ReadFrom, ReaderEvent, TopicPartition, TransactionalProducer,
    },
    time::ManualClock,
};

const SHORT: Duration = Duration::from_secs(1);

/// A record as a reader saw it: offset, key, value.
type Seen = (i64, Option<String>, Option<String>);

/// A log on a clock that only the test moves.
fn simulated() -> (EmbeddedLog, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let log = EmbeddedLog::builder().simulated(Arc::new(clock.clone())).build().expect("no directory to open");
    (log, clock)
}

fn create(log: &EmbeddedLog, name: &str, partitions: i32, config: &[(&str, &str)]) {
    let config: BTreeMap<_, _> = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions, replication_factor: None, config };
    log.admin().expect("admin").create_topics(&[topic]).expect("created");
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn append(
    producer: &mut (impl Producer + ?Sized),
    topic: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(), LogError> {
    producer.append(Append {
        topic: &Arc::from(topic),
        partition: 0,
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        timestamp_ms: 7,
        headers: &Headers::new([("h", Some(&b"x"[..])), ("h", None)]),
    })
}

/// Appends to partition 0 and flushes.
fn write(log: &EmbeddedLog, topic: &str, records: &[(&str, Option<&str>)]) {
    let mut producer = log.producer().expect("producer");
    for (key, value) in records {
        append(&mut *producer, topic, key, *value).expect("appended");
    }
    producer.flush(SHORT).expect("flushed");
}

fn transactional(log: &EmbeddedLog, id: &str) -> Box<dyn TransactionalProducer> {
    let mut producer = log.transactional_producer(id, Duration::from_secs(60)).expect("producer");
    producer.init(SHORT).expect("initialised");
    producer
}

/// All records of a partition that this isolation sees, and the offset after them.
fn read(log: &EmbeddedLog, source: &TopicPartition, isolation: Isolation) -> (Vec<Seen>, i64) {
    let mut reader = log.reader(isolation).expect("reader");
    reader.assign(source, ReadFrom::Beginning).expect("assigned");
    let mut seen = Vec::new();
    loop {
        let fetched = reader.poll(1_000, SHORT).expect("polled");
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let records = fetched.batches.iter().flat_map(|batch| batch.iter());
        seen.extend(records.map(|record| (record.offset, text(record.key), text(record.value))));
        match fetched.events.first() {
            Some(ReaderEvent::EndReached { next_offset, .. }) => return (seen, *next_offset),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
}

fn committed(log: &EmbeddedLog, topic: &str) -> Vec<Seen> {
    read(log, &partition(topic, 0), Isolation::ReadCommitted).0
}

fn keys(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(|(_, key, _)| key.as_deref()).collect()
}

/// A member that polls are made for by hand; session timeout 10 s, max poll interval 60 s.
fn join(log: &EmbeddedLog, client_id: &str) -> Box<dyn Membership> {
    join_with(log, client_id, Duration::from_secs(60))
}

fn join_with(log: &EmbeddedLog, client_id: &str, max_poll_interval: Duration) -> Box<dyn Membership> {
    create(log, "coordination", 1, &[]);
    log.join(MembershipOptions {
        group_id: "app".to_owned(),
        client_id: client_id.to_owned(),
        coordination_topic: "coordination".to_owned(),
        session_timeout: Duration::from_secs(10),
        max_poll_interval,
    })
    .expect("joins")
}

/// The next event, which must be there at once, as text: `joined <client> <generation> <leader>`, `lost`,
/// `unavailable`.
fn event(member: &mut Box<dyn Membership>) -> String {
    match member.poll(Duration::ZERO).expect("polled") {
        Some(MembershipEvent::Joined { epoch, leader }) => {
            format!("joined {} in {}{}", epoch.member_id, epoch.generation, if leader { " as leader" } else { "" })
        }
        Some(MembershipEvent::Lost { .. }) => "lost".to_owned(),
        Some(MembershipEvent::Unavailable { .. }) => "unavailable".to_owned(),
        None => "nothing".to_owned(),
    }
}

fn epoch_of(member: &dyn Membership) -> crate::log::Epoch {
    let group: Arc<dyn Group> = member.group();
    group.epoch().expect("a member")
}
