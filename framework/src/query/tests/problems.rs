//! Every error: its body against a golden file, its page in the docs.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde_json::{Value, json};

use super::fixture::{Answer, Fake};
use crate::{
    log::TopicPartition,
    query::{Code, QueryError, Seen, ServedAs, headers::RequestIds, problem},
};

/// One of each.
fn samples() -> Vec<QueryError> {
    let store = || "delays".into();
    let owner = || "b".to_owned();
    let url = || "http://b:8080".to_owned();
    let reasons = || vec!["task 0_1 is restoring: 120 records left".to_owned(), "the log cannot be reached".to_owned()];
    let position = [(TopicPartition::new("flights", 1), 12)].into();
    let seen = Seen { partition: Some(1), position: Some(position), role: ServedAs::Active, staleness_ms: 0 };
    vec![
        QueryError::NotFound { store: store(), key: "ZZ".into(), seen: Box::new(seen) },
        QueryError::UnknownStore { store: "none".into() },
        QueryError::UnknownPath { path: "/stores/delays/keys/a/b".into() },
        QueryError::MethodNotAllowed { path: "/stores".into(), method: "POST".into() },
        QueryError::InvalidKey { store: store(), reason: "`x` is not a key in the format i64: invalid digit".into() },
        QueryError::KeyTooLong { limit_bytes: 8192 },
        QueryError::InvalidRequest { reason: "header `millpond-deadline-ms` must be whole milliseconds".into() },
        QueryError::StoreRestoring { store: store(), partition: Some(1), owner: owner() },
        QueryError::NoLiveOwner { store: store(), partition: 1 },
        QueryError::OwnerUnreachable {
            store: store(),
            partition: 1,
            owner: owner(),
            url: url(),
            reason: "connection refused".into(),
        },
        QueryError::OwnerChanging { store: store(), partition: 1, owner: owner() },
        QueryError::HopLimit { store: store(), partition: 1 },
        QueryError::DeadlineExceeded { allowed_ms: 5000, waiting_for: "instance `b` at http://b:8080".into() },
        QueryError::Overloaded { limit: 1024 },
        QueryError::Starting,
        QueryError::NotReady { reasons: reasons() },
        QueryError::NotLive { reasons: reasons() },
        QueryError::AnswerTooLarge { owner: owner(), url: url(), limit_bytes: 67_108_864 },
        QueryError::Undecodable { store: store(), format: "json".into() },
        QueryError::StoreFailed { store: store() },
        QueryError::Internal { what: "reading the store".into() },
    ]
}

/// What a client gets to see of it.
async fn shown(error: &QueryError) -> Value {
    let response = problem::response(error, &RequestIds::of_process(0x4f2a).next(), "a");
    let answer = Answer::read(response).await;
    json!({ "retry-after": answer.header("retry-after"), "body": answer.json() })
}

fn project_file(path: &str) -> PathBuf {
    // Checkouts may share a target directory, and so what was compiled.
    let folder = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    folder.join(path)
}

#[tokio::test]
async fn every_error_looks_as_it_always_did() {
    let mut now = BTreeMap::new();
    for error in samples() {
        now.insert(error.code().as_str(), shown(&error).await);
    }
    let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(now.len(), all.len(), "a sample is missing: there are {all:?}");

    let file = project_file("src/query/tests/problems.json");
    let now = serde_json::to_string_pretty(&now).expect("JSON values") + "\n";
    if std::env::var_os("MILLPOND_BLESS").is_some() {
        fs::write(&file, &now).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&file).expect("the golden file is there");
    assert_eq!(now, golden, "programs rely on these bodies; if the change is meant, run with MILLPOND_BLESS=1");
}

#[test]
fn every_code_is_documented_with_its_status() {
    let page = fs::read_to_string(project_file("../docs/errors.md")).expect("docs/errors.md is there");
    let documented: BTreeMap<&str, &str> =
        page.split("\n### ").skip(1).map(|section| section.split_once('\n').expect("a section has lines")).collect();
    for code in Code::ALL {
        let section = documented.get(code.as_str()).unwrap_or_else(|| panic!("{code} is not in docs/errors.md"));
        let retry = code.retry_after_s().map_or(String::new(), |seconds| format!(", `Retry-After: {seconds}`"));
        let facts = format!("Status {}{retry}.", code.status().as_u16());
        assert!(section.contains(&facts), "{code}: docs/errors.md does not say `{facts}`");
    }
    assert_eq!(
        documented.len(),
        Code::ALL.len(),
        "docs/errors.md has codes that do not exist: {:?}",
        documented.keys()
    );
}

#[tokio::test]
async fn probes_say_why() {
    let fake = Fake::new("a");
    for path in ["/livez", "/readyz"] {
        let answer = fake.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"status":"ok"}"#));
    }
    fake.facts().health.ready = Err(vec!["task 0_1 is restoring".into()]);
    assert_eq!(fake.get("/livez").await.status, 200);
    let answer = fake.get("/readyz").await;
    assert_eq!(
        (answer.problem().as_str(), answer.json()["reasons"].clone()),
        ("NotReady", json!(["task 0_1 is restoring"]))
    );
    fake.facts().health.live = Err(vec!["worker 1 is stuck".into()]);
    let answer = fake.get("/livez").await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (503, Some("NotLive")));
}
