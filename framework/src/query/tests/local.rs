//! Lookups that one instance answers by itself.

use std::sync::Arc;

use axum::{body::Body, http::Request};
use serde_json::json;

use super::fixture::{Fake, Row, TASK_OF_UA, ask, impatient, stores};
use crate::cluster::TaskState;

/// An instance that has every task, with these rows in each.
fn with_rows(rows: &[Row<'_>]) -> Arc<Fake> {
    let fake = Fake::new("a");
    fake.has_everywhere(rows);
    fake
}

#[tokio::test]
async fn an_entry_comes_with_where_it_is_from() {
    let fake = with_rows(&[(0, b"UA", r#"{"flights":2}"#)]);
    let answer = fake.get("/stores/delays/keys/UA").await;
    assert_eq!(
        answer.text(),
        r#"{"key":"UA","value":{"flights":2},"timestamp":1000,"partition":1,"position":{"flights":{"0":7,"1":12},"planes":{"1":3}},"role":"active","staleness_ms":0,"served_by":"a"}"#
    );
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), Some("test"));
    assert_eq!(answer.header("millpond-instance"), Some("flights/a"));
}

#[tokio::test]
async fn keys_are_written_in_the_format_of_the_store() {
    let fake =
        with_rows(&[(1, &(-5_i64).to_be_bytes(), "1"), (0, "a/b ü+%".as_bytes(), "2"), (0, b"..", "3"), (0, b"", "4")]);
    for (path, key, value) in [
        ("/stores/by-number/keys/-5", json!(-5), 1),
        ("/stores/delays/keys/a%2Fb%20%C3%BC+%25", json!("a/b ü+%"), 2),
        ("/stores/delays/keys?key=a/b+%C3%BC%2B%25", json!("a/b ü+%"), 2),
        ("/stores/delays/keys?key=..", json!(".."), 3),
        ("/stores/delays/keys/", json!(""), 4),
    ] {
        let body = fake.get(path).await.json();
        assert_eq!((&body["key"], &body["value"]), (&key, &json!(value)), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_store_that_keeps_versions_is_asked_as_of_a_time() {
    let fake = with_rows(&[(3, b"UA", "1"), (3, b"UA", "2"), (0, b"UA", "3")]);
    let versions = ["", "?as_of=1001", "?as_of=1000"].map(|as_of| format!("/stores/versions/keys/UA{as_of}"));
    for (path, value, timestamp) in [(&versions[0], 2, 1001), (&versions[1], 2, 1001), (&versions[2], 1, 1000)] {
        let body = fake.get(path).await.json();
        assert_eq!((&body["value"], &body["timestamp"]), (&json!(value), &json!(timestamp)), "{path}: {body}");
        assert_eq!(body["position"]["planes"]["1"], 3);
    }
    let by_parameter = fake.get("/stores/versions/keys?key=UA&as_of=1000").await.json();
    assert_eq!(by_parameter["value"], 1);
    for (path, code) in [
        ("/stores/versions/keys/UA?as_of=999", "NotFound"),
        ("/stores/versions/keys/UA?as_of=soon", "InvalidRequest"),
        ("/stores/versions/keys/UA?as_of=1&as_of=2", "InvalidRequest"),
        ("/stores/delays/keys/UA?as_of=1000", "InvalidRequest"),
    ] {
        assert_eq!(fake.get(path).await.problem(), code, "{path}");
    }
}

#[tokio::test]
async fn a_global_table_is_answered_by_every_instance() {
    let fake = Fake::new("a");
    assert_eq!(fake.get("/stores/airlines/keys/UA").await.problem(), "StoreRestoring");
    fake.has_globally(&[(0, b"UA", r#""United""#)]);
    let body = fake.get("/stores/airlines/keys/UA").await.json();
    assert_eq!(body["value"], "United");
    assert_eq!((&body["role"], &body["partition"]), (&json!("global"), &json!(null)));
    let absent = fake.get("/stores/airlines/keys/ZZ").await;
    assert_eq!((absent.problem().as_str(), absent.json()["role"].as_str()), ("NotFound", Some("global")));
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_apart() {
    let fake = with_rows(&[(0, b"broken", "{"), (0, b"UA", "1")]);
    let too_long = format!("/stores/delays/keys/{}", "x".repeat(8 * 1024 + 1));
    for (path, code, status) in [
        ("/stores/delays/keys/ZZ", "NotFound", 404),
        ("/stores/none/keys/UA", "UnknownStore", 404),
        ("/stores/private/keys/UA", "UnknownStore", 404),
        ("/stores/by-number/keys/UA", "InvalidKey", 400),
        ("/stores/delays/keys/%FF", "InvalidKey", 400),
        ("/stores/delays/keys", "InvalidRequest", 400),
        ("/stores/delays/keys?key=a&key=b", "InvalidRequest", 400),
        ("/stores/delays/keys?key=a&consistancy=any", "InvalidRequest", 400),
        ("/stores/delays/keys/a?consistency=eventual", "InvalidRequest", 400),
        ("/stores/delays/keys", "InvalidRequest", 400),
        ("/stores/delays/keys/broken", "Undecodable", 500),
        ("/stores/delays/keys/a/b", "UnknownPath", 404),
        ("/", "UnknownPath", 404),
        (too_long.as_str(), "KeyTooLong", 414),
    ] {
        let answer = fake.get(path).await;
        assert_eq!((answer.problem().as_str(), answer.status.as_u16()), (code, status), "{path}");
    }
    let post = Request::post("/stores/delays/keys/UA").body(Body::empty()).expect("a legal request");
    let answer = fake.ask(post).await;
    assert_eq!((answer.problem().as_str(), answer.header("allow")), ("MethodNotAllowed", Some("GET,HEAD")));
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_no_absent_key() {
    let fake = Fake::new("a");
    assert_eq!(fake.get("/stores/delays/keys/UA").await.problem(), "NoLiveOwner");
    fake.sees(&[(TASK_OF_UA, "a", "http://a")]);
    assert_eq!(fake.get("/stores/delays/keys/UA").await.problem(), "StoreRestoring");
    fake.has(TASK_OF_UA, TaskState::Restoring, stores(&[(0, b"UA", "1")]));
    assert_eq!(fake.get("/stores/delays/keys/UA").await.problem(), "StoreRestoring");

    fake.has(TASK_OF_UA, TaskState::Running, stores(&[(0, b"UA", "1")]));
    assert_eq!(fake.get("/stores/delays/keys/UA").await.status, 200);
    fake.closes_its_stores();
    assert_eq!(fake.get("/stores/delays/keys/UA").await.problem(), "OwnerChanging");

    fake.facts().stores = None;
    assert_eq!(fake.get("/stores/delays/keys/UA").await.problem(), "Starting");
}

#[tokio::test]
async fn a_deadline_must_be_a_number_and_may_be_over() {
    let fake = with_rows(&[(0, b"UA", "1")]);
    for (deadline, code) in [("soon", "InvalidRequest"), ("-1", "InvalidRequest"), ("0", "DeadlineExceeded")] {
        let request = Request::get("/stores/delays/keys/UA").header("millpond-deadline-ms", deadline);
        let answer = fake.ask(request.body(Body::empty()).expect("a legal request")).await;
        assert_eq!(answer.problem(), code, "{deadline}");
    }
}

#[tokio::test]
async fn a_request_id_that_is_unfit_is_replaced() {
    let fake = Fake::new("a");
    let mut seen = Vec::new();
    for id in ["", "a b", "a\"b", &"x".repeat(129)] {
        let request = Request::get("/livez").header("x-request-id", id).body(Body::empty()).expect("a legal request");
        let answer = ask(fake.router(impatient()), request).await;
        seen.push(answer.header("x-request-id").expect("every answer has one").to_owned());
        assert_ne!(seen.last().map(String::as_str), Some(id));
    }
    seen.dedup();
    assert_eq!(seen.len(), 4, "ids are distinct: {seen:?}");
}

#[tokio::test]
async fn lookups_are_counted_by_store_route_and_status() {
    let fake = with_rows(&[(0, b"UA", "1")]);
    for path in ["/stores/delays/keys/UA", "/stores/delays/keys/ZZ", "/stores/x/keys/UA", "/stores/y/keys/UA"] {
        fake.get(path).await;
    }
    let metrics = fake.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    for line in [
        r#"millpond_query_requests_total{code="200",route="local",store="delays"} 1"#,
        r#"millpond_query_requests_total{code="404",route="local",store="delays"} 1"#,
        r#"millpond_query_requests_total{code="404",route="local",store="unknown"} 2"#,
        r#"millpond_query_duration_seconds_count{route="local"} 4"#,
    ] {
        assert!(metrics.text().contains(line), "{line} is not in\n{}", metrics.text());
    }
}
