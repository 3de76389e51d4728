//! Reading costs no allocation per record: a batch owns one buffer, and its records are slices of it. Nor does a scan of a store per row.
//!
//! A test binary of its own, since `allocation_counter` brings the allocator of the whole process. It counts what Rust code allocates on the
//! measuring thread: librdkafka's own memory is C's.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use anyhow::ensure;
use integration_tests::broker::{broker, unique};
use millpond::{
    Serdes, Topology,
    dsl::StoreBuilder,
    log::{
        Append, Headers, Isolation, Log, NewTopic, ReadFrom, Reader, TopicPartition,
        embedded::EmbeddedLog,
        kafka::{KafkaLog, KafkaOptions},
    },
    processor::{PlainKeyValueStore, Processor, ProcessorContext, ProcessorResult, Record, WindowStore},
    state::Direction,
    testing::{TestTopic, TopologyTestDriver},
};

const RECORDS: usize = 50_000;
/// Some tens for each batch of up to 4096 records, whose buffers grow by doubling; one per record would be 1.
const ALLOCATIONS_PER_RECORD: f64 = 0.05;

#[test]
fn kafka_reads_allocate_per_batch() -> anyhow::Result<()> {
    let options = KafkaOptions { bootstrap: broker()?.bootstrap().into(), ..KafkaOptions::default() };
    reads_allocate_per_batch(&KafkaLog::connect(options)?)
}

/// Writes rows to its stores, and tells how often scans of them allocate.
struct Scanner {
    rows: PlainKeyValueStore<i64, i64>,
    windows: WindowStore<i64, i64>,
}

const ROWS: i64 = 10_000;

impl Processor<i64, i64> for Scanner {
    type Key = i64;
    type Value = i64;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, i64, i64>, record: Record<i64, i64>) -> ProcessorResult {
        // Half of the rows are not committed when they are found: those of the second record.
        for n in (record.key..ROWS).step_by(2) {
            self.rows.put(ctx, &n, &n)?;
            self.windows.put(ctx, &7, n, &n, n)?;
        }
        let scan = |scanner: &mut Self, ctx: &mut ProcessorContext<'_, i64, i64>| -> ProcessorResult {
            let mut found = 0;
            let mut count = || {
                found += 1;
                ControlFlow::Continue(())
            };
            scanner.rows.scan(ctx, .., Direction::Backward, |_, _| count())?;
            scanner.windows.scan(ctx, &7, .., Direction::Forward, |_, _, _| count())?;
            scanner.windows.scan_keys(ctx, .., .., Direction::Forward, |_, _, _| count())?;
            assert_eq!(found, 3 * ROWS / 2 * (record.key + 1));
            Ok(())
        };
        // The first scan puts what is not committed in order.
        scan(self, ctx)?;
        let mut result = Ok(());
        let counted = allocation_counter::measure(|| result = scan(self, ctx));
        result?;
        let allocations = i64::try_from(counted.count_total)?;
        Ok(ctx.forward(record.with_value(allocations))?)
    }
}

#[test]
fn scans_allocate_per_scan() -> anyhow::Result<()> {
    let topology = Topology::builder("scans");
    let day = Duration::from_secs(86_400);
    let rows = topology.add_store(StoreBuilder::plain_key_value("rows", Serdes::default()));
    let windows = topology.add_store(StoreBuilder::window("windows", Serdes::default(), day));
    let stream = topology.stream("in", Serdes::<i64, i64>::default());
    stream.process((rows, windows), |(rows, windows)| Scanner { rows, windows }).to("out");
    let mut driver = TopologyTestDriver::new(&topology.build()?)?;
    let (input, output) =
        (TestTopic::new("in", Serdes::default()), TestTopic::<i64, i64>::new("out", Serdes::default()));
    driver.pipe(&input, &0_i64, &0_i64, 0)?;
    driver.pipe(&input, &1, &0, 0)?;
    for record in driver.read(&output)? {
        println!("{} allocations for {} rows", record.value, 3 * ROWS / 2 * (record.key + 1));
        ensure!(record.value < 50, "{} allocations", record.value);
    }
    Ok(())
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
