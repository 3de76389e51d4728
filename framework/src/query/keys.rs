//! `GET /stores/{store}/keys/{key}`.

use std::sync::Arc;

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::Uri,
    response::Response,
};

use super::{
    Api, QueryError,
    deadline::Deadline,
    headers::Context,
    lookup::{Lookup, Outcome, Trace},
    metrics,
};

/// The parameters of a request, in their order. Those that nobody reads are refused: a misspelt one must not be a silent default.
type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameter that carries the key.
const KEY: &str = "key";

/// `GET /stores/{store}/keys/{key}`: the key in the path.
pub(super) async fn by_path(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let asked = path.map(|Path(asked)| asked).map_err(|_| not_text(&uri));
    api.get(&context, no_parameters(parameters).and(asked)).await
}

/// `GET /stores/{store}/keys/`: the empty key, which a path pattern does not match.
pub(super) async fn empty(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let asked = path.map(|Path(store)| (store, String::new())).map_err(|_| not_text(&uri));
    api.get(&context, no_parameters(parameters).and(asked)).await
}

/// `GET /stores/{store}/keys?key=`: the same, for keys that a URL path cannot carry (`.` and `..`, which URL libraries take for
/// steps), and for requests between instances.
pub(super) async fn by_parameter(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let store = path.map(|Path(store)| store).map_err(|_| not_text(&uri));
    let asked = store.and_then(|store| Ok((store, key_parameter(parameters)?)));
    api.get(&context, asked).await
}

/// The only thing that these paths do not take: bytes that are no text. A path is `/stores/{store}/keys/{key}`.
fn not_text(uri: &Uri) -> QueryError {
    let store = uri.path().split('/').nth(2).unwrap_or_default();
    QueryError::InvalidKey { store: store.into(), reason: "the path is not UTF-8 when it is percent-decoded".into() }
}

fn key_parameter(parameters: Parameters) -> Result<String, QueryError> {
    let mut key = None;
    for (name, value) in read(parameters)? {
        if name != KEY {
            return Err(unknown(&name, "it takes `key`"));
        }
        if key.replace(value).is_some() {
            return Err(invalid("the parameter `key` is there twice"));
        }
    }
    key.ok_or_else(|| invalid("the parameter `key` is missing: ask for `/stores/{store}/keys/{key}`, or `?key=`"))
}

fn no_parameters(parameters: Parameters) -> Result<(), QueryError> {
    match read(parameters)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(unknown(name, "it takes none")),
    }
}

fn read(parameters: Parameters) -> Result<Vec<(String, String)>, QueryError> {
    parameters.map(|Query(list)| list).map_err(|_| invalid("the parameters of the URL cannot be read"))
}

fn unknown(name: &str, takes: &str) -> QueryError {
    invalid(&format!("there is no parameter `{name}` for this path: {takes}"))
}

fn invalid(reason: &str) -> QueryError {
    QueryError::InvalidRequest { reason: reason.to_owned() }
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
