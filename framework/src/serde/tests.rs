use ::serde::Deserialize;
use proptest::{num, prelude::*};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plane {
    tail: String,
    seats: Option<u32>,
}

fn bytes<T: Data>(value: &T) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let presence = default_serde::<T>().serialize(value, &mut out).expect("a value that can be written");
    assert!(out.starts_with(b"before"), "serdes append");
    presence.of(&out[6..]).map(<[u8]>::to_vec)
}

#[test]
fn nulls_are_seen_through_newtypes_and_options_only() {
    #[derive(Serialize)]
    struct Wrapped(Option<i32>);

    assert!(is_null(&None::<String>) && is_null(&Wrapped(None)) && is_null(&Some(None::<i32>)));
    assert!(
        !is_null(&Some("")) && !is_null(&Wrapped(Some(0))) && !is_null(&Plane { tail: String::new(), seats: None })
    );
    assert!(!is_null("") && !is_null(&()) && !is_null(&Vec::<Option<i32>>::new()));
}

#[test]
fn each_type_has_the_serde_its_users_expect() {
    assert_eq!(bytes(&"ä".to_owned()), Some("ä".as_bytes().to_vec()));
    assert_eq!(bytes(&-2_i64), Some(vec![255, 255, 255, 255, 255, 255, 255, 254]));
    assert_eq!(bytes(&Some(1_u32)), Some(vec![0, 0, 0, 1]));
    assert_eq!(bytes(&None::<u32>), None);
    assert_eq!(bytes(&vec![0_u8, 7]), Some(vec![0, 7]));
    assert_eq!(bytes(&Some(String::new())), Some(vec![]), "empty is not null");
    assert_eq!(bytes(&true), Some(b"true".to_vec()));
    let plane = Plane { tail: "N1".into(), seats: None };
    assert_eq!(bytes(&Some(plane)), Some(br#"{"tail":"N1","seats":null}"#.to_vec()));
    assert_eq!(bytes(&None::<Plane>), None);
}

#[test]
fn a_null_is_an_error_where_the_type_has_none() {
    for error in [
        default_serde::<String>().deserialize(None).err(),
        default_serde::<i64>().deserialize(None).err(),
        default_serde::<Plane>().deserialize(None).err(),
    ] {
        assert!(matches!(error, Some(SerdeError::Null { .. })), "{error:?}");
    }
    assert_eq!(default_serde::<Option<i64>>().deserialize(None).expect("nullable"), None);
    assert_eq!(default_serde::<Option<Plane>>().deserialize(None).expect("nullable"), None);
}

#[test]
fn bytes_of_another_length_are_no_number() {
    let error = default_serde::<i64>().deserialize(Some(&[1, 2, 3])).expect_err("3 bytes");
    assert_eq!(error.to_string(), "3 bytes cannot be read as i64, which has 8");
}

#[test]
fn options_come_and_go_without_a_change_of_bytes() {
    let plain = Serdes::<String, Plane>::json();
    let back = plain.nullable_values().present_values();
    let plane = Plane { tail: "N1".into(), seats: Some(2) };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    plain.value().serialize(&plane, &mut a).expect("plain");
    back.value().serialize(&plane, &mut b).expect("there and back");
    assert_eq!(a, b);
    assert!(matches!(back.value().deserialize(None), Err(SerdeError::Null { .. })));
    assert_eq!(plain.nullable_values().value().deserialize(None).expect("nullable"), None);
}

proptest! {
    /// Rows are told apart by their bytes: they must not change by being kept.
    #[test]
    fn numbers_in_json_have_the_same_bytes_when_they_were_read(number in num::f64::NORMAL | num::f64::SUBNORMAL | num::f64::ZERO) {
        let (mut written, mut again) = (Vec::new(), Vec::new());
        Json.serialize(&number, &mut written).expect("a number");
        let read: f64 = Json.deserialize(Some(&written)).expect("what was written");
        Json.serialize(&read, &mut again).expect("a number");
        prop_assert_eq!(read.to_bits(), number.to_bits());
        prop_assert_eq!(again, written);
    }
}

#[test]
fn keys_are_read_from_text_as_their_serde_writes_them() {
    let key = |format: Format, text: &str| format.parse_key(text).ok();
    assert_eq!(key(Format::String, "N 1"), Some(b"N 1".to_vec()));
    assert_eq!(key(Format::I64, "-2"), bytes(&-2_i64));
    assert_eq!(key(Format::U32, "-2"), None);
    assert_eq!(
        key(Format::Json, r#"{ "tail": "N \" 1", "seats": null }"#),
        bytes(&Plane { tail: "N \" 1".into(), seats: None })
    );
    assert_eq!(key(Format::Json, "true"), bytes(&true));
    assert_eq!(key(Format::Json, "N1"), Some(br#""N1""#.to_vec()), "no JSON: the string itself");
    assert_eq!(key(Format::Bytes, "AAf_"), Some(vec![0, 7, 255]));
    let error = Format::I32.parse_key("x").expect_err("no number");
    assert_eq!(error.to_string(), "`x` is not a key in the format i32: invalid digit found in string");
}

#[test]
fn bytes_are_shown_as_json() {
    let json = |format: Format, bytes: &[u8]| format.to_json(bytes).map(|json| json.get().to_owned()).ok();
    assert_eq!(json(Format::Json, br#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(json(Format::Json, b"{"), None);
    assert_eq!(json(Format::String, b"a\"b").as_deref(), Some(r#""a\"b""#));
    assert_eq!(json(Format::I64, &[255; 8]).as_deref(), Some("-1"));
    assert_eq!(json(Format::I64, &[255; 7]), None);
    assert_eq!(json(Format::Custom("avro".into()), &[0, 7, 255]).as_deref(), Some(r#""AAf_""#));
}

#[test]
fn windowed_keys_are_written_as_text_and_lie_where_their_key_does() {
    let window = Format::TimeWindowed(Box::new(Format::String));
    let bytes = window.parse_key("user@example.com@1700000040000").expect("a key and a start");
    assert_eq!(bytes, [b"user@example.com".as_slice(), &1_700_000_040_000_i64.to_be_bytes()].concat());
    assert_eq!(window.partition_bytes(&bytes), b"user@example.com");
    let json = window.to_json(&bytes).expect("what was parsed");
    let json: serde_json::Value = serde_json::from_str(json.get()).expect("JSON");
    assert_eq!(json, serde_json::json!({ "key": "user@example.com", "start_ms": 1_700_000_040_000_i64 }));

    let session = Format::SessionWindowed(Box::new(Format::I64));
    let bytes = session.parse_key("7@10-25").expect("a key, a start and an end");
    assert_eq!(bytes, [7_i64.to_be_bytes(), 25_i64.to_be_bytes(), 10_i64.to_be_bytes()].concat());
    assert_eq!(session.partition_bytes(&bytes), 7_i64.to_be_bytes());
    for (format, text) in [(&window, "user"), (&window, "user@noon"), (&session, "7@10"), (&session, "seven@10-25")] {
        assert!(format.parse_key(text).is_err(), "{text}");
    }
}
