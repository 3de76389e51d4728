//! Bytes that the classes of Kafka Streams wrote (`vectors/bytes.json`): what others can see of us is the same.
//!
//! Formats that the library keeps to itself are tested beside their code, against a copy of their section in a folder `testdata`.

#[path = "golden_bytes/formats.rs"]
mod formats;
#[path = "golden_bytes/internal_topics.rs"]
mod internal_topics;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use integration_tests::{checkout::crate_folder, conformance::folder};
use serde_json::Value;

/// How a section is tested.
enum Proof {
    /// By this.
    Here(fn(&[Value])),
    /// In the library: `testdata/<section>.json` there has its rows.
    InLibrary,
    /// Not at all: it shows on no topic, or we do not write it. Why.
    NotOurs(#[expect(dead_code, reason = "for readers")] &'static str),
}

const ON_DISK: &str = "only on local disk, where rows are kept in our own order";

/// All sections.
const SECTIONS: [(&str, Proof); 26] = [
    ("murmur2", Proof::Here(formats::murmur2)),
    ("primitive_serdes", Proof::Here(formats::primitive_serdes)),
    ("value_and_timestamp", Proof::InLibrary),
    ("window_store_key", Proof::InLibrary),
    ("window_store_key_time_first", Proof::NotOurs(ON_DISK)),
    ("window_store_key_key_first_index", Proof::NotOurs(ON_DISK)),
    ("time_windowed_key", Proof::InLibrary),
    ("session_store_key", Proof::InLibrary),
    ("session_store_key_time_first", Proof::NotOurs(ON_DISK)),
    ("session_store_key_key_first_index", Proof::NotOurs(ON_DISK)),
    ("change", Proof::InLibrary),
    ("full_change_legacy", Proof::NotOurs("only in changelogs of buffers that Kafka Streams wrote years ago")),
    ("varint", Proof::InLibrary),
    ("murmur3_128", Proof::InLibrary),
    ("fk_subscription_wrapper", Proof::InLibrary),
    ("fk_subscription_response", Proof::InLibrary),
    ("fk_combined_key", Proof::InLibrary),
    ("fk_subscription_store_value", Proof::InLibrary),
    ("outer_join_shared_key", Proof::InLibrary),
    ("outer_join_shared_value", Proof::InLibrary),
    ("record_context", Proof::Here(formats::record_context)),
    ("buffer_value", Proof::InLibrary),
    ("value_timestamp_headers", Proof::NotOurs("stores keep no headers; off by default in Kafka Streams too")),
    ("aggregation_headers", Proof::NotOurs("stores keep no headers; off by default in Kafka Streams too")),
    ("commit_metadata", Proof::NotOurs("positions are committed without metadata: partition time starts anew")),
    ("internal_topic_records", Proof::Here(internal_topics::records)),
];

/// The file.
fn sections() -> BTreeMap<String, Vec<Value>> {
    let path = folder::own().join("bytes.json");
    let file: BTreeMap<String, Value> =
        serde_json::from_str(&fs::read_to_string(path).expect("the golden bytes")).expect("the golden bytes");
    let rows = |(name, rows): (String, Value)| match rows {
        Value::Array(rows) => Some((name, rows)),
        _ => None,
    };
    file.into_iter().filter_map(rows).collect()
}

/// The copies of sections in the library, by section.
fn copies(folder: &Path, copies: &mut BTreeMap<String, Vec<PathBuf>>) {
    for entry in fs::read_dir(folder).expect("a folder of the library") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            self::copies(&path, copies);
        } else if folder.ends_with("testdata") && path.extension().is_some_and(|extension| extension == "json") {
            let section = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            copies.entry(section).or_default().push(path);
        }
    }
}

#[test]
fn every_section_is_tested_or_says_why_not() {
    let sections = sections();
    let names: BTreeSet<_> = sections.keys().map(String::as_str).collect();
    assert_eq!(names, SECTIONS.iter().map(|(name, _)| *name).collect());
    let mut in_library = BTreeMap::new();
    copies(&crate_folder().join("../framework/src"), &mut in_library);
    for (name, proof) in &SECTIONS {
        let copies = in_library.get(*name).map_or(&[][..], Vec::as_slice);
        match proof {
            Proof::InLibrary => assert!(!copies.is_empty(), "no testdata/{name}.json in the library"),
            Proof::Here(_) | Proof::NotOurs(_) => {}
        }
        for path in copies {
            let copy: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).expect("a copy")).expect("rows");
            assert_eq!(copy, sections[*name], "{} differs from vectors/bytes.json", path.display());
        }
    }
}

#[test]
fn formats_are_those_of_kafka_streams() {
    let sections = sections();
    for (name, proof) in &SECTIONS {
        if let Proof::Here(check) = proof {
            check(&sections[*name]);
        }
    }
}
