//! `GET /stores/{store}/keys/{key}`.

use std::sync::Arc;

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::Response,
};
use serde::Deserialize;

use super::{
    Api, QueryError,
    deadline::Deadline,
    headers::Context,
    lookup::{Lookup, Outcome, Trace},
    metrics,
};

/// The parameters of `GET /stores/{store}/keys`.
#[derive(Debug, Deserialize)]
pub(super) struct KeyParameter {
    key: String,
}

/// `GET /stores/{store}/keys/{key}`: the key in the path.
pub(super) async fn by_path(
    State(api): State<Arc<Api>>,
    context: Context,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Response {
    let asked = path.map(|Path(asked)| asked).map_err(|rejection| invalid(rejection.body_text()));
    api.get(&context, asked).await
}

/// `GET /stores/{store}/keys/`: the empty key, which a path pattern does not match.
pub(super) async fn empty(
    State(api): State<Arc<Api>>,
    context: Context,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let asked = path.map(|Path(store)| (store, String::new())).map_err(|rejection| invalid(rejection.body_text()));
    api.get(&context, asked).await
}

/// `GET /stores/{store}/keys?key=`: the same, for keys that a URL path cannot carry (`.` and `..`, which URL libraries take for
/// steps), and for requests between instances.
pub(super) async fn by_parameter(
    State(api): State<Arc<Api>>,
    context: Context,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<KeyParameter>, QueryRejection>,
) -> Response {
    let store = path.map(|Path(store)| store).map_err(|rejection| invalid(rejection.body_text()));
    let key = query.map(|Query(parameter)| parameter.key).map_err(|rejection| invalid(rejection.body_text()));
    api.get(&context, store.and_then(|store| Ok((store, key?)))).await
}

fn invalid(reason: String) -> QueryError {
    QueryError::InvalidRequest { reason }
}

// === impl Api ===

impl Api {
    /// Answers a request for a key, whatever became of it, and counts it.
    async fn get(&self, context: &Context, asked: Result<(String, String), QueryError>) -> Response {
        let mut trace = Trace::default();
        let result = self.try_get(context, asked, &mut trace).await;
        let response = self.respond(context, result.map(Outcome::into_response));
        let took = context.received.elapsed();
        metrics::answered(self.serving.metrics(), trace.store.as_deref(), trace.route, response.status(), took);
        response
    }

    async fn try_get(
        &self,
        context: &Context,
        asked: Result<(String, String), QueryError>,
        trace: &mut Trace,
    ) -> Result<Outcome, QueryError> {
        let _in_flight = self.limits.admit(context.forwarded)?;
        let (store, key) = asked?;
        let lookup = Lookup {
            store,
            key,
            forwarded: context.forwarded,
            deadline: Deadline::of(context.received, &context.headers, &self.options)?,
            request_id: context.request_id.clone(),
        };
        self.lookup(&lookup, trace).await
    }
}
