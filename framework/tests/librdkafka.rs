//! What `build.rs` mends: new leaders in the answer to a fetch.
#![allow(unsafe_code, reason = "librdkafka's mock of a broker is told what to answer")]

use std::{env, ffi::CString, process::Command, sync::Mutex, time::Duration};

// With it comes the mended function.
use millpond::time::{Clock as _, SystemClock};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    mocking::MockCluster,
};
use rdkafka_sys as sys;

/// glibc fills what it gives out with the complement of this, so that memory nobody wrote is never zero by chance.
const PERTURB: (&str, &str) = ("MALLOC_PERTURB_", "1");
const TOPIC: &str = "trips";

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl ClientContext for Lines {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility.contains("METADATAUPDATE") {
            self.0.lock().expect("no one panics while holding it").push(message.to_owned());
        }
    }
}

impl ConsumerContext for Lines {}

/// A partition without a leader beside one with a new one: what a broker says that has just come back. Unmended, the first is
/// counted but not filled in, and read as a partition with whatever is in its memory.
#[test]
fn a_partition_without_a_leader_is_not_read_as_one_with_a_new_leader() {
    if env::var_os(PERTURB.0).is_none() {
        let again = Command::new(env::current_exe().expect("a test has a file")).env(PERTURB.0, PERTURB.1).output();
        let again = again.expect("the file of this test runs");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success(), "{} {said} {}", again.status, String::from_utf8_lossy(&again.stderr));
        return;
    }

    let consumer: BaseConsumer<Lines> = ClientConfig::new()
        .set("test.mock.num.brokers", "2")
        .set("group.id", "unused")
        .set("fetch.wait.max.ms", "10")
        .set("debug", "metadata")
        .set_log_level(RDKafkaLogLevel::Debug)
        .create_with_context(Lines::default())
        .expect("a consumer");
    let brokers = consumer.client().mock_cluster().expect("it was asked for");
    brokers.create_topic(TOPIC, 2, 1).expect("a topic");
    lead(&brokers, 1);
    let mut partitions = TopicPartitionList::new();
    for partition in 0..2 {
        partitions.add_partition_offset(TOPIC, partition, Offset::Offset(0)).expect("an offset to begin at");
    }
    consumer.assign(&partitions).expect("two partitions");
    // Both are fetched from the first broker.
    consumer.fetch_watermarks(TOPIC, 0, Duration::from_secs(10)).expect("the first broker answers");
    poll_for(&consumer, Duration::from_millis(500));

    let clock = SystemClock::new();
    // Whoever asks for metadata just then takes the answer away from the fetch: then once more, with the other broker.
    let moved = (0..10).any(|round| {
        let leader = 2 - round % 2;
        answer_no_leader(&consumer, 0);
        lead(&brokers, leader);
        let until = clock.monotonic() + Duration::from_secs(3);
        while clock.monotonic() < until {
            consumer.poll(Duration::from_millis(20));
            let lines = consumer.context().0.lock().expect("no one panics while holding it");
            let unknown: Vec<&String> = lines.iter().filter(|line| line.contains("not found in cache")).collect();
            assert!(unknown.is_empty(), "memory that nobody wrote was read as a partition: {unknown:?}");
            if lines.iter().any(|line| line.contains(&format!("updated with leader {leader}"))) {
                return true;
            }
        }
        false
    });
    assert!(moved, "no fetch was answered with a new leader");
}

fn poll_for(consumer: &BaseConsumer<Lines>, time: Duration) {
    let clock = SystemClock::new();
    while clock.monotonic() < time {
        consumer.poll(Duration::from_millis(20));
    }
}

fn lead(brokers: &MockCluster<'_, Lines>, broker: i32) {
    for partition in 0..2 {
        brokers.partition_leader(TOPIC, partition, Some(broker)).expect("a leader");
    }
}

/// The answer to the next fetch of the partition names none as its leader.
fn answer_no_leader(consumer: &BaseConsumer<Lines>, partition: i32) {
    let topic = CString::new(TOPIC).expect("no zero byte in it");
    let (none, epoch_after_all_others) = (-1, 100);
    // SAFETY: the mocked brokers live as long as their client, and copy the name.
    let error = unsafe {
        let brokers = sys::rd_kafka_handle_mock_cluster(consumer.client().native_ptr());
        sys::rd_kafka_mock_partition_push_leader_response(
            brokers,
            topic.as_ptr(),
            partition,
            none,
            epoch_after_all_others,
        )
    };
    assert_eq!(error, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
}
