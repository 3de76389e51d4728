//! Reading costs no allocation per record: a batch owns one buffer, and its records are slices of it.
//!
//! A test binary of its own, since `allocation_counter` brings the allocator of the whole process. It counts what Rust code allocates on the
//! measuring thread: librdkafka's own memory is C's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::ensure;
use integration_tests::broker::{broker, unique};
use millpond::log::{
    Append, Headers, Isolation, Log, NewTopic, ReadFrom, Reader, TopicPartition,
    embedded::EmbeddedLog,
    kafka::{KafkaLog, KafkaOptions},
};

const RECORDS: usize = 50_000;
/// Some tens for each batch of up to 4096 records, whose buffers grow by doubling; one per record would be 1.
const ALLOCATIONS_PER_RECORD: f64 = 0.05;

#[test]
fn kafka_reads_allocate_per_batch() -> anyhow::Result<()> {
    let options = KafkaOptions { bootstrap: broker()?.bootstrap().into(), ..KafkaOptions::default() };
    reads_allocate_per_batch(&KafkaLog::connect(options)?)
}

#[test]
fn embedded_reads_allocate_per_batch() -> anyhow::Result<()> {
    reads_allocate_per_batch(&EmbeddedLog::new())
}

fn reads_allocate_per_batch(log: &dyn Log) -> anyhow::Result<()> {
    let topic: Arc<str> = unique("allocations").into();
    fill(log, &topic)?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&TopicPartition::new(topic, 0), ReadFrom::Beginning)?;

    let mut read = Ok((0, 0));
    let counted = allocation_counter::measure(|| read = read_all(&mut *reader));
    let (batches, bytes) = read?;
    ensure!(bytes == RECORDS * BYTES, "{bytes} bytes read");
    let per_record = counted.count_total as f64 / RECORDS as f64;
    println!("{} allocations, {per_record:.4} per record, in {batches} batches", counted.count_total);
    ensure!(per_record < ALLOCATIONS_PER_RECORD, "{per_record} allocations per record");
    Ok(())
}

/// Of a record: key, value, and the value of its header.
const BYTES: usize = 8 + 100 + 4;

fn fill(log: &dyn Log, topic: &Arc<str>) -> anyhow::Result<()> {
    let (name, config) = (topic.to_string(), BTreeMap::new());
    log.admin()?.create_topics(&[NewTopic { name, partitions: 1, replication_factor: None, config }])?;
    let mut producer = log.producer()?;
    let headers = Headers::new([("trace", Some(&[7; 4][..]))]);
    for n in 0..RECORDS as u64 {
        let (key, value) = (n.to_be_bytes(), [1; 100]);
        let (key, value) = (Some(&key[..]), Some(&value[..]));
        producer.append(Append { topic, partition: 0, key, value, timestamp_ms: 1, headers: &headers })?;
        producer.serve();
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// Looks at every byte of every record, as a task does. Gives how many batches and bytes there were.
fn read_all(reader: &mut dyn Reader) -> anyhow::Result<(usize, usize)> {
    let (mut batches, mut records, mut bytes) = (0, 0, 0);
    while records < RECORDS {
        let fetched = reader.poll(4096, Duration::from_millis(200))?;
        batches += fetched.batches.len();
        for record in fetched.batches.iter().flat_map(|batch| batch.iter()) {
            records += 1;
            bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            bytes += record.headers.iter().map(|(_, value)| value.map_or(0, <[u8]>::len)).sum::<usize>();
        }
    }
    Ok((batches, bytes))
}
