//! Instances for tests: HTTP servers that answer from a [`Truth`], with faults on demand.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{demo::Instance, truth::Truth};

/// What a test changes about the answers: store, key, what the truth has -> what to answer.
pub(crate) type Answers = dyn Fn(&str, &str, Option<&Value>) -> (StatusCode, Value) + Send + Sync;

struct Standin {
    names: Vec<String>,
    truth: Arc<Truth>,
    answers: Box<Answers>,
}

/// Starts instances `a`, `b`, … that answer alike; each key is owned by the one that the sum of its bytes picks.
pub(crate) async fn start(
    count: u8,
    truth: &Arc<Truth>,
    answers: impl Fn(&str, &str, Option<&Value>) -> (StatusCode, Value) + Send + Sync + 'static,
) -> anyhow::Result<Vec<Instance>> {
    let names = (0..count).map(|index| char::from(b'a' + index).to_string()).collect();
    let standin = Standin { names, truth: Arc::clone(truth), answers: Box::new(answers) };
    let standin = Arc::new(standin);
    let mut instances = Vec::new();
    for name in &standin.names {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        instances.push(Instance { name: name.clone(), url: format!("http://{}", listener.local_addr()?) });
        let router = Router::new().route("/stores/{store}/keys/{key}", get(answer)).with_state(Arc::clone(&standin));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    Ok(instances)
}

/// The right answers.
pub(crate) fn truthful(_store: &str, _key: &str, truth: Option<&Value>) -> (StatusCode, Value) {
    match truth {
        Some(value) => (StatusCode::OK, value.clone()),
        None => not_found(),
    }
}

pub(crate) fn not_found() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({"code": "NotFound", "detail": "the key is not in the store", "status": 404}))
}

async fn answer(
    State(standin): State<Arc<Standin>>,
    Path((store, key)): Path<(String, String)>,
) -> (StatusCode, Bytes) {
    let truth = standin.truth.store(&store).and_then(|entries| entries.get(&key));
    let (status, body) = (standin.answers)(&store, &key, truth);
    if status != StatusCode::OK {
        return (status, body.to_string().into());
    }
    let owner: usize = key.bytes().map(usize::from).sum();
    let answer = json!({
        "key": key, "value": body, "timestamp": 1, "partition": 0, "position": {}, "role": "active",
        "served_by": standin.names[owner % standin.names.len()],
    });
    (status, answer.to_string().into())
}
