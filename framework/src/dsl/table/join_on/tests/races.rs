//! Changes of both tables that overtake each other: tasks of several partitions, whose records are processed in any order
//! that the log allows, that of each partition; and updates that wait for commits.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    rc::Rc,
    sync::Arc,
};

use proptest::{prelude::*, sample::Index};

use super::{Rows, expected, inner, joins, left, resolved, update};
use crate::{
    dsl::TopologyBuilder,
    log::{Headers, Partitioner, RecordRef},
    processor::{Context, Globals, Handlers, Output, ProcessError},
    serde::Serdes,
    state::{Direction, StateSettings, TaskId, TaskStores},
    topology::{Processors, Resolved, StoreLocation},
};

const PARTITIONS: i32 = 3;

/// A record that waits: key, value, time.
type Waiting = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// What waits in each partition of each topic. Topics that no one reads are left aside.
#[derive(Default)]
struct Topics {
    waiting: BTreeMap<(Arc<str>, i32), VecDeque<Waiting>>,
    partitioner: Partitioner,
}

/// All tasks of a topology.
struct World {
    resolved: Resolved,
    topics: Rc<RefCell<Topics>>,
    tasks: BTreeMap<TaskId, (Processors, Context)>,
}

// === impl Topics ===

impl Output for Topics {
    fn send(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        partition_key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        let partition = self.partitioner.partition(partition_key, PARTITIONS);
        self.send_to(topic, partition, key, value, timestamp_ms, headers)
    }

    fn send_to(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        if let Some(waiting) = self.waiting.get_mut(&(Arc::clone(topic), partition)) {
            waiting.push_back((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), timestamp_ms));
        }
        Ok(())
    }
}

// === impl World ===

impl World {
    fn new(write: impl Fn(&TopologyBuilder), coalesced: bool) -> Self {
        let resolved = resolved(write).coalesce_all(coalesced);
        let topics = Rc::new(RefCell::new(Topics::default()));
        let mut tasks = BTreeMap::new();
        for part in &resolved.sub_topologies {
            for partition in 0..PARTITIONS {
                let id = TaskId::new(part.id, partition);
                let stores =
                    TaskStores::open(&StateSettings::default(), id, Arc::clone(&part.stores)).expect("in memory");
                let output = Rc::clone(&topics) as Rc<RefCell<dyn Output>>;
                let ctx = Context::new(id, stores, Arc::new(Globals::none()), output);
                tasks.insert(id, (resolved.instantiate(part.id).expect("it is there"), ctx));
                let mut topics = topics.borrow_mut();
                part.sources
                    .iter()
                    .for_each(|topic| drop(topics.waiting.insert((Arc::clone(topic), partition), VecDeque::new())));
            }
        }
        Self { resolved, topics, tasks }
    }

    fn feed(&self, topic: &str, key: &str, value: Option<&str>, timestamp_ms: i64) {
        let (topic, key, value) = (Arc::from(topic), Some(key.as_bytes()), value.map(str::as_bytes));
        let fed = self.topics.borrow_mut().send(&topic, key, key, value, timestamp_ms, &Headers::default());
        fed.expect("nothing fails here");
    }

    /// Processes the first record of one of the partitions that have any; `false` when none has.
    fn step(&mut self, pick: Index) -> bool {
        let mut topics = self.topics.borrow_mut();
        let mut busy: Vec<_> = topics.waiting.iter_mut().filter(|(_, waiting)| !waiting.is_empty()).collect();
        if busy.is_empty() {
            return false;
        }
        let ((topic, partition), waiting) = busy.swap_remove(pick.index(busy.len()));
        let ((key, value, timestamp_ms), topic, partition) =
            (waiting.pop_front().expect("it is not empty"), Arc::clone(topic), *partition);
        drop(topics);
        let mut readers = self.resolved.sub_topologies.iter();
        let reader = readers.find_map(|part| Some((part.id, part.sources.iter().position(|it| *it == topic)?)));
        let (sub_topology, source) = reader.expect("all that waits is read");
        let (processors, ctx) = self.tasks.get_mut(&TaskId::new(sub_topology, partition)).expect("all tasks are there");
        let headers = Headers::default();
        let (key, value) = (key.as_deref(), value.as_deref());
        let record = RecordRef { offset: 0, timestamp_ms, key, value, headers: headers.as_ref() };
        processors.process(ctx, source, record, headers.clone()).expect("processed");
        if pick.index(5) == 0 {
            commit(processors, ctx);
        }
        true
    }

    fn commit_all(&mut self) {
        self.tasks.values_mut().for_each(|(processors, ctx)| commit(processors, ctx));
    }

    fn rows(&mut self, store: &str) -> Rows {
        let Some(StoreLocation::Tasks { sub_topology, id, .. }) = self.resolved.store(store) else {
            panic!("no {store}")
        };
        let mut rows = Rows::new();
        for (_, (_, ctx)) in self.tasks.iter_mut().filter(|(task, _)| task.sub_topology == sub_topology) {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
            let scanned = ctx.stores_mut().scan(id, .., Direction::Forward, |key, row| {
                rows.insert(text(key), text(row.value));
                ControlFlow::Continue(())
            });
            scanned.expect("in memory");
        }
        rows
    }
}

/// Passes on the updates that wait.
fn commit(processors: &mut Processors, ctx: &mut Context) {
    let judged = processors.flush(ctx, &Handlers::default()).expect("nothing fails here");
    assert!(judged.is_none(), "nothing fails here");
}

/// Inner and left join of a table with itself.
fn self_joins(topology: &TopologyBuilder) {
    let table = topology.table("left", Serdes::default());
    let _kept = inner(&table, &table).materialized("inner");
    let _kept = left(&table, &table).materialized("left");
}

/// Of the left table or not, key, value, time.
type Update = (bool, char, Option<String>, i64);

/// Updates, each followed by some steps.
fn history() -> impl Strategy<Value = Vec<(Update, Vec<Index>)>> {
    prop::collection::vec((update(), prop::collection::vec(any::<Index>(), 0..4)), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// In whatever order partitions are processed: in the end the rows of the joins are those of joining the tables.
    #[test]
    fn in_the_end_the_rows_are_those_of_joining_the_tables(
        history in history(),
        rest in prop::collection::vec(any::<Index>(), 40),
        with_itself in any::<bool>(),
        coalesced in any::<bool>(),
    ) {
        let mut world = World::new(if with_itself { self_joins } else { joins }, coalesced);
        let (mut left, mut right) = (Rows::new(), Rows::new());
        for ((is_left, key, value, at), steps) in history {
            // Of a table that is joined with itself, also those rows change that are referred to.
            let (topic, key) = if is_left || with_itself { ("left", key.to_string()) } else { ("right", key.to_string()) };
            world.feed(topic, &key, value.as_deref(), at);
            let rows = if topic == "left" { &mut left } else { &mut right };
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
            for pick in steps {
                world.step(pick);
            }
        }
        let mut picks = rest.into_iter().cycle();
        let mut steps = 0;
        // What waits is passed on by a commit, and what comes of that waits again, at most at the next table.
        for _ in 0..4 {
            while world.step(picks.next().expect("they go round")) {
                steps += 1;
                prop_assert!(steps < 10_000, "they never end");
            }
            world.commit_all();
        }
        let right = if with_itself { &left } else { &right };
        prop_assert_eq!(world.rows("inner"), expected(&left, right, false));
        prop_assert_eq!(world.rows("left"), expected(&left, right, true));
    }
}
