//! Joins of tables whose updates wait: after each commit there is what joins of tables are whose updates do not wait.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    dsl::{Table, TopologyBuilder},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Serdes<String, String>;

/// How the tables are joined.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Outer,
    /// By the first letter of the left value.
    InnerOn,
    LeftOn,
}

/// What the left table is.
#[derive(Debug, Clone, Copy)]
enum Input {
    Read,
    Filtered,
    Mapped,
    /// Its rows are kept, and those of the table it is made of.
    MappedAndKept,
    Aggregated,
}

/// Whose updates wait.
#[derive(Debug, Clone, Copy)]
struct Waits {
    left: bool,
    /// Of the table that the left one is made of.
    source: bool,
    right: bool,
    result: bool,
    third: bool,
}

const NOBODY: Waits = Waits { left: false, source: false, right: false, result: false, third: false };

#[derive(Debug, Clone)]
enum Step {
    /// Topic, key, value, time.
    Update(&'static str, char, Option<String>, i64),
    Commit,
}

fn keep<'t>(table: Table<'t, String, String>, name: &str, waits: bool) -> Table<'t, String, String> {
    let kept = table.materialized(name);
    if waits { kept.coalesced() } else { kept }.into()
}

fn read<'t>(topology: &'t TopologyBuilder, topic: &str, waits: bool) -> Table<'t, String, String> {
    keep(topology.table(topic, Text::default()), topic, waits)
}

fn left<'t>(topology: &'t TopologyBuilder, input: Input, waits: Waits) -> Table<'t, String, String> {
    match input {
        Input::Read => read(topology, "left", waits.left),
        Input::Filtered => read(topology, "left", waits.source).filter(|_, value| !value.ends_with('0')),
        Input::Mapped => read(topology, "left", waits.source).map_values(|_, value| format!("{value}m")),
        Input::MappedAndKept => {
            let mapped = read(topology, "left", waits.source).map_values(|_, value| format!("{value}m"));
            keep(mapped, "mapped", waits.left)
        }
        Input::Aggregated => {
            let last = topology.stream("left", Text::default()).group_by_key().reduce(|_, new| new.clone());
            keep(last, "left", waits.left)
        }
    }
}

fn write(topology: &TopologyBuilder, kind: Kind, input: Input, waits: Waits) {
    let (left, right) = (left(topology, input, waits), read(topology, "right", waits.right));
    let referred = |_: &String, value: &String| value.get(..1).map(str::to_owned).filter(|key| key != "n");
    let joined = match kind {
        Kind::Inner => left.join(&right, |_, left, right| format!("{left}+{right}")),
        Kind::Left => left.left_join(&right, |_, left, right| format!("{left}+{right:?}")),
        Kind::Outer => left.outer_join(&right, |_, left, right| format!("{left:?}+{right:?}")),
        Kind::InnerOn => left.join_on(&right, referred, |_, left, right| format!("{left}+{right}")),
        Kind::LeftOn => left.left_join_on(&right, referred, |_, left, right| format!("{left}+{right:?}")),
    };
    let joined = keep(joined, "joined", waits.result);
    joined.to_stream().to("joined-out");
    joined
        .group_by(|_, value| (value.clone(), 1_i64))
        .reduce(|a, b| a + b, |a, b| Some(a - b).filter(|rest| *rest != 0))
        .materialized("groups");
    let third = read(topology, "third", waits.third);
    let again = third.left_join(&joined, |_, third, joined| format!("{third}+{joined:?}"));
    again.materialized("again").to_stream().to("again-out");
}

/// A topology under test, and the last results of each key on its topics.
struct Subject {
    driver: TopologyTestDriver,
    last: BTreeMap<(String, String), String>,
}

/// What can be compared: rows and last results.
type Found = (Vec<Vec<(String, String)>>, Vec<(String, i64)>, BTreeMap<(String, String), String>);

// === impl Subject ===

impl Subject {
    fn new(kind: Kind, input: Input, waits: Waits) -> Self {
        let topology = Topology::builder("test");
        write(&topology, kind, input, waits);
        let topology = topology.build().expect("a correct topology");
        let driver = TopologyTestDriver::new(&topology).expect("state in memory").commit_on_request();
        Self { driver, last: BTreeMap::new() }
    }

    fn update(&mut self, topic: &str, key: char, value: Option<&String>, at: i64) {
        let topic = TestTopic::new(topic, Serdes::<String, Option<String>>::default());
        self.driver.pipe(&topic, &key.to_string(), &value.cloned(), at).expect("processed");
    }

    fn found_after_commit(&mut self) -> Found {
        self.driver.commit().expect("committed");
        for record in self.driver.outputs() {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
            let id = (record.topic.to_string(), text(record.key.expect("a key of the table")));
            match record.value {
                Some(value) => self.last.insert(id, text(value)),
                None => self.last.remove(&id),
            };
        }
        let rows = |store: &str| {
            let rows = self.driver.rows(store, &Text::default()).expect("a store of text");
            rows.into_iter().map(|(key, value, _)| (key, value)).collect()
        };
        let groups = self.driver.rows("groups", &Serdes::<String, i64>::default()).expect("the store of the groups");
        let groups = groups.into_iter().map(|(key, count, _)| (key, count)).collect();
        (["joined", "again"].map(rows).into(), groups, self.last.clone())
    }
}

fn waits() -> impl Strategy<Value = Waits> {
    any::<[bool; 5]>().prop_map(|[left, source, right, result, third]| Waits { left, source, right, result, third })
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Inner, Kind::Left, Kind::Outer, Kind::InnerOn, Kind::LeftOn])
}

fn inputs() -> impl Strategy<Value = Input> {
    prop::sample::select(vec![Input::Read, Input::Filtered, Input::Mapped, Input::MappedAndKept, Input::Aggregated])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = prop::sample::select(vec!["left", "left", "right", "right", "third"]);
    let key = || prop::sample::select(vec!['a', 'b']);
    let value = (prop::sample::select(vec!['a', 'b', 'n']), 0..3_u8).prop_map(|(key, n)| format!("{key}{n}"));
    let update = (topic, key(), prop::option::weighted(0.7, value), 0..50_i64);
    let step = prop_oneof![
        5 => update.prop_map(|(topic, key, value, at)| Step::Update(topic, key, value, at)),
        1 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_each_commit_rows_and_last_results_are_those_of_tables_that_do_not_wait(
        kind in kinds(),
        input in inputs(),
        waits in waits(),
        steps in steps(),
    ) {
        let mut subjects = [Subject::new(kind, input, NOBODY), Subject::new(kind, input, waits)];
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                // Nothing is deleted from what was aggregated.
                Step::Update("left", _, None, _) if matches!(input, Input::Aggregated) => {}
                Step::Update(topic, key, value, at) => {
                    subjects.iter_mut().for_each(|subject| subject.update(topic, key, value.as_ref(), at));
                }
                Step::Commit => {
                    let [expected, found] = subjects.each_mut().map(Subject::found_after_commit);
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
