//! `GET /livez`, `/readyz` and `/metrics`: for orchestrators and Prometheus.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Api, QueryError, headers::Context};

/// `GET /livez`: fails when only a restart helps.
pub(super) async fn livez(State(api): State<Arc<Api>>, context: Context) -> Response {
    let live = api.serving.health().live;
    api.respond(&context, live.map(|()| ok()).map_err(|reasons| QueryError::NotLive { reasons }))
}

/// `GET /readyz`: fails until the instance has caught up.
pub(super) async fn readyz(State(api): State<Arc<Api>>, context: Context) -> Response {
    let ready = api.serving.health().ready;
    api.respond(&context, ready.map(|()| ok()).map_err(|reasons| QueryError::NotReady { reasons }))
}

/// `GET /metrics`: in Prometheus' text format.
pub(super) async fn metrics(State(api): State<Arc<Api>>, context: Context) -> Response {
    let mut response = api.serving.scrape().into_response();
    let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    api.respond(&context, Ok(response))
}

fn ok() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}
