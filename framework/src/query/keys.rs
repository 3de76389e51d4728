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
    Api, Consistency, QueryError,
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

/// The parameter that says which copies of the key may answer.
pub(super) const CONSISTENCY: &str = "consistency";

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    store: String,
    key: String,
    as_of_ms: Option<i64>,
    consistency: Consistency,
}

/// What the parameters of a request say.
#[derive(Debug, Default)]
struct Given {
    key: Option<String>,
    as_of_ms: Option<i64>,
    consistency: Option<Consistency>,
}

/// `GET /stores/{store}/keys/{key}`: the key in the path.
pub(super) async fn by_path(
    State(api): State<Arc<Api>>,
    context: Context,
    uri: Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    parameters: Parameters,
) -> Response {
    let asked = path.map(|Path(asked)| asked).map_err(|_| not_text(&uri));
    let asked = asked.and_then(|(store, key)| Ok(read(parameters, &[AS_OF, CONSISTENCY])?.asks(store, key)));
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
    let asked = store.and_then(|store| Ok(read(parameters, &[AS_OF, CONSISTENCY])?.asks(store, String::new())));
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
        let mut given = read(parameters, &[KEY, AS_OF, CONSISTENCY])?;
        let missing = || invalid("the parameter `key` is missing: ask for `/stores/{store}/keys/{key}`, or `?key=`");
        let key = given.key.take().ok_or_else(missing)?;
        Ok(given.asks(store, key))
    });
    api.get(&context, asked).await
}

/// The only thing that these paths do not take: bytes that are no text. A path is `/stores/{store}/keys/{key}`.
fn not_text(uri: &Uri) -> QueryError {
    let store = uri.path().split('/').nth(2).unwrap_or_default();
    QueryError::InvalidKey { store: store.into(), reason: "the path is not UTF-8 when it is percent-decoded".into() }
}

/// The parameters, as far as they are among those that are taken.
fn read(parameters: Parameters, taken: &[&str]) -> Result<Given, QueryError> {
    let Query(list) = parameters.map_err(|_| invalid("the parameters of the URL cannot be read"))?;
    let mut given = Given::default();
    for (name, value) in list {
        if !taken.contains(&name.as_str()) {
            let taken: Vec<_> = taken.iter().map(|name| format!("`{name}`")).collect();
            return Err(unknown(&name, &format!("it takes {}", taken.join(" and "))));
        }
        let is_twice = match name.as_str() {
            KEY => given.key.replace(value).is_some(),
            CONSISTENCY => {
                let wrong = || invalid("the parameter `consistency` is none of `active`, `standby` and `any`");
                given.consistency.replace(Consistency::parse(&value).ok_or_else(wrong)?).is_some()
            }
            _ => {
                let wrong = |_| invalid("the parameter `as_of` is no number of ms since the epoch");
                given.as_of_ms.replace(value.parse().map_err(wrong)?).is_some()
            }
        };
        if is_twice {
            return Err(invalid(&format!("the parameter `{name}` is there twice")));
        }
    }
    Ok(given)
}

fn unknown(name: &str, takes: &str) -> QueryError {
    invalid(&format!("there is no parameter `{name}` for this path: {takes}"))
}

fn invalid(reason: &str) -> QueryError {
    QueryError::InvalidRequest { reason: reason.to_owned() }
}

// === impl Given ===

impl Given {
    fn asks(self, store: String, key: String) -> Asked {
        Asked { store, key, as_of_ms: self.as_of_ms, consistency: self.consistency.unwrap_or_default() }
    }
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
        let Asked { store, key, as_of_ms, consistency } = asked?;
        let lookup = Lookup {
            store,
            key,
            as_of_ms,
            consistency,
            forwarded: context.forwarded,
            deadline: Deadline::of(context.received, &context.headers, &self.options)?,
            request_id: context.request_id.clone(),
        };
        self.lookup(&lookup, trace).await
    }
}
