//! Joins of tables against what Kafka Streams says they are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Topology,
    dsl::{Table, TopologyBuilder},
    processor::Record,
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Option<String>;
/// Value and timestamp.
type Row = (String, i64);
/// Topic, key, value and timestamp of a result.
type Output = (&'static str, String, Text, i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Outer,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: Kind,
    /// Whether the left table has only the rows that pass a filter.
    filtered: bool,
    /// Whether the rows of the join are kept.
    kept: bool,
}

/// An update of the left table or of the right one.
#[derive(Debug, Clone)]
struct Update {
    left: bool,
    key: Text,
    value: Text,
    at: i64,
}

/// Both tables as they are, and what came of it.
struct Model {
    shape: Shape,
    left: BTreeMap<String, Row>,
    right: BTreeMap<String, Row>,
    joined: BTreeMap<String, Row>,
    dropped: u64,
    outputs: Vec<Output>,
}

// === impl Shape ===

impl Shape {
    fn any(kind: Kind) -> impl Strategy<Value = Self> {
        any::<(bool, bool)>().prop_map(move |(filtered, kept)| Self { kind, filtered, kept })
    }

    fn write(self, topology: &TopologyBuilder) {
        let [left, right] = ["left", "right"].map(|topic| topology.table(topic, Serdes::<String, String>::default()));
        let left = if self.filtered { left.filter(|_, value| passes(value)) } else { left };
        let joined = match self.kind {
            Kind::Inner => left.join(&right, |_, left, right| show(Some(left), Some(right))),
            Kind::Left => left.left_join(&right, |_, left, right| show(Some(left), right.map(String::as_str))),
            Kind::Outer => {
                left.outer_join(&right, |_, left, right| show(left.map(String::as_str), right.map(String::as_str)))
            }
        };
        let joined: Table<'_, _, _> = if self.kept { joined.materialized("joined").into() } else { joined };
        joined.to_stream().to("all");
        joined.filter(|_, value| passes(value)).to_stream().to("some");
    }

    /// What is joined, if the join has a row for it.
    fn join(self, left: Option<&str>, right: Option<&str>) -> Text {
        let has_row = match self.kind {
            Kind::Inner => left.is_some() && right.is_some(),
            Kind::Left => left.is_some(),
            Kind::Outer => left.is_some() || right.is_some(),
        };
        has_row.then(|| show(left, right))
    }
}

// === impl Model ===

impl Model {
    fn new(shape: Shape) -> Self {
        let (left, right, joined, outputs) = Default::default();
        Self { shape, left, right, joined, dropped: 0, outputs }
    }

    /// A row as the join sees it.
    fn row(&self, left: bool, key: &str) -> Option<Row> {
        let rows = if left { &self.left } else { &self.right };
        rows.get(key).filter(|(value, _)| !left || !self.shape.filtered || passes(value)).cloned()
    }

    fn update(&mut self, Update { left, key, value, at }: &Update) {
        let Some(key) = key else {
            self.dropped += 1;
            return;
        };
        let old = self.row(*left, key).map(|(value, _)| value);
        let rows = if *left { &mut self.left } else { &mut self.right };
        match value {
            Some(value) => rows.insert(key.clone(), (value.clone(), *at)),
            None => rows.remove(key),
        };
        let new = self.row(*left, key).map(|(value, _)| value);
        let other = self.row(!left, key);
        let (is_nothing, is_filtered) = (old.is_none() && new.is_none(), *left && self.shape.filtered);
        let needs_other = match self.shape.kind {
            Kind::Inner => true,
            Kind::Left => !left,
            Kind::Outer => false,
        };
        // A filter says nothing of what was not there and is not. A table does, and where there is a row on the other side, the join.
        if is_nothing && (is_filtered || other.is_none()) || needs_other && other.is_none() {
            return;
        }
        let (other, other_at) = other.unzip();
        let join = |value: Text| {
            let (value, other) = (value.as_deref(), other.as_deref());
            if *left { self.shape.join(value, other) } else { self.shape.join(other, value) }
        };
        let (old, new, at) = (join(old), join(new), other_at.map_or(*at, |other_at| other_at.max(*at)));
        match &new {
            Some(new) => self.joined.insert(key.clone(), (new.clone(), at)),
            None => self.joined.remove(key),
        };
        self.outputs.push(("all", key.clone(), new.clone(), at));
        let [had, has] = [old, new].map(|value| value.filter(|value| passes(value)));
        if had.is_some() || has.is_some() {
            self.outputs.push(("some", key.clone(), has, at));
        }
    }

    /// The rows of the join of both tables as they are.
    fn join_of_all(&self) -> BTreeMap<String, String> {
        let joined = |key: &String| {
            let [left, right] = [true, false].map(|left| self.row(left, key).map(|(value, _)| value));
            Some((key.clone(), self.shape.join(left.as_deref(), right.as_deref())?))
        };
        self.left.keys().chain(self.right.keys()).filter_map(joined).collect()
    }
}

fn show(left: Option<&str>, right: Option<&str>) -> String {
    format!("{}+{}", left.unwrap_or("-"), right.unwrap_or("-"))
}

/// Filters of the left table and of the result.
fn passes(value: &str) -> bool {
    value.contains('a')
}

fn updates() -> impl Strategy<Value = Vec<Update>> {
    let keys = prop_oneof![6 => Just(Some("k")), 3 => Just(Some("l")), 1 => Just(None)];
    let values = prop::option::weighted(0.7, "[a-c]{1,2}");
    let update = (any::<bool>(), keys, values, 0..20_i64).prop_map(|(left, key, value, at)| {
        let key = key.map(str::to_owned);
        Update { left, key, value, at }
    });
    prop::collection::vec(update, 1..20)
}

fn agrees(shape: Shape, updates: &[Update]) -> Result<(), TestCaseError> {
    let topology = Topology::builder("test");
    shape.write(&topology);
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let mut model = Model::new(shape);
    let nullable = Serdes::<Text, Text>::default();
    let topics = ["right", "left"].map(|topic| TestTopic::new(topic, nullable.clone()));
    let outputs = ["all", "some"].map(|topic| (topic, TestTopic::new(topic, Serdes::<String, Text>::default())));
    for (number, update) in updates.iter().enumerate() {
        driver.pipe(&topics[usize::from(update.left)], &update.key, &update.value, update.at).expect("processed");
        model.update(update);
        let mut found = Vec::new();
        for (topic, out) in &outputs {
            let result = |record: Record<String, Text>| (*topic, record.key, record.value, record.timestamp_ms);
            found.extend(driver.read(out).expect("text").into_iter().map(result));
        }
        prop_assert_eq!(found, std::mem::take(&mut model.outputs), "update {} of {:?}", number, updates);
    }
    prop_assert_eq!(driver.dropped(), model.dropped);
    let values = |(key, (value, _)): (&String, &Row)| (key.clone(), value.clone());
    prop_assert_eq!(model.joined.iter().map(values).collect::<BTreeMap<_, _>>(), model.join_of_all());
    if shape.kept {
        let rows = driver.rows("joined", &Serdes::<String, String>::default()).expect("the rows of the join");
        let found: BTreeMap<_, _> = rows.into_iter().map(|(key, value, at)| (key, (value, at))).collect();
        prop_assert_eq!(found, model.joined);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn inner_joins_are_as_the_model_says(shape in Shape::any(Kind::Inner), updates in updates()) {
        agrees(shape, &updates)?;
    }

    #[test]
    fn left_joins_are_as_the_model_says(shape in Shape::any(Kind::Left), updates in updates()) {
        agrees(shape, &updates)?;
    }

    #[test]
    fn outer_joins_are_as_the_model_says(shape in Shape::any(Kind::Outer), updates in updates()) {
        agrees(shape, &updates)?;
    }
}

#[test]
fn a_null_of_the_joiner_is_no_row() {
    let topology = Topology::builder("test");
    let [left, right, third] =
        ["left", "right", "third"].map(|name| topology.table(name, Serdes::<String, String>::default()));
    let of_right = left.left_join(&right, |_, _, right: Option<&String>| right.cloned());
    let both = of_right.left_join(&third, |_, right, third| format!("{right:?} {third:?}"));
    both.to_stream().to("out");
    let of_key = left.left_join_on(&right, |_, value| Some(value.clone()), |_, _, right| right.cloned());
    of_key.to_stream().map_values(|_, joined| joined.is_some()).to("by-key");
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let input = |name| TestTopic::new(name, Serdes::<String, String>::default());
    let key = "k".to_owned();
    driver.pipe(&input("left"), &key, &"k".to_owned(), 0).expect("processed");
    let out = TestTopic::<String, Text>::new("out", Serdes::default());
    let by_key = TestTopic::<String, bool>::new("by-key", Serdes::default());
    assert!(driver.read(&out).expect("texts").is_empty());
    let is_row = |record: Record<String, bool>| record.value;
    let rows: Vec<_> = driver.read(&by_key).expect("booleans").into_iter().map(is_row).collect();
    assert_eq!(rows, [false]);
    driver.pipe(&input("right"), &key, &"r".to_owned(), 1).expect("processed");
    let joined: Vec<_> = driver.read(&out).expect("texts").into_iter().map(|record| record.value).collect();
    assert_eq!(joined, [Some("Some(\"r\") None".to_owned())]);
    let rows: Vec<_> = driver.read(&by_key).expect("booleans").into_iter().map(is_row).collect();
    assert_eq!(rows, [true]);
}
