//! `GET /restores`: the tasks whose stores this instance is bringing up to the end of their changelogs.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Api, RestoreStatus, headers::Context};
use crate::cluster::Role;

/// The body of `GET /restores`.
#[derive(Debug, Serialize)]
struct Restores {
    restores: Vec<RestoreJson>,
}

#[derive(Debug, Serialize)]
struct RestoreJson {
    task: String,
    role: Role,
    /// Applied so far.
    records: u64,
    bytes: u64,
    /// Offsets still to go: at most so many records.
    remaining: u64,
    records_per_s: f64,
    elapsed_ms: u64,
    /// At the rate so far; `null` before the first record, and while something holds it back.
    left_ms: Option<u64>,
    /// Why it does not go on; absent while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<Arc<str>>,
}

pub(super) async fn restores(State(api): State<Arc<Api>>, context: Context) -> Response {
    let restores = api.serving.restores().into_iter().map(RestoreJson::from).collect();
    api.respond(&context, Ok(Json(Restores { restores }).into_response()))
}

impl From<RestoreStatus> for RestoreJson {
    fn from(status: RestoreStatus) -> Self {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            task: status.task.to_string(),
            role: status.role,
            records: status.records,
            bytes: status.bytes,
            remaining: status.remaining,
            records_per_s: status.records_per_s.round(),
            elapsed_ms: millis(status.elapsed),
            left_ms: status.left.map(millis),
            held_back: status.held_back,
        }
    }
}
