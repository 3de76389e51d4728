//! Formats that are public in the library.

use millpond::{
    log::{Headers, Partitioner, murmur2 as hash},
    serde::{Data, default_serde},
    state::BufferValue,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The rows of a section.
pub(crate) fn rows<T: DeserializeOwned>(rows: &[Value]) -> Vec<T> {
    assert!(!rows.is_empty());
    rows.iter().map(|row| serde_json::from_value(row.clone()).expect("a row of this section")).collect()
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn murmur2(section: &[Value]) {
    #[derive(Deserialize)]
    struct Row {
        hex: String,
        murmur2: i32,
        partition: std::collections::BTreeMap<String, i32>,
    }
    for row in rows::<Row>(section) {
        let key = from_hex(&row.hex);
        assert_eq!(hash(&key), row.murmur2, "{}", row.hex);
        for (partitions, partition) in row.partition {
            let partitions = partitions.parse().expect("a number");
            assert_eq!(Partitioner::for_key(&key, partitions), partition, "{} of {partitions}", row.hex);
        }
    }
}

/// Java's serializers of the types that have one of their own here; the others are JSON unless users bring a serde.
pub(crate) fn primitive_serdes(section: &[Value]) {
    const JSON: [&str; 6] = ["i16", "f64", "f32", "bool", "uuid", "list<bytes> (ListSerde of ArrayList)"];

    #[derive(Deserialize)]
    struct Row {
        r#type: String,
        value: Option<Value>,
        hex: String,
    }
    fn check<T: Data + PartialEq + std::fmt::Debug>(value: Value, hex: &str) {
        let (serde, value) = (default_serde::<T>(), serde_json::from_value::<T>(value).expect("a value of its type"));
        let mut bytes = Vec::new();
        serde.serialize(&value, &mut bytes).expect("a value");
        assert_eq!(to_hex(&bytes), hex);
        assert_eq!(serde.deserialize(Some(&bytes)).expect("what was written"), value);
    }
    for row in rows::<Row>(section) {
        let value = row.value.unwrap_or_default();
        match row.r#type.as_str() {
            "i64" => check::<i64>(value, &row.hex),
            "i32" => check::<i32>(value, &row.hex),
            "string" => check::<String>(value, &row.hex),
            other => assert!(JSON.contains(&other), "nothing is known of {other}"),
        }
    }
}

/// The first part of a value in a buffer.
pub(crate) fn record_context(section: &[Value]) {
    #[derive(Deserialize)]
    struct Row {
        timestamp: i64,
        offset: i64,
        partition: i32,
        topic: String,
        headers: Vec<(String, Option<String>)>,
        hex: String,
    }
    for row in rows::<Row>(section) {
        let headers = row.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(str::as_bytes)));
        let value = BufferValue {
            timestamp_ms: row.timestamp,
            offset: row.offset,
            topic: &row.topic,
            partition: row.partition,
            headers: Headers::new(headers),
            prior: None,
            old: None,
            new: None,
        };
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        // Three nulls follow.
        assert_eq!(to_hex(&bytes[..bytes.len() - 12]), row.hex);
    }
}
