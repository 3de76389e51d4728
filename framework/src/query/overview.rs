//! `GET /stores`, `/cluster` and `/topology`: what there is and who has it, as this instance knows it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Api, QueryError, Spread, StoreEntry, cluster_body::ClusterBody, headers::Context};
use crate::{cluster::ClusterView, state::TaskId};

/// The body of `GET /stores`.
#[derive(Debug, Serialize)]
struct Stores<'a> {
    stores: Vec<StoreJson<'a>>,
}

#[derive(Debug, Serialize)]
struct StoreJson<'a> {
    name: &'a str,
    kind: &'static str,
    key_format: String,
    value_format: String,
    /// `true`: every instance has all its keys, and the members below are empty.
    global: bool,
    sub_topology: Option<u32>,
    partitions: Option<i32>,
    owners: Vec<OwnerJson<'a>>,
}

#[derive(Debug, Serialize)]
struct OwnerJson<'a> {
    partition: i32,
    /// `null`: no live instance owns the partition.
    instance: Option<&'a str>,
    url: Option<&'a str>,
}

/// `GET /stores`: the stores that may be queried.
pub(super) async fn stores(State(api): State<Arc<Api>>, context: Context) -> Response {
    let result = api.serving.stores().ok_or(QueryError::Starting).map(|catalogue| {
        let view = api.serving.cluster();
        let stores = catalogue.queryable().map(|store| StoreJson::new(store, &view)).collect();
        Json(Stores { stores }).into_response()
    });
    api.respond(&context, result)
}

/// `GET /cluster`: the instances and their tasks.
pub(super) async fn cluster(State(api): State<Arc<Api>>, context: Context) -> Response {
    let view = api.serving.cluster();
    let stores = api.serving.stores();
    let body = ClusterBody::new(api.serving.application_id(), &view, stores.as_deref());
    let response = Json(body).into_response();
    api.respond(&context, Ok(response))
}

/// `POST /cluster/drain`: the others take over what this instance has, then it stops; as SIGTERM does.
pub(super) async fn drain(State(api): State<Arc<Api>>, context: Context) -> Response {
    tracing::info!(request_id = %context.request_id, "asked to drain");
    api.serving.drain();
    let body = serde_json::json!({ "instance": api.serving.instance_id(), "draining": true });
    api.respond(&context, Ok((StatusCode::ACCEPTED, Json(body)).into_response()))
}

/// `GET /topology`: the description, as JSON, or as text for a client that prefers `text/plain`.
pub(super) async fn topology(State(api): State<Arc<Api>>, context: Context) -> Response {
    let description = api.serving.topology();
    let mut response = if prefers_text(&context.headers) {
        description.text.clone().into_response()
    } else {
        Json(&description.json).into_response()
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    api.respond(&context, Ok(response))
}

/// Whether `Accept` ranks `text/plain` above JSON. Wildcards ask for nothing in particular: they mean JSON.
fn prefers_text(headers: &HeaderMap) -> bool {
    let mut text = 0.0;
    let mut json = 0.0;
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
        match media_type {
            "text/plain" => text = quality,
            "application/json" => json = quality,
            _ => {}
        }
    }
    text > json
}

// === impl StoreJson ===

impl<'a> StoreJson<'a> {
    fn new(store: &'a StoreEntry, view: &'a ClusterView) -> Self {
        let (sub_topology, partitions, owners) = match store.spread {
            Spread::Global => (None, None, Vec::new()),
            Spread::Partitioned { sub_topology, partitions } => {
                let owner = |partition| OwnerJson::new(TaskId { sub_topology, partition }, view);
                (Some(sub_topology), Some(partitions), (0..partitions).map(owner).collect())
            }
        };
        Self {
            name: &store.spec.name,
            kind: store.spec.kind.name(),
            key_format: store.spec.key_format.to_string(),
            value_format: store.spec.value_format.to_string(),
            global: store.spread == Spread::Global,
            sub_topology,
            partitions,
            owners,
        }
    }
}

// === impl OwnerJson ===

impl<'a> OwnerJson<'a> {
    fn new(task: TaskId, view: &'a ClusterView) -> Self {
        let owner = view.owner(task);
        Self {
            partition: task.partition,
            instance: owner.map(|(instance, _)| &**instance),
            url: owner.map(|(_, url)| url),
        }
    }
}
