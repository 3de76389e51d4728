//! Problem bodies (RFC 9457), `application/problem+json`.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    QueryError, ServedAs,
    answer::PositionJson,
    headers::{self, RequestId},
};

/// The body of every answer that is not a success: RFC 9457's members, our `code`, and what a program may want to know of
/// the particular failure.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    instance: String,
    request_id: &'a str,
    served_by: &'a str,
    #[serde(flatten)]
    members: Members<'a>,
}

#[derive(Debug, Default, Serialize)]
struct Members<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<PositionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staleness_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<ServedAs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<&'a [String]>,
}

/// The response for a failure.
pub(super) fn response(error: &QueryError, request_id: &RequestId, served_by: &str) -> Response {
    let code = error.code();
    let problem = Problem {
        r#type: code.type_uri(),
        title: code.title(),
        status: code.status().as_u16(),
        code: code.as_str(),
        detail: error.to_string(),
        instance: format!("urn:millpond:request:{request_id}"),
        request_id: request_id.as_str(),
        served_by,
        members: Members::of(error),
    };
    let body = serde_json::to_vec(&problem).expect("a problem consists of strings and numbers");
    let mut response = (code.status(), body).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    fields.insert(headers::CODE, HeaderValue::from_static(code.as_str()));
    if let Some(seconds) = code.retry_after_s() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

// === impl Members ===

impl<'a> Members<'a> {
    fn of(error: &'a QueryError) -> Self {
        let none = Self::default();
        match error {
            QueryError::NotFound { store, key, seen } => Self {
                store: Some(store),
                key: Some(key),
                partition: seen.partition,
                position: seen.position.as_ref().map(PositionJson),
                role: Some(seen.role),
                staleness_ms: Some(seen.staleness_ms),
                ..none
            },
            QueryError::UnknownStore { store } => Self { store: Some(store), ..none },
            QueryError::InvalidKey { store, .. }
            | QueryError::Undecodable { store, .. }
            | QueryError::StoreFailed { store } => Self { store: Some(store), ..none },
            QueryError::StoreRestoring { store, partition, owner } => {
                Self { store: Some(store), partition: *partition, owner: Some(owner), ..none }
            }
            QueryError::NoLiveOwner { store, partition } | QueryError::HopLimit { store, partition } => {
                Self { store: Some(store), partition: Some(*partition), ..none }
            }
            QueryError::OwnerUnreachable { store, partition, owner, .. }
            | QueryError::OwnerChanging { store, partition, owner } => {
                Self { store: Some(store), partition: Some(*partition), owner: Some(owner), ..none }
            }
            QueryError::AnswerTooLarge { owner, .. } => Self { owner: Some(owner), ..none },
            QueryError::NotReady { reasons } | QueryError::NotLive { reasons } => {
                Self { reasons: Some(reasons), ..none }
            }
            QueryError::UnknownPath { .. }
            | QueryError::MethodNotAllowed { .. }
            | QueryError::KeyTooLong { .. }
            | QueryError::InvalidRequest { .. }
            | QueryError::DeadlineExceeded { .. }
            | QueryError::Overloaded { .. }
            | QueryError::Starting
            | QueryError::Internal { .. } => none,
        }
    }
}
