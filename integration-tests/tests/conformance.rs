//! Replays what Apache Kafka Streams does, record by record: `vectors/<topology>.<seed>.json`, made by its own test driver.

#[path = "conformance/describe.rs"]
mod describe;
#[path = "conformance/names.rs"]
mod names;

use std::{collections::BTreeSet, fs};

use anyhow::{Context, bail};
use integration_tests::{
    conformance::{
        self, decisions, folder,
        vectors::{Difference, Dropped},
    },
    topologies,
};
use serde_json::Value;

/// Replays all vectors of a family.
fn replay(family: &str) {
    let cases: BTreeSet<_> = topologies::all().filter(|case| case.family == family).map(|case| case.name).collect();
    assert!(!cases.is_empty(), "no topologies of the family {family}");
    let mut files = folder::files(&folder::own()).expect("the folder of the vectors");
    files.retain(|topology, _| cases.contains(&**topology));
    assert_eq!(files.len(), cases.len(), "each topology has files");
    let report = conformance::run(&files, Dropped::Compared);
    assert!(report.passed(), "{report}");
    // A list that says too much hides what will differ one day.
    let not_so = report.topologies.iter().find(|verdict| verdict.decision.is_some() && verdict.failures.is_empty());
    assert!(not_so.is_none(), "should differ by decision and does not: {not_so:?}");
}

#[test]
fn operators_without_state() {
    replay("stateless");
}

#[test]
fn aggregations_of_streams() {
    replay("aggregate");
}

#[test]
fn processors() {
    replay("processor");
}

#[test]
fn headers_of_records() {
    replay("headers");
}

#[test]
fn processors_with_stores_and_outputs() {
    replay("processor_stores");
}

#[test]
fn stores_of_processors() {
    replay("stores");
}

#[test]
fn records_that_fail() {
    replay("errors");
}

#[test]
fn the_time_of_records() {
    replay("time");
}

#[test]
fn tables() {
    replay("table");
}

#[test]
fn tables_grouped_by_new_keys() {
    replay("table_group_by");
}

#[test]
fn streams_joined_with_tables() {
    replay("stream_table_join");
}

#[test]
fn streams_joined_with_streams() {
    replay("stream_stream_join");
}

#[test]
fn streams_joined_with_global_tables() {
    replay("stream_global_join");
}

#[test]
fn tables_joined_with_tables() {
    replay("table_table_join");
}

#[test]
fn tables_joined_by_a_foreign_key() {
    replay("fk_join");
}

#[test]
fn aggregations_within_time_windows() {
    replay("time_windows");
}

#[test]
fn aggregations_within_sliding_windows() {
    replay("sliding_windows");
}

#[test]
fn aggregations_within_sessions() {
    replay("session_windows");
}

#[test]
fn results_of_windows_that_have_closed() {
    replay("emit_on_close");
}

#[test]
fn changes_that_wait() {
    replay("suppress");
}

#[test]
fn stores_that_keep_all_values() {
    replay("duplicate_windows");
}

#[test]
fn streams_aggregated_together() {
    replay("cogroup");
}

#[test]
fn tables_and_stores_that_keep_versions() {
    replay("versions");
}

#[test]
fn every_vector_is_replayed() {
    let there: BTreeSet<_> = folder::files(&folder::own())
        .expect("the folder of the vectors")
        .into_iter()
        .map(|(name, files)| (name, files.len()))
        .collect();
    assert_eq!(there, topologies::all().map(|case| (case.name.to_owned(), 3)).collect());
}

#[test]
fn decisions_are_about_topologies_that_there_are() {
    let names: BTreeSet<_> = topologies::all().map(|case| case.name).collect();
    assert!(decisions::all().keys().all(|topology| names.contains(topology)));
}

#[test]
fn a_file_that_differs_is_told_with_its_first_difference() -> anyhow::Result<()> {
    let text = fs::read_to_string(folder::own().join("reduce.1.json"))?;
    let mut file: Value = serde_json::from_str(&text)?;
    let steps = file["inputs"].as_array_mut().context("inputs")?;
    let at = steps.iter().position(|step| step["outputs"][0]["value"].is_string()).context("an output")?;
    let right = std::mem::replace(&mut steps[at]["outputs"][0]["value"], "wrong".into());

    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("reduce.1.json"), file.to_string())?;
    fs::write(folder.path().join("nobody_knows.7.json"), text)?;
    let report = conformance::run(&folder::files(folder.path())?, Dropped::Ignored);
    let [unknown, differs] = &report.topologies[..] else { bail!("{report}") };
    let reason = "cannot be replayed: there is no topology named nobody_knows in integration-tests/src/topologies";
    assert_eq!(unknown.failures[0].difference.to_string(), reason);
    match &differs.failures[0].difference {
        Difference::Step { index, expected, found, .. } => {
            assert_eq!(*index, at);
            assert!(expected.contains("\"wrong\"") && found.contains(&right.to_string()), "{report}");
        }
        other => bail!("{other}"),
    }
    assert!(report.to_string().ends_with("0 passed, 2 failed"), "{report}");
    Ok(())
}
