//! A process that is killed while it commits.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;

/// Where the child keeps its state; unset when it is run by hand.
const DIRECTORY: &str = "MILLPOND_TEST_CRASH_DIRECTORY";
/// Commits that the child reports before it is killed; its write buffers hold about ten.
const COMMITS: i64 = 150;
const WRITES: i64 = 200;
const KEYS: i64 = 3000;

type Rows = BTreeMap<(StoreId, Vec<u8>), Vec<u8>>;

/// The writes of a commit: a function of its number, so that parent and child need not talk.
fn writes(commit: i64) -> impl Iterator<Item = (StoreId, Vec<u8>, Option<Vec<u8>>)> {
    (0..WRITES).map(move |i| {
        let key = (commit * 37 + i * 101) % KEYS;
        let value = (i % 7 != 0).then(|| commit.to_be_bytes().repeat(20));
        (if key % 2 == 0 { A } else { B }, key.to_be_bytes().to_vec(), value)
    })
}

fn point_of(commit: i64) -> CommitPoint {
    point(&[(A, commit * 10), (B, commit * 10 + 1)], commit)
}

/// What a small budget makes flush often.
fn small(state_dir: &Path) -> StateSettings {
    StateSettings { memory: MemoryBudget::new(2 << 20), ..on_disk(state_dir) }
}

#[test]
#[ignore = "the child of `a_killed_process_leaves_a_commit_with_its_offsets`"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let mut stores = open(&small(Path::new(&directory)), &["a", "b"]).expect("new stores");
    for commit in 1.. {
        for (store, key, value) in writes(commit) {
            stores.write(store, &key, value.as_deref(), commit);
        }
        freeze(&mut stores);
        stores.commit(&point_of(commit)).expect("a writable store");
        println!("\ncommitted {commit}");
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.0.kill();
        self.0.wait().expect("a child can be waited for");
    }
}

#[test]
fn a_killed_process_leaves_a_commit_with_its_offsets() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let child = Command::new(env::current_exe().expect("this test's own program"))
        .args(["--exact", "state::tests::crash::child", "--ignored", "--nocapture"])
        .env(DIRECTORY, state_dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test's own program");
    let mut child = Killed(child);
    let reports = BufReader::new(child.0.stdout.take().expect("piped"));
    let reported = reports
        .lines()
        .filter_map(|line| line.expect("text").strip_prefix("committed ")?.parse::<i64>().ok())
        .find(|commit| *commit >= COMMITS);
    assert_eq!(reported, Some(COMMITS), "the child ended before it was killed");
    drop(child);

    let mut stores = open(&small(state_dir.path()), &["a", "b"]).expect("the lock died with the child");
    let commit = *stores.committed().positions.values().next().expect("something was flushed before the kill");
    assert!(commit > 0, "{commit}");
    assert_eq!(stores.committed(), &point_of(commit));

    let mut expected = Rows::new();
    for (store, key, value) in (1..=commit).flat_map(writes) {
        match value {
            Some(value) => expected.insert((store, key), value),
            None => expected.remove(&(store, key)),
        };
    }
    let mut found = Rows::new();
    for store in [A, B] {
        let add = |key: &[u8], row: Row<'_>| {
            found.insert((store, key.to_vec()), row.value.to_vec());
            std::ops::ControlFlow::Continue(())
        };
        stores.scan(store, .., Direction::Forward, add).expect("a readable store");
    }
    assert!(found == expected, "the rows are not those of commit {commit}");
}
