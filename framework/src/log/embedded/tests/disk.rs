//! The files of a log, and what is left of them after a death in the middle.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
};

use super::*;

fn open(directory: &tempfile::TempDir) -> EmbeddedLog {
    EmbeddedLog::open(directory.path()).expect("opened")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn partition_file(directory: &tempfile::TempDir, topic: &str) -> PathBuf {
    directory.path().join("topics").join(topic).join("0")
}

fn cut(path: &PathBuf, bytes: u64) {
    let len = fs::metadata(path).expect("there").len();
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(len - bytes)).expect("cut");
}

/// A transaction with one record in `out` and one offset of `in`, committed.
fn commit_one(log: &EmbeddedLog) {
    let mut member = join(log, "a");
    event(&mut member);
    let metadata = member.group().metadata(&epoch_of(&*member)).expect("current");
    let mut producer = transactional(log, "id");
    producer.begin().expect("begun");
    append(&mut *producer, "out", "k", Some("v")).expect("appended");
    producer.send_offsets(&[(partition("in", 0), 5)], &metadata).expect("sent");
    producer.commit(SHORT).expect("committed");
}

fn committed_position(log: &EmbeddedLog) -> Option<i64> {
    join(log, "reader").group().committed(&[partition("in", 0)], SHORT).expect("known")[0]
}

#[test]
fn a_torn_record_is_cut_off_and_writing_goes_on_behind_the_whole_ones() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    write(&log, "in", &[("a", Some("1"))]);
    write(&log, "in", &[("b", Some("2"))]);
    drop(log);
    cut(&partition_file(&directory, "in"), 1);

    let log = open(&directory);
    assert_eq!(keys(&committed(&log, "in")), ["a"]);
    write(&log, "in", &[("c", None)]);
    drop(log);
    let seen = committed(&open(&directory), "in");
    assert_eq!(seen, [(0, Some("a".into()), Some("1".into())), (1, Some("c".into()), None)]);
}

#[test]
fn a_committed_transaction_whose_marker_was_torn_is_committed() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    create(&log, "out", 1, &[]);
    commit_one(&log);
    drop(log);
    cut(&partition_file(&directory, "out"), 1);

    let log = open(&directory);
    assert_eq!(read(&log, &partition("out", 0), Isolation::ReadCommitted).1, 2, "record and marker");
    assert_eq!(keys(&committed(&log, "out")), ["k"]);
    assert_eq!(committed_position(&log), Some(5));
}

#[test]
fn a_transaction_whose_decision_was_torn_is_aborted_with_its_offsets() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    create(&log, "out", 1, &[]);
    commit_one(&log);
    drop(log);
    cut(&partition_file(&directory, "out"), 1);
    cut(&directory.path().join("journal"), 1);

    let log = open(&directory);
    assert_eq!(read(&log, &partition("out", 0), Isolation::ReadCommitted), (vec![], 2));
    assert_eq!(committed_position(&log), None);
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_the_file() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    write(&log, "in", &[("a", Some("1"))]);
    write(&log, "in", &[("b", Some("2"))]);
    drop(log);
    let path = partition_file(&directory, "in");
    let mut content = fs::read(&path).expect("read");
    content[20] ^= 1;
    fs::write(&path, content).expect("written");
    let error = EmbeddedLog::open(directory.path()).expect_err("damaged").to_string();
    assert!(error.contains("in/0 is damaged at byte 0"), "{error}");
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let directory = temporary();
    let _log = open(&directory);
    let error = EmbeddedLog::open(directory.path()).expect_err("in use").to_string();
    assert!(error.contains("another log has it open"), "{error}");
}

#[test]
fn the_journal_stays_small() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    let mut member = join(&log, "a");
    event(&mut member);
    let (group, epoch) = (member.group(), epoch_of(&*member));
    for position in 1..=50_000 {
        group.commit(&epoch, &[(partition("in", 0), position)]).expect("committed");
    }
    let bytes = fs::metadata(directory.path().join("journal")).expect("there").len();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    drop((member, group, log));
    assert_eq!(committed_position(&open(&directory)), Some(50_000));
}

#[test]
fn generations_go_on_after_reopening() {
    let directory = temporary();
    let log = open(&directory);
    let mut member = join(&log, "a");
    assert_eq!(event(&mut member), "joined a-1 in 1 as leader");
    drop((member, log));
    let mut member = join(&open(&directory), "a");
    assert_eq!(event(&mut member), "joined a-2 in 2 as leader", "epochs of before never come back");
}

#[test]
fn deleted_and_compacted_records_take_no_room() {
    let directory = temporary();
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    create(&log, "table", 1, &[("cleanup.policy", "compact")]);
    let value = "v".repeat(1_000);
    for topic in ["in", "table"] {
        write(&log, topic, &vec![("k", Some(&*value)); 8_000]);
    }
    log.admin().expect("admin").delete_records(&[(partition("in", 0), 7_999)]).expect("deleted");
    log.compact("table").expect("compacted");
    for topic in ["in", "table"] {
        let bytes = fs::metadata(partition_file(&directory, topic)).expect("there").len();
        assert!(bytes < 2 << 20, "{topic} has {bytes} bytes");
    }
    let before = committed(&log, "table");
    drop(log);
    let log = open(&directory);
    assert_eq!(committed(&log, "table"), before);
    assert_eq!(read(&log, &partition("in", 0), Isolation::ReadCommitted).0.len(), 1);
}

#[test]
fn a_topic_keeps_its_id_and_one_that_is_made_anew_has_another() {
    let directory = temporary();
    let id = |log: &EmbeddedLog| log.admin().expect("admin").topics(&["in"]).expect("known")[0].id.expect("given");
    let log = open(&directory);
    create(&log, "in", 1, &[]);
    let first = id(&log);
    drop(log);

    let log = open(&directory);
    assert_eq!(id(&log), first);
    log.admin().and_then(|mut admin| admin.delete_topics(&["in"])).expect("deleted");
    create(&log, "in", 1, &[]);
    let second = id(&log);
    assert_ne!(second, first);
    log.connection.with(|state, _| {
        let entries = state.snapshot();
        state.disk.as_mut().expect("it lies in a directory").rewrite_journal(&entries).expect("written anew");
    });
    drop(log);
    assert_eq!(id(&open(&directory)), second);
}
