use std::time::Duration;

use super::StoreBuilder;
use crate::{
    dsl::TopologyBuilder,
    processor::{PlainKeyValueStore, Processor, ProcessorContext, ProcessorResult, Record},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
    topology::{Topology, TopologyError},
};

type Text = Serdes<String, String>;

fn built(write: impl Fn(&TopologyBuilder)) -> Result<Topology, TopologyError> {
    let topology = Topology::builder("test");
    topology.stream("in", Text::default()).to("out");
    write(&topology);
    topology.build()
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let minute = Duration::from_secs(60);
    let error = built(|topology| {
        let windows = StoreBuilder::window("w", Text::default(), minute).retention(Duration::from_secs(59));
        topology.add_store(windows);
    });
    let expected = "store `w`: its retention must be 1 ms at the least, and not shorter than its windows";
    assert_eq!(error.expect_err("59 s of 60 s").to_string(), expected);

    let error = built(|topology| {
        let mut split = topology.stream("in", Text::default()).split();
        let _ = split.branch("a", |_, _| true);
        let _ = split.default_branch("a");
    });
    let expected = "two branches or outputs of one node are named `a`: give one of them another name";
    assert_eq!(error.expect_err("two branches").to_string(), expected);

    let error = built(|topology| {
        let _ = topology.stream("in", Text::default()).split().branch("a b", |_, _| true);
    });
    assert!(error.expect_err("a space").to_string().starts_with("`a b` cannot name a branch or output"));

    let error = built(|topology| {
        let _ = (topology.global_table("g", Text::default()), topology.global_table("g", Text::default()));
    });
    let expected = "two global tables or stores are read from topic `g`: use one of them several times";
    assert_eq!(error.expect_err("two tables").to_string(), expected);
}

#[test]
fn where_rows_are_kept_and_logged_is_said_by_their_stores() {
    let topology = built(|topology| {
        let stream = topology.stream("in", Text::default());
        stream.group_by_key().count().materialized("counts").in_memory();
        stream.group_by_key().reduce(|_, value| value.clone()).materialized("last").without_changelog();
        let recent = topology.add_store(StoreBuilder::lru_map("recent", Text::default(), 10));
        let _ = stream.process(recent, |_| Idle);
    });
    let resolved = topology.expect("a correct topology").resolve("app");
    let stores = resolved.sub_topologies[0].stores.iter();
    let stores: Vec<_> = stores.map(|spec| (&*spec.name, spec.persistent, spec.changelog.as_deref())).collect();
    let expected = [
        ("counts", false, Some("app-counts-changelog")),
        ("last", true, None),
        ("recent", false, Some("app-recent-changelog")),
    ];
    assert_eq!(stores, expected);
}

struct Idle;

impl Processor<String, String> for Idle {
    type Key = String;
    type Value = String;

    fn process(&mut self, _: &mut ProcessorContext<'_, String, String>, _: Record<String, String>) -> ProcessorResult {
        Ok(())
    }
}

/// Counts in a store that it shares with others.
struct Count(PlainKeyValueStore<String, i64>);

impl Processor<String, String> for Count {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        ctx: &mut ProcessorContext<'_, String, i64>,
        record: Record<String, String>,
    ) -> ProcessorResult {
        let count = self.0.get(ctx, &record.key)?.unwrap_or(0) + 1;
        self.0.put(ctx, &record.key, &count)?;
        Ok(ctx.forward(record.with_value(count))?)
    }
}

#[test]
fn branches_of_one_stream_see_what_the_others_wrote_to_a_shared_store() {
    let topology = Topology::builder("test");
    let counts = topology.add_store(StoreBuilder::plain_key_value("counts", Serdes::default()));
    let mut split = topology.stream("in", Text::default()).split();
    let short = split.branch("short", |_, value| value.len() < 3);
    let long = split.branch("long", |_, _| true);
    let never = split.default_branch("never");
    short.merge(&never).process(counts, Count).to("out");
    long.process(counts, Count).to("out");
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let (input, output) =
        (TestTopic::new("in", Text::default()), TestTopic::<String, i64>::new("out", Serdes::default()));
    for value in ["ab", "abc", "a"] {
        driver.pipe(&input, &"k".to_owned(), &value.to_owned(), 0).expect("processed");
    }
    let counts: Vec<_> = driver.read(&output).expect("counts").into_iter().map(|record| record.value).collect();
    assert_eq!(counts, [1, 2, 3]);
}
