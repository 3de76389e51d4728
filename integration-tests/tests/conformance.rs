//! Replays what Apache Kafka Streams does, record by record: `vectors/<topology>.<seed>.json`, made by its own test driver.

#[path = "conformance/names.rs"]
mod names;
#[path = "conformance/vectors.rs"]
mod vectors;

use std::{collections::BTreeSet, fs};

use integration_tests::topologies::{self, Case};

use self::vectors::Vector;

/// Replays all vectors of a family.
fn replay(family: &str) {
    let cases: Vec<Case> = topologies::all().filter(|case| case.family == family).collect();
    assert!(!cases.is_empty(), "no topologies of the family {family}");
    let mut differences = Vec::new();
    for case in &cases {
        let topology = case.topology().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for seed in 1..=3 {
            let vector = Vector::read(case.name, seed);
            if let Err(difference) = vector.replay(&topology) {
                differences.push(format!("{} seed {seed}: {difference}", case.name));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), 3 * cases.len(), differences.join("\n"));
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
    let files = fs::read_dir(vectors::folder()).expect("the folder of the vectors");
    let there: BTreeSet<String> =
        files.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    let used = topologies::all().flat_map(|case| (1..=3).map(move |seed| format!("{}.{seed}.json", case.name)));
    assert_eq!(there, used.collect());
}
