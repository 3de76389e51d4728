use std::time::Duration;

use crate::{
    Topology,
    dsl::{Buffer, SessionWindows, Stores, Table, TimeWindows, TopologyBuilder},
    processor::{
        FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, KeyValueStore, ProcessError, ProcessorResult, SessionStore,
        VersionedStore, WindowStore,
    },
    serde::{Serdes, Windowed},
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Serdes<String, String>;
type Ctx<'c> = FixedKeyContext<'c, String, String>;

/// Says of each record what is told about its key.
struct Tell<F>(F);

impl<F> FixedKeyProcessor<String, String> for Tell<F>
where
    F: FnMut(&mut Ctx<'_>, &String) -> Result<String, ProcessError> + 'static,
{
    type Value = String;

    fn process(&mut self, ctx: &mut Ctx<'_>, record: FixedKeyRecord<String, String>) -> ProcessorResult {
        let told = (self.0)(ctx, record.key())?;
        Ok(ctx.forward(record.with_value(told))?)
    }
}

fn tell<S: Stores, F>(topology: &TopologyBuilder, stores: S, teller: impl Fn(S::Open) -> F + Send + Sync + 'static)
where
    Tell<F>: FixedKeyProcessor<String, String, Value = String>,
{
    topology.stream("ask", Text::default()).process_values(stores, move |open| Tell(teller(open))).to("told");
}

fn driver(write: impl Fn(&TopologyBuilder)) -> TopologyTestDriver {
    let topology = Topology::builder("test");
    write(&topology);
    TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory")
}

fn pipe(driver: &mut TopologyTestDriver, topic: &str, key: &str, value: Option<&str>, at: i64) {
    let topic = TestTopic::new(topic, Serdes::<String, Option<String>>::default());
    driver.pipe(&topic, &key.to_owned(), &value.map(str::to_owned), at).expect("processed");
}

fn told(driver: &mut TopologyTestDriver, key: &str, at: i64) -> String {
    pipe(driver, "ask", key, Some(""), at);
    let told = driver.read(&TestTopic::<String, String>::new("told", Serdes::default())).expect("text");
    told.into_iter().next().expect("an answer").value
}

/// The row of a key with its timestamp, and how many rows there are.
fn row(mut store: KeyValueStore<String, String>) -> impl FnMut(&mut Ctx<'_>, &String) -> Result<String, ProcessError> {
    move |ctx, key| {
        let row = store.get_with_timestamp(ctx, key)?;
        Ok(format!("{row:?} of {}", store.all(ctx, 100)?.len()))
    }
}

#[test]
fn processors_read_the_rows_of_tables_with_their_timestamps() {
    let of_source = |topology: &TopologyBuilder| {
        tell(topology, topology.table("in", Text::default()).store(), row);
    };
    let of_result = |topology: &TopologyBuilder| {
        // Not kept but for the processor.
        let upper = topology.table("in", Text::default()).map_values(|_, value| value.to_lowercase());
        tell(topology, upper.store(), row);
    };
    for write in [&of_source as &dyn Fn(&TopologyBuilder), &of_result] {
        let mut driver = driver(write);
        pipe(&mut driver, "in", "a", Some("x"), 7);
        pipe(&mut driver, "in", "b", Some("y"), 9);
        assert_eq!(told(&mut driver, "a", 8), "Some((\"x\", 7)) of 2");
        pipe(&mut driver, "in", "a", None, 10);
        assert_eq!(told(&mut driver, "a", 11), "None of 1");
    }
}

#[test]
fn processors_see_updates_that_wait_to_be_passed_on() {
    let mut driver = driver(|topology| {
        let table = topology.table("in", Text::default()).materialized("t").coalesced();
        table.to_stream().to("passed-on");
        tell(topology, table.store(), row);
    });
    driver = driver.commit_on_request();
    pipe(&mut driver, "in", "a", Some("x"), 7);
    assert_eq!(told(&mut driver, "a", 8), "Some((\"x\", 7)) of 1");
}

#[test]
fn what_processors_write_is_in_the_store_and_not_passed_on() {
    let mut driver = driver(|topology| {
        let table = topology.table("in", Text::default()).materialized("t");
        table.to_stream().to("passed-on");
        tell(topology, table.store(), |mut store: KeyValueStore<String, String>| {
            move |ctx: &mut Ctx<'_>, key: &String| {
                store.put(ctx, key, &"written".to_owned(), 5)?;
                Ok(String::new())
            }
        });
    });
    told(&mut driver, "a", 8);
    assert_eq!(driver.rows("t", &Text::default()).expect("the store"), [("a".to_owned(), "written".to_owned(), 5)]);
    assert!(driver.outputs().is_empty());
}

#[test]
fn the_table_and_who_uses_its_store_are_in_one_sub_topology() {
    let topology = Topology::builder("test");
    let stream = topology.stream("in", Text::default()).select_key(|_, value| value.clone());
    let counts = stream.group_by_key().count().materialized("counts");
    let other = topology.stream("other", Text::default());
    let _ = other.process_values(counts.store(), |mut counts| {
        Tell(move |ctx: &mut Ctx<'_>, key: &String| Ok(format!("{:?}", counts.get(ctx, key)?)))
    });
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let sources: Vec<Vec<_>> = resolved
        .sub_topologies
        .iter()
        .map(|sub_topology| sub_topology.sources.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(sources, [vec!["in"], vec!["app-counts-repartition", "other"]]);
    let names: Vec<_> = resolved.sub_topologies[1].stores.iter().map(|store| &*store.name).collect();
    assert_eq!(names, ["counts"]);
    let described = resolved.describe().to_string();
    assert_eq!(described.matches("stores: [counts]").count(), 2, "{described}");
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn windows(topology: &TopologyBuilder) -> Table<'_, Windowed<String>, i64> {
    topology.stream("in", Text::default()).group_by_key().windowed_by(TimeWindows::tumbling(ms(10))).count()
}

fn sessions(topology: &TopologyBuilder) -> Table<'_, Windowed<String>, i64> {
    topology.stream("in", Text::default()).group_by_key().windowed_by(SessionWindows::with_gap(ms(10))).count()
}

#[test]
fn processors_read_windows_sessions_and_versions() {
    let of_windows = |topology: &TopologyBuilder| {
        tell(topology, windows(topology).window_store(), |mut store: WindowStore<String, i64>| {
            move |ctx: &mut Ctx<'_>, key: &String| {
                let of_keys = store.fetch_keys(ctx, .., .., 9)?;
                Ok(format!("{:?} {of_keys:?}", store.fetch(ctx, key, .., 9)?))
            }
        });
    };
    let window = "(Windowed { key: \"a\", start_ms: 0, end_ms: 10 }, 2, 5)";
    let of_sessions = |topology: &TopologyBuilder| {
        tell(topology, sessions(topology).session_store(), |mut store: SessionStore<String, i64>| {
            move |ctx: &mut Ctx<'_>, key: &String| Ok(format!("{:?}", store.find(ctx, key, 0, i64::MAX, 9)?))
        });
    };
    let of_versions = |topology: &TopologyBuilder| {
        let table = topology.table("in", Text::default()).versioned("v", ms(100));
        tell(topology, table.versioned_store(), |mut store: VersionedStore<String, String>| {
            move |ctx: &mut Ctx<'_>, key: &String| {
                Ok(format!("{:?} {:?}", store.get(ctx, key)?, store.get_as_of(ctx, key, 4)?))
            }
        });
    };
    let cases = [
        (&of_windows as &dyn Fn(&TopologyBuilder), format!("[(0, 2, 5)] [{window}]")),
        (&of_sessions, "[(3, 5, 2)]".to_owned()),
        (&of_versions, "Some((\"y\", 5)) Some((\"x\", 3))".to_owned()),
    ];
    for (write, expected) in cases {
        let mut driver = driver(write);
        pipe(&mut driver, "in", "a", Some("x"), 3);
        pipe(&mut driver, "in", "a", Some("y"), 5);
        assert_eq!(told(&mut driver, "a", 6), expected);
    }
}

#[test]
fn stores_of_another_kind_are_refused_by_name() {
    let refused = |write: &dyn Fn(&TopologyBuilder)| {
        let topology = Topology::builder("test");
        write(&topology);
        topology.build().expect_err("stores of another kind").to_string()
    };
    let of_windows = refused(&|topology| {
        let _ = windows(topology).materialized("w").store();
    });
    assert!(of_windows.starts_with("store `w`: ") && of_windows.contains("its `window_store`"), "{of_windows}");
    refused(&|topology| {
        let _ = windows(topology).materialized("w").session_store();
    });
    refused(&|topology| {
        let _ = topology.table("in", Text::default()).materialized("t").versioned_store();
    });
    refused(&|topology| {
        let table = topology.table("in", Text::default());
        let _ = table.store();
        // Also when it was of that kind at first.
        let _ = table.versioned("v", ms(100));
    });
    refused(&|topology| {
        let table = topology.table("in", Text::default()).suppress_for(ms(10), Buffer::unbounded());
        let _ = table.store();
    });
}
