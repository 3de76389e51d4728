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
pub(super) const KEY: &str = "key";
/// The parameter that says as of which time, in ms since the epoch, the entry of a store that keeps versions is wanted.
pub(super) const AS_OF: &str = "as_of";

/// What a request asks for: a store, a key, and as of which time.
type Asked = (String, String, Option<i64>);

/// `GET /stores/{store}/keys/{key}`: the key in the path.
pub(super) async fn by_path(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let asked = path.map(|Path(asked)| asked).map_err(|_| not_text(&uri));
    let asked = asked.and_then(|(store, key)| Ok((store, key, as_of_parameter(parameters)?)));
    api.get(&context, asked).await
}

/// `GET /stores/{store}/keys/`: the empty key, which a path pattern does not match.
pub(super) async fn empty(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let store = path.map(|Path(store)| store).map_err(|_| not_text(&uri));
    let asked = store.and_then(|store| Ok((store, String::new(), as_of_parameter(parameters)?)));
    api.get(&context, asked).await
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
    let asked = store.and_then(|store| {
        let (key, as_of_ms) = both_parameters(parameters, &[KEY, AS_OF])?;
        let missing = || invalid("the parameter `key` is missing: ask for `/stores/{store}/keys/{key}`, or `?key=`");
        Ok((store, key.ok_or_else(missing)?, as_of_ms))
    });
    api.get(&context, asked).await
}

/// The only thing that these paths do not take: bytes that are no text. A path is `/stores/{store}/keys/{key}`.
fn not_text(uri: &Uri) -> QueryError {
    let store = uri.path().split('/').nth(2).unwrap_or_default();
    QueryError::InvalidKey { store: store.into(), reason: "the path is not UTF-8 when it is percent-decoded".into() }
}

fn as_of_parameter(parameters: Parameters) -> Result<Option<i64>, QueryError> {
    Ok(both_parameters(parameters, &[AS_OF])?.1)
}

/// Key and time, as far as they are among those that are taken.
fn both_parameters(parameters: Parameters, taken: &[&str]) -> Result<(Option<String>, Option<i64>), QueryError> {
    let (mut key, mut as_of_ms) = (None, None);
    for (name, value) in read(parameters)? {
        if !taken.contains(&name.as_str()) {
            let taken: Vec<_> = taken.iter().map(|name| format!("`{name}`")).collect();
            return Err(unknown(&name, &format!("it takes {}", taken.join(" and "))));
        }
        let is_twice = if name == KEY {
            key.replace(value).is_some()
        } else {
            let ms = value.parse().map_err(|_| invalid("the parameter `as_of` is no number of ms since the epoch"))?;
            as_of_ms.replace(ms).is_some()
        };
        if is_twice {
            return Err(invalid(&format!("the parameter `{name}` is there twice")));
        }
    }
    Ok((key, as_of_ms))
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
    async fn get(&self, context: &Context, asked: Result<Asked, QueryError>) -> Response {
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
        asked: Result<Asked, QueryError>,
        trace: &mut Trace,
    ) -> Result<Outcome, QueryError> {
        let _in_flight = self.limits.admit(context.forwarded)?;
        let (store, key, as_of_ms) = asked?;
        let lookup = Lookup {
            store,
            key,
            as_of_ms,
            forwarded: context.forwarded,
            deadline: Deadline::of(context.received, &context.headers, &self.options)?,
            request_id: context.request_id.clone(),
        };
        self.lookup(&lookup, trace).await
    }
}
