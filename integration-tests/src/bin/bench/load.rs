//! Input: keys of 16 bytes, values of 100 random ASCII bytes, 1 ms of event time between records. The same for every run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use clap::Args;
use millpond::log::{
    Append, Headers, Isolation, Log, NewTopic, Partitioner, Producer, ReadFrom, ReaderEvent, TopicPartition,
    kafka::{KafkaLog, KafkaOptions},
};

/// A minute's start in 2023: every run meets the same windows.
const START_MS: i64 = 1_700_000_040_000;
/// Prime, and no divisor of any number of keys in use: `n * STRIDE mod keys` visits every key once.
const STRIDE: u64 = 982_451_653;
const VALUE_BYTES: usize = 100;
/// How long a topic may take to be read through.
const READ_THROUGH: Duration = Duration::from_secs(120);
const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Fills a topic.
#[derive(Debug, Clone, Args)]
pub(super) struct Load {
    /// Kafka, `host:port`.
    #[arg(long)]
    pub(super) bootstrap: String,
    /// The topic. One that holds as many records already is left as it is.
    #[arg(long)]
    pub(super) topic: String,
    /// Its partitions.
    #[arg(long, default_value_t = 4)]
    pub(super) partitions: i32,
    /// How many records.
    #[arg(long, default_value_t = 5_000_000)]
    pub(super) records: u64,
    /// Over how many keys.
    #[arg(long, default_value_t = 1_000_000)]
    pub(super) keys: u64,
    /// Every key in turn, not by chance.
    #[arg(long)]
    pub(super) each_once: bool,
}

/// A generator of pseudo-random numbers (SplitMix64, Steele et al., 2014).
struct Random(u64);

// === impl Load ===

impl Load {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let log = connect(&self.bootstrap)?;
        if count(&log, &self.topic)? == Some(self.records as i64) {
            eprintln!("{} is loaded", self.topic);
            return Ok(());
        }
        recreate(&log, &self.topic, self.partitions)?;
        let mut producer = log.producer()?;
        let topic: Arc<str> = self.topic.as_str().into();
        let (mut random, mut partitioner, headers) = (Random(42), Partitioner::new(), Headers::default());
        let (mut key, mut value) = ([0; 16], [0; VALUE_BYTES]);
        for n in 0..self.records {
            let number = if self.each_once { n % self.keys * STRIDE % self.keys } else { random.next() % self.keys };
            write_key(number, &mut key);
            random.write_value(&mut value);
            producer.append(Append {
                topic: &topic,
                partition: partitioner.partition(Some(&key), self.partitions),
                key: Some(&key),
                value: Some(&value),
                timestamp_ms: START_MS + n as i64,
                headers: &headers,
            })?;
            if n % 1024 == 0 {
                producer.serve();
            }
        }
        flush(&mut *producer)?;
        ensure!(count(&log, &self.topic)? == Some(self.records as i64), "{} is not whole", self.topic);
        Ok(())
    }
}

fn flush(producer: &mut dyn Producer) -> anyhow::Result<()> {
    Ok(producer.flush(Duration::from_secs(120))?)
}

fn write_key(mut number: u64, key: &mut [u8; 16]) {
    key[0] = b'k';
    for digit in key[1..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The first byte is a hexadecimal digit: the stateless work drops the values that begin with 0.
    fn write_value(&mut self, value: &mut [u8; VALUE_BYTES]) {
        let mut bits = self.next();
        value[0] = HEX[(bits & 15) as usize];
        for (index, byte) in value.iter_mut().enumerate().skip(1) {
            bits = if index % 10 == 0 { self.next() } else { bits >> 6 };
            *byte = ALPHABET[(bits & 63) as usize];
        }
    }
}

// === topics ===

pub(super) fn connect(bootstrap: &str) -> anyhow::Result<KafkaLog> {
    let options = KafkaOptions { bootstrap: bootstrap.into(), client_id: "bench".into(), ..KafkaOptions::default() };
    Ok(KafkaLog::connect(options)?)
}

/// The records of a topic by its offsets; `None` when there is no such topic.
pub(super) fn count(log: &dyn Log, topic: &str) -> anyhow::Result<Option<i64>> {
    let Some(found) = log.admin()?.topics(&[topic])?.pop() else { return Ok(None) };
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    let mut records = 0;
    for partition in 0..found.partitions {
        let partition = TopicPartition::new(topic, partition);
        records += reader.end_offset(&partition)? - reader.beginning_offset(&partition)?;
    }
    Ok(Some(records))
}

/// What a topic holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// Records, those of transactions that were aborted too.
    pub(super) records: u64,
    /// Bytes of their keys, values and headers, as they were written.
    pub(super) bytes: u64,
}

/// Reads a topic from its beginning to its end. Before a measurement, so that the broker has it in memory: a kernel that gives page cache back
/// eagerly would let whoever reads first wait for the disk.
pub(super) fn read_through(log: &dyn Log, topic: &str) -> anyhow::Result<Size> {
    let partitions = log.admin()?.topics(&[topic])?.pop().map_or(0, |topic| topic.partitions);
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    for partition in 0..partitions {
        reader.assign(&TopicPartition::new(topic, partition), ReadFrom::Beginning)?;
    }
    let (mut size, deadline) = (Size::default(), tokio::time::Instant::now() + READ_THROUGH);
    let mut at_end = BTreeSet::new();
    while at_end.len() < usize::try_from(partitions)? {
        let fetched = reader.poll(10_000, Duration::from_millis(100))?;
        for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
            let headers: usize =
                record.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers;
            size.records += 1;
            size.bytes += bytes as u64;
        }
        for event in fetched.events {
            if let ReaderEvent::EndReached { partition, .. } = event {
                at_end.insert(partition.partition);
            }
        }
        ensure!(tokio::time::Instant::now() < deadline, "{topic}: {} records could be read, and no end", size.records);
    }
    Ok(size)
}

/// A topic without a record.
pub(super) fn recreate(log: &dyn Log, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let mut admin = log.admin()?;
    if !admin.topics(&[topic])?.is_empty() {
        admin.delete_topics(&[topic])?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !admin.topics(&[topic])?.is_empty() {
            ensure!(tokio::time::Instant::now() < deadline, "{topic} is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // The records are dated 2023: the broker's default retention would delete them while they are read.
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    Ok(admin.create_topics(&[NewTopic { name: topic.into(), partitions, replication_factor: None, config }])?)
}
