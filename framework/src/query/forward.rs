//! Forwarding: one request to the owner, its answer passed on as it is.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use reqwest::{Client, Url, redirect};

use super::{
    Code, Consistency, QueryError, QueryOptions, deadline::Deadline, headers, keys, lookup::Lookup, route::Host,
};

/// Asks other instances. Holds the pool of connections to them.
#[derive(Debug)]
pub(super) struct Forwarder {
    client: Client,
    application_id: String,
    max_answer_bytes: usize,
}

/// An owner's answer, passed on as it is: a success or a problem that only the owner can tell.
#[derive(Debug, Clone)]
pub(super) struct Relayed {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    body: Bytes,
}

/// Why an owner gave no answer.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// It says that it is not the owner.
    NotOwner,
    /// It is the owner, and is restoring the store.
    Restoring,
    /// It could not be asked, or something else answered in its place.
    Unreachable(String),
    /// Another try would not help.
    Final(QueryError),
}

// === impl Forwarder ===

impl Forwarder {
    pub(super) fn new(application_id: &str, options: &QueryOptions) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.max_idle_connections)
            .redirect(redirect::Policy::none())
            .no_proxy() // a proxy for the outside world must not come between instances
            .build()?;
        Ok(Self { client, application_id: application_id.to_owned(), max_answer_bytes: options.max_answer_bytes })
    }

    /// Asks `owner` within what is left of the deadline.
    pub(super) async fn ask(&self, owner: Host<'_>, lookup: &Lookup) -> Result<Relayed, ForwardError> {
        let work = self.exchange(owner, lookup);
        let waiting_for = || format!("instance `{}` at {}", owner.instance, owner.url);
        lookup.deadline.bound(waiting_for, work).await.map_err(ForwardError::Final)?
    }

    async fn exchange(&self, owner: Host<'_>, lookup: &Lookup) -> Result<Relayed, ForwardError> {
        let url = key_url(owner.url, lookup).map_err(ForwardError::Unreachable)?;
        let mut response = self
            .client
            .get(url)
            .header(headers::HOP, HeaderValue::from_static("1"))
            .header(headers::DEADLINE_MS, remaining_ms(&lookup.deadline))
            .header(headers::REQUEST_ID, lookup.request_id.to_header())
            .send()
            .await
            .map_err(|error| ForwardError::Unreachable(root_cause(&error)))?;

        let expected = headers::instance_value(&self.application_id, owner.instance);
        if response.headers().get(headers::INSTANCE) != Some(&expected) {
            return Err(ForwardError::Unreachable("another server answers at this address".to_owned()));
        }
        if response.status() == StatusCode::MISDIRECTED_REQUEST {
            return Err(ForwardError::NotOwner);
        }
        if response.headers().get(headers::CODE).is_some_and(|code| code == Code::StoreRestoring.as_str()) {
            return Err(ForwardError::Restoring);
        }
        let too_large = || {
            ForwardError::Final(QueryError::AnswerTooLarge {
                owner: owner.instance.to_owned(),
                url: owner.url.to_owned(),
                limit_bytes: self.max_answer_bytes,
            })
        };
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        if announced > self.max_answer_bytes {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|error| ForwardError::Unreachable(root_cause(&error)))? {
            if body.len() + chunk.len() > self.max_answer_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Relayed {
            status: response.status(),
            content_type: response.headers().get(header::CONTENT_TYPE).cloned(),
            retry_after: response.headers().get(header::RETRY_AFTER).cloned(),
            body: body.into(),
        })
    }
}

// === impl Relayed ===

impl Relayed {
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.content_type.map(|value| (header::CONTENT_TYPE, value)));
        headers.extend(self.retry_after.map(|value| (header::RETRY_AFTER, value)));
        response
    }
}

/// `<base>/stores/<store>/keys?key=<key>[&as_of=<ms>]`. The key goes into the query because a path cannot carry every key: URL
/// libraries, ours included, take `.` and `..` for steps, even when they are encoded.
fn key_url(base: &str, lookup: &Lookup) -> Result<Url, String> {
    let mut url = Url::parse(base).map_err(|error| format!("its URL is wrong: {error}"))?;
    url.path_segments_mut().map_err(|()| "its URL has no host".to_owned())?.pop_if_empty().extend([
        "stores",
        &lookup.store,
        "keys",
    ]);
    let mut parameters = url.query_pairs_mut();
    parameters.append_pair(keys::KEY, &lookup.key);
    if let Some(as_of_ms) = lookup.as_of_ms {
        parameters.append_pair(keys::AS_OF, &as_of_ms.to_string());
    }
    if lookup.consistency != Consistency::Active {
        parameters.append_pair(keys::CONSISTENCY, lookup.consistency.as_str());
    }
    drop(parameters);
    Ok(url)
}

fn remaining_ms(deadline: &Deadline) -> HeaderValue {
    HeaderValue::from(u64::try_from(deadline.remaining().as_millis()).unwrap_or(u64::MAX))
}

/// The innermost cause: what reqwest wraps around it repeats the URL and says little more.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
