//! Queries: the REST interface over the stores of all instances.
//!
//! Any instance answers any key. The way of a lookup:
//!
//! ```text
//! key text ──Format──► bytes ──murmur2──► partition ──ClusterView──► owner
//!                                                      │
//!      this instance: committed snapshot (TaskView) ◄──┴──► elsewhere: one forwarded request
//! ```
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /stores/{store}/keys/{key}` | the entry of a key; with `?as_of=<ms>` as it was then, where the store keeps versions |
//! | `GET /stores` | the stores that may be queried, and the owner of each partition |
//! | `GET /cluster` | the instances and their tasks |
//! | `GET /cluster/alive` | that the instance is alive, and whom it hears; instances ask each other |
//! | `POST /cluster/drain` | the others take over what the instance has, then it stops |
//! | `GET /restores` | the tasks whose stores are being restored here: records, bytes, rate, time left |
//! | `GET /topology` | the topology's description |
//! | `GET /livez`, `/readyz` | whether the instance lives, is ready |
//! | `GET /metrics` | Prometheus' text format |
//!
//! # Rules
//!
//! 1. What a query answers is committed; entry and position are of one commit.
//! 2. No query runs on a worker thread or waits for one.
//! 3. A forwarded request is answered or refused, never forwarded again: no view, however stale, makes a loop.
//! 4. Who answers is decided without a remote call, by the pure function in `route`.
//! 5. Every failure has a [`Code`] with one status (`docs/errors.md`), in a problem body by RFC 9457; an absent key, an
//!    unknown store and a store that cannot be read now are different answers.
//! 6. Everything that grows is bounded ([`QueryOptions`]); what exceeds a bound is refused at once.

mod answer;
mod cluster_body;
mod code;
mod deadline;
mod error;
mod forward;
mod headers;
mod keys;
mod limits;
mod lookup;
mod metrics;
mod options;
mod overview;
mod owner;
mod port;
mod probes;
mod probing;
mod problem;
mod read;
mod reads;
mod restores;
mod route;
mod server;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderValue, Method, Uri},
    response::Response,
    routing::{get, post},
};

/// Routes of a service, to be served beside the framework's.
pub use axum::Router;

pub use self::{
    answer::{Consistency, ServedAs},
    code::Code,
    error::{QueryError, Seen},
    options::QueryOptions,
    port::{Catalogue, Health, LocalTask, RestoreStatus, Serving, Spread, StoreEntry, TopologyDescription},
    probing::Prober,
    server::serve,
};
use self::{
    forward::Forwarder,
    headers::{Context, RequestIds},
    limits::Limits,
    reads::Reads,
};
use crate::log::TopicPartition;

/// Committed input positions: per input partition the offset of the next record. All records below are in the answer.
pub type Position = BTreeMap<TopicPartition, i64>;

/// What the handlers share.
#[derive(Debug)]
struct Api {
    serving: Arc<dyn Serving>,
    options: QueryOptions,
    forwarder: Forwarder,
    reads: Reads,
    limits: Limits,
    request_ids: RequestIds,
    instance_header: HeaderValue,
}

/// The REST interface over an instance. Merge it with routes of your own; paths that nobody has are answered here.
///
/// # Errors
/// When the client for requests to other instances cannot be set up.
pub fn router(serving: Arc<dyn Serving>, options: QueryOptions) -> Result<Router, reqwest::Error> {
    let api = Api {
        forwarder: Forwarder::new(serving.application_id(), &options)?,
        reads: Reads::new(options.max_concurrent_reads),
        limits: Limits::new(options.max_in_flight),
        request_ids: RequestIds::new(),
        instance_header: headers::instance_value(serving.application_id(), serving.instance_id()),
        serving,
        options,
    };
    Ok(Router::new()
        .route("/stores", get(overview::stores))
        .route("/stores/{store}/keys", get(keys::by_parameter))
        .route("/stores/{store}/keys/", get(keys::empty))
        .route("/stores/{store}/keys/{key}", get(keys::by_path))
        .route("/cluster", get(overview::cluster))
        .route("/cluster/alive", get(probing::alive))
        .route("/cluster/drain", post(overview::drain))
        .route("/restores", get(restores::restores))
        .route("/topology", get(overview::topology))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_path)
        .with_state(Arc::new(api)))
}

async fn unknown_path(State(api): State<Arc<Api>>, uri: Uri, context: Context) -> Response {
    api.respond(&context, Err(QueryError::UnknownPath { path: uri.path().to_owned() }))
}

async fn method_not_allowed(State(api): State<Arc<Api>>, method: Method, uri: Uri, context: Context) -> Response {
    let error = QueryError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() };
    api.respond(&context, Err(error))
}

// === impl Api ===

impl Api {
    /// The response to a request, with the headers that every answer carries.
    fn respond(&self, context: &Context, result: Result<Response, QueryError>) -> Response {
        let mut response =
            result.unwrap_or_else(|error| problem::response(&error, &context.request_id, self.serving.instance_id()));
        let headers = response.headers_mut();
        headers.insert(headers::REQUEST_ID, context.request_id.to_header());
        headers.insert(headers::INSTANCE, self.instance_header.clone());
        response
    }
}
