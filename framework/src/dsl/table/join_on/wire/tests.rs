//! Golden bytes, captured from Kafka Streams' own classes.

use serde_json::Value;

use super::*;
use crate::{
    dsl::table::join_on::murmur3::hash128,
    serde::{Raw, Utf8},
    state::formats::{Row, put_value_and_timestamp},
};

fn rows(json: &str) -> Vec<Value> {
    serde_json::from_str(json).expect("a list")
}

fn hex(row: &Value, field: &str) -> Vec<u8> {
    let hex = row[field].as_str().expect("hex");
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn text<'r>(row: &'r Value, field: &str) -> Option<&'r str> {
    row[field].as_str()
}

fn hash(row: &Value) -> Option<Hash> {
    let halves = row["hash"].as_array()?;
    let bytes = halves.iter().flat_map(|half| half.as_i64().expect("a number").to_be_bytes());
    Some(bytes.collect::<Vec<_>>().try_into().expect("two halves"))
}

fn subscription(row: &Value) -> Subscription {
    let instruction = u8::try_from(row["instruction_byte"].as_u64().expect("a number")).expect("a byte");
    Subscription {
        instruction: Instruction::of(instruction).expect("an instruction"),
        hash: hash(row),
        primary_key: text(row, "primary_key").expect("a text").into(),
        primary_partition: row["primary_partition"].as_i64().map(|partition| partition.try_into().expect("an i32")),
    }
}

#[test]
fn values_hash_as_by_kafka_streams() {
    let rows = rows(include_str!("../testdata/murmur3.json"));
    assert_eq!(rows.len(), 8);
    for row in rows {
        let value = text(&row, "value").expect("a text");
        assert_eq!(Some(hash128(value.as_bytes())), hash(&row), "{row}");
    }
}

#[test]
fn subscriptions_have_the_bytes_of_kafka_streams() {
    let rows = rows(include_str!("../testdata/subscription.json"));
    assert_eq!(rows.len(), 25);
    for row in rows {
        let (bytes, subscription) = (hex(&row, "hex"), subscription(&row));
        let mut written = Vec::new();
        subscription.write(&mut written);
        assert_eq!(written, bytes, "{row}");
        assert_eq!(Subscription::read(&bytes).expect("readable"), subscription, "{row}");
    }
}

#[test]
fn rows_of_subscriptions_have_the_bytes_of_kafka_streams() {
    let stored = rows(include_str!("../testdata/store_value.json"));
    for row in stored {
        let (mut value, mut written) = (Vec::new(), Vec::new());
        subscription(&row).write(&mut value);
        let timestamp_ms = row["timestamp"].as_i64().expect("a number");
        put_value_and_timestamp(&mut written, Row { value: &value, timestamp_ms });
        assert_eq!(written, hex(&row, "hex"), "{row}");
    }
}

#[test]
fn responses_have_the_bytes_of_kafka_streams() {
    let rows = rows(include_str!("../testdata/response.json"));
    assert_eq!(rows.len(), 8);
    let serde = ResponseSerde(Arc::new(Utf8) as Arc<dyn Serde<String>>);
    for row in rows {
        let (bytes, value) = (hex(&row, "hex"), text(&row, "right_value"));
        let mut written = Vec::new();
        put_response(&mut written, hash(&row).as_ref(), value.map(str::as_bytes));
        assert_eq!(written, bytes, "{row}");
        let read = serde.deserialize(Some(&bytes)).expect("readable");
        let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
        assert_eq!(read, Response { hash: hash(&row), row: value }, "{row}");
        let mut written = Vec::new();
        serde.serialize(&read, &mut written).expect("writable");
        assert_eq!(written, bytes, "{row}");
    }
}

#[test]
fn subscriptions_are_kept_under_the_keys_of_kafka_streams() {
    let rows = rows(include_str!("../testdata/combined_key.json"));
    assert_eq!(rows.len(), 9);
    for row in rows {
        let [foreign, primary] = ["foreign_key", "primary_key"].map(|field| text(&row, field).expect("a text"));
        let mut key = Vec::new();
        put_prefix(&mut key, foreign.as_bytes());
        assert_eq!(key, hex(&row, "prefix_hex"), "{row}");
        key.extend_from_slice(primary.as_bytes());
        assert_eq!(key, hex(&row, "hex"), "{row}");
    }
}

#[test]
fn what_is_cut_short_or_newer_is_not_read() {
    let whole = Subscription {
        instruction: Instruction::PropagateOnlyIfFkValAvailable,
        hash: Some([7; 16]),
        primary_key: Vec::new(),
        primary_partition: Some(3),
    };
    let mut bytes = Vec::new();
    whole.write(&mut bytes);
    for length in 0..bytes.len() {
        assert!(Subscription::read(&bytes[..length]).is_err(), "{length} bytes");
    }
    for (at, byte) in [(0, 2), (1, 4)] {
        let mut other = bytes.clone();
        other[at] = byte;
        assert!(Subscription::read(&other).is_err(), "{byte} at {at}");
    }
    let serde = ResponseSerde(Arc::new(Raw) as Arc<dyn Serde<Vec<u8>>>);
    for bytes in [&[] as &[u8], &[0, 1, 2], &[1], &[0x81]] {
        assert!(serde.deserialize(Some(bytes)).is_err(), "{bytes:?}");
    }
    assert!(serde.deserialize(None).is_err());
}
