//! What the Kafka adapter costs: CPU seconds of this process per million records, and the time of a commit.
//!
//! ```sh
//! cargo run --release -p integration-tests --example kafka_cost -- [RECORDS]
//! ```
//!
//! Starts a broker, or uses the one named by `MILLPOND_TEST_KAFKA`. Its processors are shared with the broker, so wall-clock
//! time says little; CPU time of this process does.

use std::{collections::BTreeMap, fs, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use integration_tests::broker::{broker, unique};
use millpond::{
    log::{
        Append, Headers, Isolation, Log, MembershipEvent, MembershipOptions, NewTopic, ReadFrom, ReaderEvent,
        TopicPartition,
        kafka::{KafkaLog, KafkaOptions},
    },
    time::{Clock, SystemClock},
};

const PARTITIONS: i32 = 4;
const LONG: Duration = Duration::from_secs(120);
/// Between two commits.
const INTERVAL: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let records: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |records| records.parse())?;
    let mut last = None;
    for compression in ["none", "lz4"] {
        let log = connect(compression)?;
        let topic = topic(&log, PARTITIONS)?;
        measure(&format!("produce, {compression}"), records, || produce(&log, &topic, records))?;
        measure(&format!("read 4,096 at a time, {compression}"), records, || read(&log, &topic, records))?;
        last = Some(log);
    }
    commits(&last.context("two compressions")?)
}

fn connect(compression: &str) -> Result<KafkaLog> {
    let properties = BTreeMap::from([("compression.type".to_owned(), compression.to_owned())]);
    let bootstrap = broker()?.bootstrap().into();
    Ok(KafkaLog::connect(KafkaOptions { bootstrap, properties, ..KafkaOptions::default() })?)
}

fn topic(log: &KafkaLog, partitions: i32) -> Result<Arc<str>> {
    let name = unique("cost");
    let topic = NewTopic { name: name.clone(), partitions, replication_factor: None, config: BTreeMap::new() };
    log.admin()?.create_topics(&[topic])?;
    Ok(name.into())
}

fn produce(log: &KafkaLog, topic: &Arc<str>, records: u32) -> Result<()> {
    let mut producer = log.producer()?;
    let headers = Headers::default();
    let mut value = [0_u8; 100];
    for n in 0..records {
        let key = u128::from(n).to_be_bytes();
        value[..4].copy_from_slice(&n.to_be_bytes());
        value[50..54].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        let partition = (n % PARTITIONS.unsigned_abs()).cast_signed();
        let (key, value) = (Some(&key[..]), Some(&value[..]));
        producer.append(Append { topic, partition, key, value, timestamp_ms: 1, headers: &headers })?;
        if n % 1_000 == 0 {
            producer.serve();
        }
    }
    Ok(producer.flush(LONG)?)
}

fn read(log: &KafkaLog, topic: &Arc<str>, records: u32) -> Result<()> {
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    for partition in 0..PARTITIONS {
        reader.assign(&TopicPartition::new(Arc::clone(topic), partition), ReadFrom::Beginning)?;
    }
    let (mut read, mut ends, mut polls, mut batches) = (0, 0, 0, 0);
    while ends < PARTITIONS {
        let fetched = reader.poll(4_096, Duration::from_millis(100))?;
        polls += 1;
        batches += fetched.batches.len();
        read += fetched.batches.iter().map(|batch| batch.len()).sum::<usize>();
        for event in fetched.events {
            ends += i32::from(matches!(event, ReaderEvent::EndReached { .. }));
        }
    }
    println!("  {polls} polls, {batches} batches");
    ensure!(read == usize::try_from(records)?, "{read} records of {records}");
    Ok(())
}

/// The parts of a commit: flush, offsets, end of the transaction. As in an instance, records are sent all through the interval:
/// the first have to wait until the markers of the transaction before are written, which is over when the commit comes.
fn commits(log: &KafkaLog) -> Result<()> {
    let (input, output) = (topic(log, 1)?, topic(log, PARTITIONS)?);
    let mut member = log.join(MembershipOptions {
        group_id: unique("cost"),
        client_id: "cost".into(),
        coordination_topic: input.to_string(),
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(300),
    })?;
    let epoch = loop {
        if let Some(MembershipEvent::Joined { epoch, .. }) = member.poll(LONG)? {
            break epoch;
        }
    };
    let group = member.group();
    let mut producer = log.transactional_producer(&unique("cost"), Duration::from_secs(10))?;
    producer.init(LONG)?;
    let headers = Headers::default();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for n in 0..100_u32 {
        producer.begin()?;
        for m in 0..100_u32 {
            if m % 20 == 0 {
                thread::sleep(INTERVAL / 5);
                producer.serve();
            }
            let value = (n * 100 + m).to_be_bytes();
            let partition = (m % PARTITIONS.unsigned_abs()).cast_signed();
            let (key, value) = (Some(&value[..]), Some(&value[..]));
            producer.append(Append { topic: &output, partition, key, value, timestamp_ms: 1, headers: &headers })?;
        }
        let watch = SystemClock::new();
        producer.flush(LONG)?;
        let flushed = watch.monotonic();
        let metadata = group.metadata(&epoch)?;
        producer.send_offsets(&[(TopicPartition::new(Arc::clone(&input), 0), i64::from(n))], &metadata)?;
        let sent = watch.monotonic();
        producer.commit(LONG)?;
        let ended = watch.monotonic();
        for (times, time) in times.iter_mut().zip([flushed, sent - flushed, ended - sent, ended]) {
            times.push(time);
        }
    }
    for (part, mut times) in ["flush", "send offsets", "commit", "all"].into_iter().zip(times) {
        times.sort();
        println!("{part:>32}: median {:.1?}, 90 % within {:.1?}", times[times.len() / 2], times[times.len() * 9 / 10]);
    }
    Ok(())
}

fn measure(what: &str, records: u32, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let (cpu, watch) = (cpu_seconds()?, SystemClock::new());
    run()?;
    let millions = f64::from(records) / 1e6;
    let (cpu, wall) = (cpu_seconds()? - cpu, watch.monotonic().as_secs_f64());
    println!("{what:>32}: {:.2} CPU-s and {:.2} s per million records", cpu / millions, wall / millions);
    Ok(())
}

/// User and system time of this process, all threads.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name before may hold blanks; utime and stime are fields 14 and 15, in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(") ").context("a name in parentheses")?;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
