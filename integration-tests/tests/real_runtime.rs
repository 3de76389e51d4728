//! Topologies of the conformance vectors in the real runtime: several partitions, two instances, one of them restarted in the middle. What
//! is on their changelogs and outputs at the end, by key, and in their stores on disk, is what a single test driver gives for the same
//! records.
//!
//! A driver processes all records in one order. Of several partitions, only the order within each is certain, so these topologies are not
//! among those that are compared:
//!
//! * those whose aggregates depend on the order of records that a repartition topic brings together from several partitions (texts
//!   appended to each other: `aggregate_change_type`, `cogroup_tumbling`) or on which of two topics is behind a repartition topic and so
//!   comes later (`stream_table_join_rekeyed`);
//! * those that have windows behind a repartition topic (`hopping_count_wide`): records of one partition make those of another late;
//! * those that pass on results when windows have closed, or when enough stream time has passed (`emit_on_close`, `suppress`), and those
//!   whose records come too late: the stream time of each partition is its own;
//! * processors, whose punctuations depend on that time and on the wall clock, and which see the partition they are in;
//! * global tables, which are caught up when an instance starts, not record by record;
//! * records that fail on purpose.

#[path = "real_runtime/bed.rs"]
mod bed;
#[path = "real_runtime/rows.rs"]
mod rows;
#[path = "real_runtime/view.rs"]
mod view;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use integration_tests::{
    conformance::{folder, vectors::Vector},
    service::until,
    topologies,
};
use millpond::{
    Topology,
    testing::{TestRecord, TopologyTestDriver},
    time::{Clock, SystemClock},
};
use tokio::runtime::Runtime;

use self::{
    bed::Bed,
    rows::{Rows, of_driver},
    view::View,
};

/// They read one topic, or topics whose records do not meet: it does not matter when records arrive.
const ANY_ARRIVAL: [&str; 32] = [
    "aggregate_sum_with_delete",
    "count_then_table_operators",
    "group_by_key_count",
    "group_by_repartition_count",
    "hopping_aggregate",
    "reduce",
    "reduce_max_i64",
    "session_aggregate",
    "session_count",
    "session_default_retention",
    "session_edges",
    "session_reduce",
    "sliding_aggregate",
    "sliding_count",
    "sliding_early_records",
    "sliding_reduce_default_retention",
    "stateless_one_stream_many_uses",
    "stateless_split_merge",
    "table_filter_semantics",
    "table_map_values",
    "table_self_join",
    "table_source",
    "table_source_not_materialized",
    "tumbling_count_default_retention",
    "tumbling_count_grace",
    "tumbling_realistic_epoch",
    "tumbling_reduce_no_grace",
    "two_aggregates_one_stream",
    "unlimited_count",
    "window_edges",
    "windowed_null_values",
    "windowed_table_filter",
];

/// Records of two topics meet in them: they are on the log before an instance reads on, and then processed by their timestamps.
const BY_TIMESTAMP: [&str; 18] = [
    "cogroup_plain",
    "cogroup_session",
    "cogroup_sliding",
    "merge_tables_outer_filter",
    "stream_table_join_aggregated_table",
    "stream_table_join_inner",
    "stream_table_join_left",
    "stream_table_join_with_key_and_aggregate",
    "table_table_join_filtered",
    "table_table_join_inner",
    "table_table_join_inner_materialized",
    "table_table_join_left",
    "table_table_join_left_materialized",
    "table_table_join_outer",
    "table_table_join_outer_materialized",
    "table_table_join_three",
    "windowed_table_join_inner",
    "windowed_table_join_outer",
];

/// Outputs whose keys come from several partitions: the topology and the topic. The order of their records is not certain.
const OF_SEVERAL_PARTITIONS: [(&str, &str); 3] = [
    ("count_then_table_operators", "stream"),
    ("stateless_one_stream_many_uses", "lens"),
    ("stateless_one_stream_many_uses", "words"),
];

/// How long instances may take to come to a view.
const WITHIN: Duration = Duration::from_secs(20);

/// ms between two records: no two have the same time, and none is late for its window.
const STEP_MS: i64 = 7;

/// When records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Whenever: while instances run, too.
    Any,
    /// While none runs.
    Before,
}

/// A topology, the records for it, and what a driver makes of them.
struct Run {
    topology: Topology,
    records: Vec<TestRecord>,
    /// What is compared: changelogs and outputs.
    topics: BTreeSet<Arc<str>>,
    /// Of the first third of the records, and of all.
    expected: [View; 2],
    /// In the stores at the end.
    rows: Rows,
}

// === impl Run ===

impl Run {
    fn new(name: &str) -> anyhow::Result<Self> {
        let case = topologies::all().find(|case| case.name == name).with_context(|| format!("no topology {name}"))?;
        let topology = case.topology()?;
        let topics = compared(&topology);
        let mut records = Vec::new();
        for seed in 1..=3 {
            records.extend(Vector::read(&folder::own().join(format!("{name}.{seed}.json")))?.records());
        }
        // Recent, or changelogs of windows would not keep their records; of a whole hour, or windows would differ from run to run.
        let now_ms = SystemClock::new().now_ms();
        let start_ms = now_ms - now_ms.rem_euclid(3_600_000);
        for (record, step) in records.iter_mut().zip(0..) {
            record.timestamp_ms = start_ms + step * STEP_MS;
        }
        let mut driver = TopologyTestDriver::new(&topology)?.with_internal_outputs();
        let (mut view, mut after_third) = (View::default(), View::default());
        for (index, record) in records.iter().enumerate() {
            if index == records.len() / 3 {
                after_third = view.clone();
            }
            driver.pipe_bytes(record)?;
            let written = driver.internal_outputs().into_iter().chain(driver.outputs());
            written.filter(|record| topics.contains(&record.topic)).for_each(|record| view.add(record));
        }
        let expected = [after_third, view];
        ensure!(!expected[1].is_empty(), "nothing comes out");
        let rows = of_driver(&driver, &topology)?;
        Ok(Self { topology, records, topics, expected, rows })
    }

    /// A third of the records for both instances, a third for one of them or for none that runs, the rest for both again.
    async fn check(&self, arrival: Arrival) -> anyhow::Result<()> {
        let mut bed = Bed::new(&self.topology)?;
        let (first, rest) = self.records.split_at(self.records.len() / 3);
        let (second, last) = rest.split_at(rest.len() / 2);

        bed.append(first)?;
        bed.start(0).await?;
        bed.start(1).await?;
        self.comes_out(&bed, 0).await?;
        bed.shared().await?;
        bed.stop(1).await?;
        match arrival {
            Arrival::Any => {
                bed.append(second)?;
                bed.start(1).await?;
                bed.append(last)?;
            }
            Arrival::Before => {
                bed.stop(0).await?;
                bed.append(rest)?;
                bed.start(0).await?;
                bed.start(1).await?;
            }
        }
        bed.shared().await?;
        self.comes_out(&bed, 1).await?;
        bed.stop(0).await?;
        bed.stop(1).await?;
        // Nothing comes behind it.
        self.comes_out(&bed, 1).await?;
        let found = bed.rows()?;
        let differs = self.rows.iter().find(|(key, row)| found.get(key) != Some(row)).map(|(key, _)| key);
        let differs = differs.or_else(|| found.keys().find(|key| !self.rows.contains_key(key)));
        ensure!(
            differs.is_none(),
            "the stores differ in {differs:?}: {:?}, not {:?}",
            differs.and_then(|key| found.get(key)),
            differs.and_then(|key| self.rows.get(key))
        );
        Ok(())
    }

    /// Waits for one of the expected views.
    async fn comes_out(&self, bed: &Bed, which: usize) -> anyhow::Result<()> {
        let same = async || {
            let found = bed.view(&self.topics)?;
            let difference = self.expected[which].difference(&found);
            ensure!(difference.is_empty(), "{difference}");
            Ok(true)
        };
        until("the stores and outputs of a driver", WITHIN, same).await
    }
}

/// The topics of a topology that have, by key, something to be compared.
fn compared(topology: &Topology) -> BTreeSet<Arc<str>> {
    let resolved = topology.resolve(topology.name());
    let parts = &resolved.sub_topologies;
    let changelogs = parts.iter().flat_map(|part| part.stores.iter()).filter_map(|store| store.changelog.as_ref());
    let is_repartition = |topic: &Arc<str>| parts.iter().any(|part| part.repartition_topics.contains(topic));
    let is_mixed = |topic: &Arc<str>| OF_SEVERAL_PARTITIONS.contains(&(topology.name(), topic));
    let outputs = parts.iter().flat_map(|part| part.sinks.iter());
    let outputs = outputs.filter(|topic| !is_repartition(topic) && !is_mixed(topic));
    changelogs.chain(outputs).map(Arc::clone).collect()
}

/// Runs topologies, some at a time: mostly, instances wait for each other.
fn check(names: &[&str], arrival: Arrival) -> anyhow::Result<()> {
    const AT_A_TIME: usize = 6;
    let (runtime, waiting, failed) = (Runtime::new()?, Mutex::new(names.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nobody panics with it").next();
                    let Some(name) = next else { break };
                    let result = Run::new(name).and_then(|run| runtime.block_on(run.check(arrival)));
                    let error = result.with_context(|| name.to_string()).err();
                    failed.lock().expect("nobody panics with it").extend(error);
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[test]
fn topologies_give_the_same_on_several_instances() -> anyhow::Result<()> {
    check(&ANY_ARRIVAL, Arrival::Any)
}

#[test]
fn records_that_meet_are_processed_by_their_timestamps() -> anyhow::Result<()> {
    check(&BY_TIMESTAMP, Arrival::Before)
}
