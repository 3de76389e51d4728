//! The follower on an embedded log, turn by turn.

use std::{collections::BTreeMap, error::Error, fs, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};
use tempfile::TempDir;

use super::{Order, follower::Follower};
use crate::{
    config::{Guarantee, MemoryShares, Timestamps},
    log::{
        Append, Headers, Isolation, Log, MembershipOptions, NewTopic, TopicPartition, TransactionalProducer,
        embedded::EmbeddedLog,
    },
    metrics::Metrics,
    processor::{Globals, Handlers},
    runtime::{
        HandedOver, Hosted, HostedState, OsThreads, Report, RuntimeSettings, Shared, Taker, hand_over,
        restore::{Begun, ChangelogIds, Changelogs, Restore, Until},
        threads::Turns as _,
    },
    serde::Serdes,
    state::{MemoryBudget, Role, StateDir, StateSettings, StoreId, TaskId, TaskStores},
    time::{Clock, ManualClock},
    topology::Topology,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const TASK: TaskId = TaskId::new(0, 0);
const OTHER: TaskId = TaskId::new(0, 1);
const STORE: StoreId = StoreId::new(0);
const CHANGELOG: &str = "counts-count-changelog";
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any interval between two looks or tries.
const STEP: Duration = Duration::from_secs(3);

/// A follower, and the log on which the active task writes.
struct Bed {
    log: EmbeddedLog,
    clock: ManualClock,
    state: TempDir,
    active: Box<dyn TransactionalProducer>,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    follower: Follower,
}

// === impl Bed ===

impl Bed {
    fn new(acceptable_lag: u64) -> Result<Self> {
        let clock = ManualClock::new(1_000_000);
        let log = EmbeddedLog::builder().simulated(Arc::new(clock.clone())).build()?;
        let topics = [("in", 2), (CHANGELOG, 2), ("coordination", 1)].map(|(name, partitions)| NewTopic {
            name: name.into(),
            partitions,
            replication_factor: None,
            config: BTreeMap::new(),
        });
        log.admin()?.create_topics(&topics)?;
        let mut active = log.transactional_producer("active", Duration::from_secs(60))?;
        active.init(PATIENCE)?;
        let state = tempfile::tempdir()?;
        Self::open(log, clock, state, active, acceptable_lag)
    }

    fn open(
        log: EmbeddedLog,
        clock: ManualClock,
        state: TempDir,
        active: Box<dyn TransactionalProducer>,
        acceptable_recovery_lag: u64,
    ) -> Result<Self> {
        let topology = Topology::builder("counts");
        topology.stream("in", Serdes::<String, i64>::json()).group_by_key().count().materialized("count").queryable();
        let topology = Arc::new(topology.build()?.resolve("counts"));
        let membership = log.join(MembershipOptions {
            group_id: "counts".into(),
            client_id: "a".into(),
            coordination_topic: "coordination".into(),
            session_timeout: PATIENCE,
            max_poll_interval: PATIENCE,
        })?;
        let settings = StateSettings {
            dir: Some(Arc::new(StateDir::open(state.path(), "counts")?)),
            memory: MemoryBudget::new(8 << 20),
        };
        let globals = TaskStores::open_global(&StateSettings::default(), [].into())?;
        let shared = Arc::new(Shared {
            log: Arc::new(log.connect()),
            clock: Arc::new(clock.clone()),
            threads: Arc::new(OsThreads),
            metrics: Metrics::new()?,
            sub_topologies: topology.sub_topologies.iter().cloned().map(Arc::new).collect(),
            topology,
            partitions: Arc::new([("in".into(), 2), (CHANGELOG.into(), 2)].into()),
            globals: Arc::new(Globals::new(globals.view())),
            handlers: Handlers::default(),
            state: settings,
            group: membership.group(),
            hosted: Arc::new(Hosted::default()),
            settings: RuntimeSettings {
                guarantee: Guarantee::ExactlyOnce,
                commit_interval: Duration::from_millis(100),
                transaction_timeout: PATIENCE,
                max_task_idle: None,
                memory: MemoryShares::of(64 << 20, 1),
                timestamps: Timestamps::Record,
                offset_reset: None,
                threads: 1,
                acceptable_recovery_lag,
            },
            transactional_prefix: "counts/a".into(),
            progress: Vec::new(),
            metadata: TopicPartition::new("counts-metadata", 0),
            metadata_read: 0.into(),
            stopping: false.into(),
        });
        let ((orders, to_obey), (report, reports)) = (bounded(100), bounded(1000));
        let follower = Follower::open(Arc::clone(&shared), to_obey, report)?;
        Ok(Self { log, clock, state, active, shared, orders, reports, follower })
    }

    /// The process dies and starts again: stores are not closed in order.
    fn crash_and_start(self, acceptable_lag: u64) -> Result<Self> {
        let Self { log, clock, state, active, shared, orders, follower, .. } = self;
        drop((follower, orders, shared));
        Self::open(log, clock, state, active, acceptable_lag)
    }

    /// Appends a record to the changelog of a task within the open transaction.
    fn append(&mut self, task: TaskId, key: &str, value: i64) -> Result {
        let (topic, headers) = (Arc::from(CHANGELOG), &Headers::default());
        // Timestamp and value, as the store has it.
        let value = [&1_i64.to_be_bytes()[..], value.to_string().as_bytes()].concat();
        let (key, value) = (Some(key.as_bytes()), Some(&value[..]));
        let partition = task.partition;
        Ok(self.active.append(Append { topic: &topic, partition, key, value, timestamp_ms: 1, headers })?)
    }

    fn commit(&mut self, records: &[(TaskId, &str, i64)]) -> Result {
        self.active.begin()?;
        for (task, key, value) in records {
            self.append(*task, key, *value)?;
        }
        self.active.flush(PATIENCE)?;
        Ok(self.active.commit(PATIENCE)?)
    }

    fn order(&self, order: Order) -> Result {
        Ok(self.orders.send(order)?)
    }

    fn follow(&mut self, task: TaskId) -> Result<Vec<Report>> {
        self.order(Order::Follow { task, role: Role::Standby })?;
        Ok(self.turns())
    }

    /// As many turns as it takes until there is nothing more to do; what was reported.
    fn turns(&mut self) -> Vec<Report> {
        for _ in 0..10 {
            assert!(
                self.follower.turn(Duration::ZERO),
                "it has ended: {:?}",
                self.reports.try_iter().collect::<Vec<_>>()
            );
            self.clock.advance(STEP);
        }
        self.reports.try_iter().collect()
    }

    /// What a query finds at the standby.
    fn value(&self, task: TaskId, key: &str) -> Result<Option<String>> {
        let hosted = self.shared.hosted.get(task).ok_or("it is not hosted")?;
        assert_eq!(hosted.role, Role::Standby);
        let row = hosted.view.get(STORE, key.as_bytes())?;
        Ok(row.map(|(value, _)| String::from_utf8_lossy(&value[8.min(value.len())..]).into_owned()))
    }

    fn lag(&self, task: TaskId) -> Option<u64> {
        self.shared.hosted.get(task)?.lag()
    }

    fn applied(&self, task: TaskId) -> u64 {
        self.shared.metrics.standby_records.with_label_values(&[&task.to_string()]).get()
    }

    /// How many records a worker would restore with these stores.
    fn tail(&self, mut taker: Taker) -> Result<(TaskStores, u64)> {
        let Some(HandedOver::Stores(mut stores)) = taker.take() else { return Err("no stores are handed over".into()) };
        let specs = Arc::clone(stores.specs());
        let ids = ChangelogIds::new();
        let changelogs = Changelogs { specs: &specs, partition: 0, ids: &ids, until: Until::End };
        let mut reader = self.log.reader(Isolation::ReadCommitted)?;
        let mut watermarks = self.log.reader(Isolation::ReadUncommitted)?;
        let now = (self.clock.monotonic(), self.clock.now_ms());
        let Begun::Restore(mut restore) =
            Restore::begin(&mut stores, &changelogs, &mut *reader, &mut *watermarks, now)?
        else {
            return Err("the stores are of no use".into());
        };
        let mut records = 0;
        while !restore.is_done() {
            let fetched = reader.poll(1000, Duration::ZERO)?;
            for batch in &fetched.batches {
                records += batch.len() as u64;
                restore.apply(&mut stores, batch)?;
            }
            for event in fetched.events {
                if let crate::log::ReaderEvent::EndReached { partition, next_offset } = event {
                    restore.reached_end(&partition, next_offset, now.0);
                }
            }
            restore.settle(&mut *reader)?;
        }
        Ok((*stores, records))
    }
}

fn caught_up(reports: &[Report]) -> Vec<bool> {
    let news = reports.iter().filter_map(|report| match report {
        Report::Following { caught_up, .. } => Some(*caught_up),
        _ => None,
    });
    news.collect()
}

#[test]
fn only_what_is_committed_is_followed() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (TASK, "b", 1)])?;
    assert_eq!(caught_up(&bed.follow(TASK)?), [true], "ten records are acceptable");
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.lag(TASK)), (Some("1"), Some(0)));

    bed.active.begin()?;
    bed.append(TASK, "a", 2)?;
    bed.active.flush(PATIENCE)?;
    bed.turns();
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.lag(TASK)), (Some("1"), Some(1)), "it may be committed yet");
    bed.active.abort(PATIENCE)?;
    bed.turns();
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.lag(TASK)), (Some("1"), Some(0)));

    bed.commit(&[(TASK, "a", 3)])?;
    bed.turns();
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.applied(TASK)), (Some("3"), 3));
    Ok(())
}

#[test]
fn a_follower_says_how_far_it_is_and_when_it_falls_behind() -> Result {
    let mut bed = Bed::new(1)?;
    let many: Vec<_> = (0..6000).map(|n| (TASK, "a", n)).collect();
    bed.commit(&many)?;
    let reports = bed.follow(TASK)?;
    assert_eq!(caught_up(&reports), [false, true]);
    let mut offsets = reports.iter().rev().filter_map(|report| match report {
        Report::Following { offsets, .. } => offsets.get(&STORE).copied(),
        _ => None,
    });
    assert_eq!(offsets.next(), Some(6000), "told with the change");
    let hosted = bed.shared.hosted.get(TASK).ok_or("hosted")?;
    assert_eq!((hosted.state, hosted.restore.is_none()), (HostedState::Running, true));
    assert_eq!(hosted.followed.map(|followed| followed.ends.get(&STORE).copied()), Some(Some(6001)), "with the marker");

    bed.active.begin()?;
    for n in 0..1001 {
        bed.append(TASK, "a", n)?;
    }
    bed.active.flush(PATIENCE)?;
    assert_eq!(caught_up(&bed.turns()), [false], "more than it may lack");
    assert_eq!(bed.shared.hosted.get(TASK).map(|hosted| hosted.state), Some(HostedState::Restoring));
    bed.active.commit(PATIENCE)?;
    assert_eq!(caught_up(&bed.turns()), [true]);
    Ok(())
}

#[test]
fn a_promoted_task_restores_the_tail_alone() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (TASK, "b", 1), (OTHER, "c", 1)])?;
    bed.follow(TASK)?;
    bed.follow(OTHER)?;
    let (to, taker) = hand_over();
    bed.order(Order::HandOver { task: TASK, to })?;
    bed.turns();
    bed.commit(&[(TASK, "a", 2), (OTHER, "c", 2)])?;
    assert!(caught_up(&bed.turns()).is_empty());
    assert_eq!((bed.applied(TASK), bed.applied(OTHER)), (2, 2), "it is not followed any more, the other is");
    let (stores, restored) = bed.tail(taker)?;
    assert_eq!(restored, 1);

    // And back: nothing is restored again.
    let (giver, from) = hand_over();
    bed.order(Order::Take { task: TASK, role: Role::Standby, from })?;
    assert!(bed.turns().is_empty(), "it waits for the stores");
    assert!(giver.give(HandedOver::Stores(Box::new(stores))).is_ok());
    assert_eq!(caught_up(&bed.turns()), [true]);
    bed.commit(&[(TASK, "b", 2)])?;
    bed.turns();
    assert_eq!((bed.value(TASK, "b")?.as_deref(), bed.applied(TASK)), (Some("2"), 3));

    // What nobody takes is closed, and can be opened again.
    let (to, taker) = hand_over();
    drop(taker);
    bed.order(Order::HandOver { task: TASK, to })?;
    bed.order(Order::HandOver { task: TASK, to: hand_over().0 })?;
    assert_eq!(caught_up(&bed.follow(TASK)?), [true]);
    assert_eq!(bed.applied(TASK), 3);
    Ok(())
}

#[test]
fn what_is_not_there_is_not_handed_over() -> Result {
    let mut bed = Bed::new(10)?;
    let ((to, mut gone), (_giver, from)) = (hand_over(), hand_over());
    bed.order(Order::HandOver { task: TASK, to })?;
    bed.turns();
    assert!(matches!(gone.take(), Some(HandedOver::Gone)));

    // Promoted again before its stores have come: who gives them gives them on.
    let (to, mut passed) = hand_over();
    bed.order(Order::Take { task: TASK, role: Role::Standby, from })?;
    bed.order(Order::HandOver { task: TASK, to })?;
    bed.turns();
    assert!(passed.take().is_none());

    let (giver, from) = hand_over();
    bed.order(Order::Take { task: TASK, role: Role::Standby, from })?;
    assert!(giver.give(HandedOver::NotOpen).is_ok());
    assert_eq!(caught_up(&bed.turns()), [true], "it opens them itself");
    let (giver, from) = hand_over();
    bed.order(Order::Take { task: OTHER, role: Role::Standby, from })?;
    assert!(giver.give(HandedOver::Gone).is_ok());
    assert!(bed.turns().is_empty());
    assert!(bed.shared.hosted.get(OTHER).is_none());
    Ok(())
}

#[test]
fn after_a_crash_it_goes_on_from_what_was_on_disk() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (TASK, "b", 1)])?;
    bed.follow(TASK)?;
    let mut bed = bed.crash_and_start(10)?;
    bed.commit(&[(TASK, "a", 2)])?;
    bed.follow(TASK)?;
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.value(TASK, "b")?.as_deref()), (Some("2"), Some("1")));
    assert_eq!(bed.applied(TASK), 1);
    Ok(())
}

#[test]
fn state_that_was_followed_all_the_time_is_not_old() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1)])?;
    bed.follow(TASK)?;
    for _ in 0..3 {
        bed.clock.advance(Duration::from_secs(12 * 3600));
        bed.turns();
    }
    let mut bed = bed.crash_and_start(10)?;
    bed.follow(TASK)?;
    assert_eq!(bed.applied(TASK), 0, "it is a minute old, not a day and a half");
    Ok(())
}

#[test]
fn a_changelog_that_was_cut_off_is_followed_from_its_new_beginning() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (OTHER, "c", 1)])?;
    bed.follow(TASK)?;
    bed.follow(OTHER)?;
    bed.commit(&[(TASK, "b", 1), (TASK, "c", 1)])?;
    bed.log.admin()?.delete_records(&[(TopicPartition::new(CHANGELOG, 0), 3)])?;
    let reports = bed.turns();
    assert!(!reports.iter().any(|report| matches!(report, Report::Failed { .. })), "{reports:?}");
    assert_eq!((bed.value(TASK, "a")?, bed.value(TASK, "c")?.as_deref()), (None, Some("1")));
    assert_eq!(bed.value(OTHER, "c")?.as_deref(), Some("1"));
    assert!(bed.state.path().join("counts/damaged/0_0").exists(), "what the changelog lacks is kept");
    Ok(())
}

#[test]
fn a_task_that_fails_leaves_the_others_alone() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (OTHER, "c", 1)])?;
    bed.follow(TASK)?;
    bed.follow(OTHER)?;
    bed.order(Order::Release { task: TASK })?;
    let reports = bed.turns();
    assert!(matches!(&reports[..], [Report::Released { task: TASK, offsets: Some(_) }]), "{reports:?}");
    // The changelog is made anew: what is on this disk may be the last copy.
    let admin = &mut bed.log.admin()?;
    admin.delete_records(&[(TopicPartition::new(CHANGELOG, 0), 2)])?;
    bed.order(Order::Follow { task: TaskId::new(0, 5), role: Role::Standby })?;
    let reports = bed.turns();
    assert!(matches!(&reports[..], [Report::Failed { .. }]), "{reports:?}");
    bed.commit(&[(OTHER, "c", 2)])?;
    bed.turns();
    assert_eq!(bed.value(OTHER, "c")?.as_deref(), Some("2"));
    Ok(())
}

#[test]
fn it_goes_on_when_the_log_is_back() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1)])?;
    bed.follow(TASK)?;
    let current_at = |bed: &Bed| bed.shared.hosted.get(TASK).and_then(|hosted| hosted.followed?.current_at);
    let before = current_at(&bed);
    bed.turns();
    assert!(current_at(&bed) > before, "it stays current without records");
    let before = current_at(&bed);
    bed.log.set_available(false);
    bed.order(Order::Follow { task: OTHER, role: Role::Standby })?;
    let reports = bed.turns();
    assert!(reports.iter().any(|report| matches!(report, Report::LogUnavailable { .. })), "{reports:?}");
    assert!(reports.iter().all(|report| !matches!(report, Report::Failed { .. })), "{reports:?}");
    assert_eq!(bed.value(TASK, "a")?.as_deref(), Some("1"), "it can be read meanwhile");
    assert!(
        current_at(&bed) <= before.map(|at| at + STEP),
        "and says as of when it is: {before:?}, {:?}",
        current_at(&bed)
    );
    bed.log.set_available(true);
    bed.commit(&[(TASK, "a", 2), (OTHER, "c", 1)])?;
    assert_eq!(caught_up(&bed.turns()), [true], "the other has begun");
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.value(OTHER, "c")?.as_deref()), (Some("2"), Some("1")));
    assert!(current_at(&bed) > before.map(|at| at + STEP));
    Ok(())
}

#[test]
fn damage_that_a_query_meets_is_rebuilt() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1)])?;
    bed.follow(TASK)?;
    bed.order(Order::Release { task: TASK })?;
    bed.follow(TASK)?;
    for file in fs::read_dir(bed.state.path().join("counts/tasks/0_0/rocksdb"))? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "sst") {
            let bytes = fs::read(&file)?.len();
            fs::write(&file, vec![0x55; bytes])?;
        }
    }
    bed.value(TASK, "a").expect_err("it is damaged");
    bed.turns();
    assert_eq!(bed.value(TASK, "a")?.as_deref(), Some("1"));
    assert!(bed.state.path().join("counts/damaged/0_0").exists());
    Ok(())
}

#[test]
fn everything_is_dropped_and_kept_on_disk() -> Result {
    let mut bed = Bed::new(10)?;
    bed.commit(&[(TASK, "a", 1), (OTHER, "c", 1)])?;
    bed.follow(TASK)?;
    bed.follow(OTHER)?;
    bed.order(Order::DropAll)?;
    let reports = bed.turns();
    assert!(matches!(&reports[..], [Report::FollowersDropped]), "{reports:?}");
    assert!(bed.shared.hosted.all().is_empty());
    bed.commit(&[(TASK, "a", 2)])?;
    bed.turns();
    bed.follow(TASK)?;
    assert_eq!((bed.value(TASK, "a")?.as_deref(), bed.applied(TASK)), (Some("2"), 2));
    bed.order(Order::FollowAs { task: TASK, role: Role::WarmUp })?;
    bed.turns();
    assert_eq!(bed.shared.hosted.get(TASK).map(|hosted| hosted.role), Some(Role::WarmUp));
    Ok(())
}
