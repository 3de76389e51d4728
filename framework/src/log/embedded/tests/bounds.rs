//! What keeps the log from growing.

use super::*;

const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];

#[test]
fn a_compacted_partition_stays_small_by_itself() {
    let (log, _) = simulated();
    create(&log, "table", 1, COMPACTED);
    let mut producer = log.producer().expect("producer");
    let value = "v".repeat(1_000);
    for n in 0..40_000 {
        append(&mut *producer, "table", &format!("key-{}", n % 100), Some(&value)).expect("appended");
    }
    producer.flush(SHORT).expect("flushed");
    let held = log.connection.with(|state, _| state.bytes);
    assert!(held < 3 * compaction::AUTOMATIC_COMPACTION_BYTES, "{held} bytes of 40 MB are held");
    let (seen, end) = read(&log, &partition("table", 0), Isolation::ReadCommitted);
    let last_hundred: Vec<i64> = seen.iter().rev().take(100).rev().map(|(offset, ..)| *offset).collect();
    assert_eq!((last_hundred, end), ((39_900..40_000).collect(), 40_000), "offsets stay");
}

#[test]
fn automatic_compaction_leaves_tombstones_for_their_retention() {
    let (log, clock) = simulated();
    create(&log, "table", 1, &[("cleanup.policy", "compact"), ("delete.retention.ms", "60000")]);
    let value = "v".repeat(1_000);
    let fill = || write(&log, "table", &vec![("filler", Some(&*value)); 10_000]);
    write(&log, "table", &[("gone", Some("x")), ("gone", None)]);
    for _ in 0..3 {
        fill();
        assert_eq!(keys(&committed(&log, "table"))[0], "gone", "the tombstone is readable");
    }
    clock.advance(Duration::from_secs(60));
    fill();
    assert_eq!(keys(&committed(&log, "table"))[0], "filler");
}

#[test]
fn an_append_beyond_the_memory_bound_is_refused_until_there_is_room() {
    let log = EmbeddedLog::builder().memory_max(100_000).build().expect("built");
    create(&log, "in", 1, &[]);
    let mut producer = log.producer().expect("producer");
    let value = "v".repeat(30_000);
    for _ in 0..3 {
        append(&mut *producer, "in", "k", Some(&value)).expect("appended");
        producer.flush(SHORT).expect("there is room");
    }
    append(&mut *producer, "in", "k", Some(&value)).expect("appended");
    let refused = producer.flush(SHORT).expect_err("no room");
    assert!(refused.to_string().contains("at most 100000 bytes"), "{refused}");
    log.admin().expect("admin").delete_records(&[(partition("in", 0), 2)]).expect("deleted");
    append(&mut *producer, "in", "k", Some(&value)).expect("appended");
    producer.flush(SHORT).expect("there is room again");
}

#[test]
fn a_producer_queues_so_much_while_the_log_is_away_and_no_more() {
    let (log, _) = simulated();
    create(&log, "in", 1, &[]);
    log.set_available(false);
    let mut producer = log.producer().expect("producer");
    let value = "v".repeat(1_000);
    let accepted = (0..100_000).take_while(|_| append(&mut *producer, "in", "k", Some(&value)).is_ok()).count();
    assert!((30_000..40_000).contains(&accepted), "32 MiB of 1,000-byte values, not {accepted}");
    log.set_available(true);
    producer.flush(SHORT).expect("flushed");
    assert_eq!(committed(&log, "in").len(), accepted);
}

#[test]
fn a_forgotten_transactional_id_is_fenced() {
    let (log, clock) = simulated();
    create(&log, "out", 1, &[]);
    let mut first = transactional(&log, "first");
    clock.advance(Duration::from_secs(1));
    for n in 0..transactions::TRANSACTIONAL_IDS_MAX {
        transactional(&log, &format!("id-{n}"));
    }
    first.begin().expect("begun");
    append(&mut *first, "out", "k", None).expect("queued");
    assert!(matches!(first.commit(SHORT), Err(LogError::Fenced { .. })));
}
