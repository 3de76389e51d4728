//! The Kafka adapter, where the conformance suite does not look: what is peculiar to librdkafka.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use integration_tests::broker::{Broker, broker, unique};
use millpond::{
    log::{
        Append, Batch, Epoch, Headers, Isolation, Log, LogError, Membership, MembershipEvent, MembershipOptions,
        NewTopic, Producer, ReadFrom, Reader, ReaderEvent, TopicPartition, TransactionalProducer,
        kafka::{KafkaLog, KafkaOptions},
    },
    time::{Clock, SystemClock},
};

type Result<T = ()> = anyhow::Result<T>;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

fn connect(bootstrap: &str) -> Result<KafkaLog> {
    Ok(KafkaLog::connect(KafkaOptions { bootstrap: bootstrap.into(), ..KafkaOptions::default() })?)
}

fn topic(log: &KafkaLog, partitions: i32, config: &[(&str, &str)]) -> Result<Arc<str>> {
    let name = unique("topic");
    let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    log.admin()?.create_topics(&[NewTopic { name: name.clone(), partitions, replication_factor: None, config }])?;
    Ok(name.into())
}

fn append(producer: &mut dyn Producer, topic: &Arc<str>, value: &[u8]) -> std::result::Result<(), LogError> {
    let headers = Headers::default();
    producer.append(Append {
        topic,
        partition: 0,
        key: Some(b"k"),
        value: Some(value),
        timestamp_ms: 1,
        headers: &headers,
    })
}

fn append_all(log: &KafkaLog, topic: &Arc<str>, values: impl IntoIterator<Item = String>) -> Result {
    let mut producer = log.producer()?;
    for value in values {
        append(&mut *producer, topic, value.as_bytes())?;
    }
    Ok(producer.flush(LONG)?)
}

fn values(batches: &[Batch]) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    batches.iter().flat_map(Batch::iter).map(|record| text(record.value)).collect()
}

/// Polls until the end of a partition; returns the values before it and the offset of the end.
/// Reads until the reader says that it has reached an end at `end` or behind: an earlier one may have been fetched before the last
/// append, or before the markers of a transaction were written.
fn read_to_end(reader: &mut dyn Reader, end: i64) -> Result<(Vec<String>, i64)> {
    let mut read = Vec::new();
    let watch = SystemClock::new();
    while watch.monotonic() < LONG {
        let fetched = reader.poll(1_000, SHORT)?;
        read.extend(values(&fetched.batches));
        for event in fetched.events {
            match event {
                ReaderEvent::EndReached { next_offset, .. } if next_offset >= end => return Ok((read, next_offset)),
                ReaderEvent::EndReached { .. } => {}
                ReaderEvent::Unavailable { .. } => {}
                ReaderEvent::OutOfRange { offset, .. } => bail!("out of range at {offset}"),
            }
        }
    }
    bail!("no end after {LONG:?}; read {read:?}")
}

fn transactional(log: &KafkaLog, id: &str) -> Result<Box<dyn TransactionalProducer>> {
    let mut producer = log.transactional_producer(id, Duration::from_secs(10))?;
    producer.init(LONG)?;
    Ok(producer)
}

// === Reading ===

#[test]
fn the_end_for_a_committed_reader_is_the_last_stable_offset() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    append_all(&log, &topic, ["plain".to_owned()])?;
    let mut producer = transactional(&log, &unique("tx"))?;
    producer.begin()?;
    append(&mut *producer, &topic, b"open")?;
    producer.flush(LONG)?;

    let mut committed = log.reader(Isolation::ReadCommitted)?;
    let mut uncommitted = log.reader(Isolation::ReadUncommitted)?;
    assert_eq!(committed.end_offset(&partition)?, 1);
    assert_eq!(uncommitted.end_offset(&partition)?, 2);
    committed.assign(&partition, ReadFrom::Beginning)?;
    assert_eq!(read_to_end(&mut *committed, 1)?, (vec!["plain".into()], 1));
    assert_eq!(committed.known_end(&partition), Some(2), "what this isolation hides is counted");

    // The marker counts: offset 2.
    producer.abort(LONG)?;
    assert_eq!(read_to_end(&mut *committed, 3)?, (vec![], 3));
    assert_eq!(committed.end_offset(&partition)?, 3);
    Ok(())
}

/// librdkafka itself would go on one record behind the end (see `reader/partition.rs`).
#[test]
fn a_partition_paused_at_its_end_goes_on_at_its_end() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    append_all(&log, &topic, ["a".to_owned()])?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&partition, ReadFrom::Beginning)?;
    assert_eq!(read_to_end(&mut *reader, 1)?, (vec!["a".into()], 1));

    reader.pause(&partition)?;
    append_all(&log, &topic, ["b".to_owned(), "c".to_owned()])?;
    for _ in 0..3 {
        let fetched = reader.poll(10, SHORT)?;
        assert!(fetched.batches.is_empty() && fetched.events.is_empty(), "paused, but: {fetched:?}");
    }
    reader.resume(&partition)?;
    assert_eq!(read_to_end(&mut *reader, 3)?, (vec!["b".into(), "c".into()], 3));
    Ok(())
}

#[test]
fn a_partition_paused_for_long_holds_a_bound_and_loses_nothing() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    let expected: Vec<_> = (0..20_000).map(|n| format!("{n:01000}")).collect();
    append_all(&log, &topic, expected.iter().cloned())?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&partition, ReadFrom::Beginning)?;
    reader.pause(&partition)?;
    // 20 MB: more than half of a reader's 16 MiB, which is what is held. It is parked on the way, and fetched again from there.
    for _ in 0..20 {
        assert!(reader.poll(1_000, SHORT)?.batches.is_empty());
    }
    reader.resume(&partition)?;
    let held: usize = reader.poll(1, Duration::ZERO)?.batches.iter().map(Batch::bytes).sum();
    assert!((8 << 20..12 << 20).contains(&held), "held {held} bytes");
    reader.assign(&partition, ReadFrom::Beginning)?;
    reader.pause(&partition)?;
    for _ in 0..20 {
        reader.poll(1_000, SHORT)?;
    }
    reader.resume(&partition)?;
    let (read, _) = read_to_end(&mut *reader, 20_000)?;
    assert!(read == expected, "read {} records, {:?} first", read.len(), read.first());
    Ok(())
}

#[test]
fn after_a_reassignment_nothing_of_the_old_position_arrives() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    append_all(&log, &topic, (0..10_000).map(|n| n.to_string()))?;
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    for from in [5_000, 10, 9_000, 0, 9_999] {
        reader.assign(&partition, ReadFrom::Offset(from))?;
        let mut next = from;
        // Some of what is fetched is taken, the rest is on its way when the next assignment comes.
        while next < (from + 200).min(10_000) {
            for batch in reader.poll(50, SHORT)?.batches {
                for record in batch.iter() {
                    ensure!(record.offset == next, "offset {} where {next} was expected", record.offset);
                    next += 1;
                }
            }
        }
    }
    reader.unassign(&partition)?;
    assert!(reader.poll(1_000, SHORT)?.batches.is_empty());
    Ok(())
}

#[test]
fn a_topic_that_does_not_exist_is_named_at_once() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    let missing = unique("missing");
    let error = reader.assign(&TopicPartition::new(missing.clone(), 0), ReadFrom::Beginning).expect_err("missing");
    assert_eq!(error, LogError::UnknownTopic { topic: missing });
    let error = reader.assign(&TopicPartition::new(topic, 1), ReadFrom::Beginning).expect_err("one partition");
    assert!(error.to_string().contains("has 1 partitions"), "{error}");
    Ok(())
}

// === Writing ===

/// Such an error must not look like one to wait for: a second `flush` would find nothing left to wait for, and say `Ok`.
#[test]
fn a_record_that_was_given_up_is_not_for_trying_again() -> Result {
    let mut broker = Broker::private_to_crash()?;
    let log = KafkaLog::connect(KafkaOptions {
        bootstrap: broker.bootstrap().into(),
        delivery_timeout: Duration::from_secs(4),
        ..KafkaOptions::default()
    })?;
    let topic = topic(&log, 1, &[])?;
    let mut producer = log.producer()?;
    append(&mut *producer, &topic, b"before")?;
    producer.flush(LONG)?;
    broker.kill()?;
    append(&mut *producer, &topic, b"lost")?;
    let error = producer.flush(LONG).expect_err("the broker is dead for longer than a delivery may take");
    assert!(matches!(error, LogError::Fatal { .. }), "{error:?}");
    Ok(())
}

/// librdkafka takes time 0 for "now".
#[test]
fn time_0_is_not_now() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let mut producer = log.producer()?;
    let headers = Headers::default();
    let record = Append { topic: &topic, partition: 0, key: None, value: None, timestamp_ms: 0, headers: &headers };
    producer.append(record)?;
    producer.flush(LONG)?;
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    reader.assign(&TopicPartition::new(topic, 0), ReadFrom::Beginning)?;
    let watch = SystemClock::new();
    while watch.monotonic() < LONG {
        if let Some(batch) = reader.poll(1, SHORT)?.batches.first() {
            assert_eq!(batch.get(0).context("one record")?.timestamp_ms, 1);
            return Ok(());
        }
    }
    bail!("nothing was read")
}

#[test]
fn a_record_the_broker_refuses_is_told_by_flush_and_the_producer_goes_on() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[("max.message.bytes", "1000")])?;
    let mut producer = log.producer()?;
    let noise: Vec<u8> = (0..2_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    append(&mut *producer, &topic, &noise)?;
    let error = producer.flush(LONG).expect_err("2,000 bytes that do not compress");
    assert!(matches!(error, LogError::RecordRefused { .. }), "{error:?}");
    append(&mut *producer, &topic, b"small")?;
    producer.flush(LONG)?;
    assert_eq!(producer.acknowledged(&topic, 0), Some(0));
    Ok(())
}

#[test]
fn an_abort_gives_up_what_is_queued_and_in_flight() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let topic = topic(&log, 1, &[])?;
    let mut producer = transactional(&log, &unique("tx"))?;
    for _ in 0..3 {
        producer.begin()?;
        for n in 0..5_000 {
            append(&mut *producer, &topic, n.to_string().as_bytes())?;
        }
        producer.abort(LONG)?;
    }
    producer.begin()?;
    append(&mut *producer, &topic, b"last")?;
    producer.commit(LONG)?;
    let last = producer.acknowledged(&topic, 0).context("it was committed")?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&TopicPartition::new(topic, 0), ReadFrom::Beginning)?;
    assert_eq!(read_to_end(&mut *reader, last + 2)?.0, ["last"], "and its marker");
    Ok(())
}

// === Groups ===

fn coordination_topic(log: &KafkaLog) -> Result<String> {
    Ok(topic(log, 1, &[])?.to_string())
}

/// Joins with a session of 6 s, so that what takes less is not its end.
fn join(log: &KafkaLog, group_id: &str, topic: &str, client_id: &str, max_poll_ms: u64) -> Result<Box<dyn Membership>> {
    let max_poll_interval = Duration::from_millis(max_poll_ms);
    Ok(log.join(MembershipOptions {
        group_id: group_id.into(),
        client_id: client_id.into(),
        coordination_topic: topic.into(),
        session_timeout: max_poll_interval.min(Duration::from_secs(6)),
        max_poll_interval,
    })?)
}

fn next(member: &mut dyn Membership) -> Result<MembershipEvent> {
    let watch = SystemClock::new();
    while watch.monotonic() < LONG {
        if let Some(event) = member.poll(SHORT)? {
            return Ok(event);
        }
    }
    bail!("no event after {LONG:?}")
}

fn next_joined(member: &mut dyn Membership) -> Result<(Epoch, bool)> {
    loop {
        if let MembershipEvent::Joined { epoch, leader } = next(member)? {
            return Ok((epoch, leader));
        }
    }
}

/// Polls both until they are in the same generation; returns their epochs and who leads.
fn settle(one: &mut dyn Membership, two: &mut dyn Membership) -> Result<((Epoch, bool), (Epoch, bool))> {
    fn poll(member: &mut dyn Membership, last: &mut Option<(Epoch, bool)>) -> Result {
        if let Some(MembershipEvent::Joined { epoch, leader }) = member.poll(Duration::from_millis(20))? {
            *last = Some((epoch, leader));
        }
        Ok(())
    }
    let (mut first, mut second) = (None, None);
    let watch = SystemClock::new();
    while watch.monotonic() < LONG {
        poll(one, &mut first)?;
        poll(two, &mut second)?;
        if let (Some(first), Some(second)) = (&first, &second)
            && first.0.generation == second.0.generation
        {
            return Ok((first.clone(), second.clone()));
        }
    }
    bail!("not in one generation after {LONG:?}: {first:?}, {second:?}")
}

/// librdkafka gives a member that owns nothing no revoke callback when it is voted out.
#[test]
fn a_member_that_owns_nothing_learns_that_it_was_voted_out() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let (group_id, coordination) = (unique("group"), coordination_topic(&log)?);
    let mut leader = join(&log, &group_id, &coordination, "leader", 60_000)?;
    let (_, leads) = next_joined(&mut *leader)?;
    assert!(leads);
    let mut idle = join(&log, &group_id, &coordination, "idle", 1_500)?;
    let ((before, leads), (idle_epoch, idle_leads)) = settle(&mut *leader, &mut *idle)?;
    assert!(leads && !idle_leads, "the leader stays");

    // The idle one is not polled until the other is alone.
    let (alone, leads) = next_joined(&mut *leader)?;
    assert!(leads && alone.generation > before.generation);
    let group = idle.group();
    let input = [(TopicPartition::new(coordination.as_str(), 0), 7)];
    let error = group.commit(&idle_epoch, &input).expect_err("voted out");
    assert!(matches!(error, LogError::Fenced { .. }), "{error:?}");
    let error = group.metadata(&idle_epoch).expect_err("voted out");
    assert!(matches!(error, LogError::Fenced { .. }), "{error:?}");

    let event = next(&mut *idle)?;
    assert!(matches!(event, MembershipEvent::Lost { .. }), "first of all: {event:?}");
    assert_eq!(group.epoch(), None);
    let (_, (again, _)) = settle(&mut *leader, &mut *idle)?;
    assert_ne!(again.member_id, idle_epoch.member_id);
    assert_eq!(group.epoch().as_ref(), Some(&again));
    group.commit(&again, &input)?;
    let partition = input[0].0.clone();
    assert_eq!(group.committed(&[partition, TopicPartition::new("none", 3)], LONG)?, [Some(7), None]);
    Ok(())
}

#[test]
fn a_transaction_with_the_metadata_of_a_past_generation_is_fenced_and_its_producer_is_not() -> Result {
    let log = connect(broker()?.bootstrap())?;
    let (group_id, coordination) = (unique("group"), coordination_topic(&log)?);
    let mut one = join(&log, &group_id, &coordination, "one", 60_000)?;
    let (past, _) = next_joined(&mut *one)?;
    let stale = one.group().metadata(&past)?;
    let mut two = join(&log, &group_id, &coordination, "two", 60_000)?;
    let ((present, _), _) = settle(&mut *one, &mut *two)?;
    assert_eq!(past.member_id, present.member_id);

    let input = [(TopicPartition::new(coordination.as_str(), 0), 1)];
    let mut producer = transactional(&log, &unique("tx"))?;
    producer.begin()?;
    let error = producer.send_offsets(&input, &stale).expect_err("a generation ago");
    assert!(matches!(error, LogError::Abortable { .. }), "{error:?}");
    producer.abort(LONG)?;

    producer.begin()?;
    producer.send_offsets(&input, &one.group().metadata(&present)?)?;
    producer.commit(LONG)?;
    assert_eq!(one.group().committed(&[input[0].0.clone()], LONG)?, [Some(1)]);

    let mut names: Vec<_> = one.group().members()?.into_iter().map(|member| member.client_id).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);

    // A member that leaves is missed at once, also this one, which owns nothing.
    let watch = SystemClock::new();
    two.leave()?;
    let (last, _) = next_joined(&mut *one)?;
    assert!(last.generation > present.generation);
    assert!(watch.monotonic() < Duration::from_secs(5), "only after its session: {:?}", watch.monotonic());
    Ok(())
}

// === Faults ===

#[test]
fn an_address_where_nobody_answers_is_named_within_the_deadline() -> Result {
    let options = KafkaOptions {
        bootstrap: "127.0.0.1:1".into(),
        request_timeout: Duration::from_secs(1),
        ..KafkaOptions::default()
    };
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // For all threads: a place in the code whose first line comes from a thread without a subscriber would be silent for good.
    tracing::subscriber::set_global_default(subscriber)?;
    tracing::callsite::rebuild_interest_cache();
    let watch = SystemClock::new();
    let error = KafkaLog::connect(options).expect_err("nobody is there");
    assert!(watch.monotonic() < Duration::from_secs(5));
    assert!(matches!(error, LogError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().contains("refused"), "{error}");
    // What librdkafka has to say goes where all logs go.
    let lines = logged.text();
    let told = |line: &str| line.contains("millpond::log::kafka") && line.contains("127.0.0.1:1/");
    assert!(lines.lines().any(told), "{lines}");
    Ok(())
}

/// Lines of the log, kept.
#[derive(Debug, Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn everything_goes_on_when_the_broker_is_back() -> Result {
    let mut broker = Broker::private_to_crash()?;
    let options = KafkaOptions {
        bootstrap: broker.bootstrap().into(),
        request_timeout: Duration::from_secs(1),
        ..KafkaOptions::default()
    };
    let log = KafkaLog::connect(options)?;
    let topic = topic(&log, 1, &[])?;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    let (group_id, coordination) = (unique("group"), coordination_topic(&log)?);
    let mut member = join(&log, &group_id, &coordination, "one", 60_000)?;
    let (before, _) = next_joined(&mut *member)?;
    let mut producer = log.producer()?;
    append(&mut *producer, &topic, b"before")?;
    producer.flush(LONG)?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&partition, ReadFrom::Beginning)?;
    assert_eq!(read_to_end(&mut *reader, 1)?.0, ["before"]);

    broker.kill()?;
    append(&mut *producer, &topic, b"during")?;
    let error = producer.flush(Duration::from_secs(1)).expect_err("the broker is dead");
    assert!(error.is_retriable(), "{error:?}");
    let error = reader.end_offset(&partition).expect_err("the broker is dead");
    assert!(error.is_retriable() && error.to_string().contains(broker.bootstrap()), "{error}");
    let error = member.group().commit(&before, &[(partition.clone(), 1)]).expect_err("the broker is dead");
    assert!(error.is_retriable() || matches!(error, LogError::Fenced { .. }), "{error:?}");
    let error = member
        .group()
        .committed(std::slice::from_ref(&partition), Duration::from_secs(1))
        .expect_err("the broker is dead");
    assert!(error.is_retriable(), "{error:?}");
    let error = log.admin()?.topics(&[&topic]).expect_err("the broker is dead");
    assert!(error.is_retriable() && error.to_string().contains(broker.bootstrap()), "{error}");
    let (mut reader_told, mut member_told) = (false, false);
    let watch = SystemClock::new();
    while !(reader_told && member_told) {
        ensure!(watch.monotonic() < LONG, "told: reader {reader_told}, member {member_told}");
        let fetched = reader.poll(10, SHORT)?;
        reader_told |= fetched.events.iter().any(|event| matches!(event, ReaderEvent::Unavailable { .. }));
        member_told |= matches!(member.poll(SHORT)?, Some(MembershipEvent::Unavailable { .. }));
    }

    broker.start()?;
    producer.flush(LONG)?;
    append(&mut *producer, &topic, b"after")?;
    producer.flush(LONG)?;
    assert_eq!(read_to_end(&mut *reader, 3)?.0, ["during", "after"]);
    // Some time after the trouble the reader replaces its client, and goes on where it was.
    let watch = SystemClock::new();
    while watch.monotonic() < Duration::from_secs(7) {
        let fetched = reader.poll(10, SHORT)?;
        assert!(fetched.batches.is_empty(), "{fetched:?}");
    }
    append(&mut *producer, &topic, b"later")?;
    producer.flush(LONG)?;
    assert_eq!(read_to_end(&mut *reader, 4)?.0, ["later"]);
    let watch = SystemClock::new();
    // Its session was over by its own reckoning, so it joins anew.
    while member.group().epoch().is_none_or(|epoch| epoch == before) {
        ensure!(watch.monotonic() < LONG, "no new epoch");
        member.poll(SHORT)?;
    }
    Ok(())
}
