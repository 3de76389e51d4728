//! Reopened state equals what was acknowledged: any history, on disk and in memory.

use proptest::prelude::*;

use super::*;

/// A step of a history. There are two partitions and one transactional id.
#[derive(Debug, Clone)]
enum Step {
    Append { partition: i32, key: u8, tombstone: bool },
    Begin,
    AppendInTransaction { partition: i32, key: u8 },
    SendOffsets { position: i64 },
    Commit,
    Abort,
    CommitOffsets { position: i64 },
    DeleteRecords { partition: i32 },
    Compact,
    Recreate,
    Restart,
}

/// A log with the clients that a history needs.
struct Played {
    log: EmbeddedLog,
    producer: Box<dyn Producer>,
    transactional: Box<dyn TransactionalProducer>,
    member: Box<dyn Membership>,
}

/// Everything of a topic that clients can learn.
type Dump = (Vec<(Vec<Seen>, i64, i64)>, Vec<Option<i64>>);

const TOPIC: &str = "table";

fn step() -> impl Strategy<Value = Step> {
    let (partition, key, position) = (0..2_i32, 0..5_u8, 0..100_i64);
    prop_oneof![
        4 => (partition.clone(), key.clone(), any::<bool>())
            .prop_map(|(partition, key, tombstone)| Step::Append { partition, key, tombstone }),
        2 => Just(Step::Begin),
        4 => (partition.clone(), key).prop_map(|(partition, key)| Step::AppendInTransaction { partition, key }),
        2 => position.clone().prop_map(|position| Step::SendOffsets { position }),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => position.prop_map(|position| Step::CommitOffsets { position }),
        1 => partition.prop_map(|partition| Step::DeleteRecords { partition }),
        1 => Just(Step::Compact),
        1 => Just(Step::Recreate),
        1 => Just(Step::Restart),
    ]
}

// === impl Played ===

impl Played {
    fn new(log: EmbeddedLog) -> Self {
        create_table(&log);
        let mut member = join(&log, "a");
        event(&mut member);
        let (producer, transactional) = (log.producer().expect("producer"), transactional(&log, "id"));
        Self { log, producer, transactional, member }
    }

    /// Plays a step. Steps that make no sense here, such as a commit without a transaction, fail and change nothing.
    fn play(&mut self, step: &Step, number: usize) -> Result<(), LogError> {
        let (group, epoch) = (self.member.group(), epoch_of(&*self.member));
        let value = number.to_string();
        match *step {
            Step::Append { partition, key, tombstone } => {
                append_to(&mut *self.producer, partition, key, (!tombstone).then_some(&value))
            }
            Step::Begin => self.transactional.begin(),
            Step::AppendInTransaction { partition, key } => {
                append_to(&mut *self.transactional, partition, key, Some(&value))
            }
            Step::SendOffsets { position } => {
                self.transactional.send_offsets(&[(partition(TOPIC, 1), position)], &group.metadata(&epoch)?)
            }
            Step::Commit => self.transactional.commit(SHORT),
            Step::Abort => self.transactional.abort(SHORT),
            Step::CommitOffsets { position } => group.commit(&epoch, &[(partition(TOPIC, 0), position)]),
            Step::DeleteRecords { partition: index } => {
                let source = partition(TOPIC, index);
                let end = self.log.reader(Isolation::ReadUncommitted)?.end_offset(&source)?;
                self.log.admin()?.delete_records(&[(source, end / 2)])
            }
            Step::Compact => self.log.compact(TOPIC),
            Step::Restart => Ok(()),
            Step::Recreate => {
                self.log.admin()?.delete_topics(&[TOPIC])?;
                create_table(&self.log);
                Ok(())
            }
        }
    }

    /// The instance dies; what it left open is aborted, and which tombstones a compaction met is forgotten.
    fn die(self) -> EmbeddedLog {
        let Self { log, .. } = self;
        transactional(&log, "id");
        log.connection.with(|state, _| {
            let partitions = state.topics.values_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| partition.tombstones = None);
        });
        log
    }
}

fn create_table(log: &EmbeddedLog) {
    create(log, TOPIC, 2, &[("cleanup.policy", "compact")]);
}

fn append_to(
    producer: &mut (impl Producer + ?Sized),
    partition: i32,
    key: u8,
    value: Option<&String>,
) -> Result<(), LogError> {
    producer.append(Append {
        topic: &Arc::from(TOPIC),
        partition,
        key: Some(&[b'a' + key]),
        value: value.map(String::as_bytes),
        timestamp_ms: 7,
        headers: &Headers::new([("h", None)]),
    })?;
    producer.flush(SHORT)
}

fn dump(log: &EmbeddedLog) -> Dump {
    let sources = [partition(TOPIC, 0), partition(TOPIC, 1)];
    let partitions = sources.iter().map(|source| {
        let (seen, end) = read(log, source, Isolation::ReadCommitted);
        (seen, log.reader(Isolation::ReadCommitted).expect("reader").beginning_offset(source).expect("known"), end)
    });
    (partitions.collect(), join(log, "dump").group().committed(&sources, SHORT).expect("nothing is pending"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_reopened_log_has_what_a_log_in_memory_has(steps in prop::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut in_memory = Played::new(simulated().0);
        let mut on_disk = Played::new(EmbeddedLog::open(directory.path()).expect("opened"));
        for (number, step) in steps.iter().enumerate() {
            prop_assert_eq!(in_memory.play(step, number), on_disk.play(step, number), "{:?}", step);
            if matches!(step, Step::Restart) {
                in_memory = Played::new(in_memory.die());
                drop(on_disk);
                on_disk = Played::new(EmbeddedLog::open(directory.path()).expect("reopened"));
            }
        }
        let expected = dump(&in_memory.die());
        drop(on_disk);
        let reopened = EmbeddedLog::open(directory.path()).expect("reopened");
        prop_assert_eq!(dump(&reopened), expected);
    }
}
