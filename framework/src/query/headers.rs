//! The headers the query layer reads and writes, and what it takes from a request besides its path.

use std::{
    convert::Infallible,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, request::Parts},
};
use tokio::time::Instant;

use super::Api;

/// Marks a request that an instance forwarded: it is answered here or refused, never forwarded again.
pub(super) const HOP: &str = "millpond-hop";
/// How many ms a request may take. A client may set it; a forwarded request carries what is left.
pub(super) const DEADLINE_MS: &str = "millpond-deadline-ms";
/// On every answer: the application and instance that sent it, `<application id>/<instance id>`. An instance that
/// forwards checks it, because an address may meanwhile belong to another server.
pub(super) const INSTANCE: &str = "millpond-instance";
/// Who asks whether an instance is alive: `<incarnation> <instance id>`.
pub(super) const ASKED_BY: &str = "millpond-asked-by";
/// On every problem: its code.
pub(super) const CODE: &str = "millpond-code";
/// Names a request in logs of all instances it passes. A client may set it; every answer carries it.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The longest request id that is taken from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What a request says besides its path.
#[derive(Debug)]
pub(super) struct Context {
    /// When it came. On tokio's clock, as all times of a request: see `deadline`.
    pub(super) received: Instant,
    /// Names the request.
    pub(super) request_id: RequestId,
    /// Whether another instance forwarded it.
    pub(super) forwarded: bool,
    /// All headers.
    pub(super) headers: HeaderMap,
}

/// A name for one request: letters, digits, `.`, `_`, `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(String);

/// Makes request ids: a random part per process, then a counter.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

// === impl Context ===

impl FromRequestParts<Arc<Api>> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Infallible> {
        let headers = std::mem::take(&mut parts.headers);
        let request_id = RequestId::from_client(&headers).unwrap_or_else(|| api.request_ids.next());
        Ok(Self { received: Instant::now(), request_id, forwarded: headers.contains_key(HOP), headers })
    }
}

// === impl RequestId ===

impl RequestId {
    /// The id the client gave, when it is fit for headers, logs and URNs. Another one is replaced, not refused: it must not cost
    /// the client its answer.
    fn from_client(headers: &HeaderMap) -> Option<Self> {
        let id = headers.get(REQUEST_ID)?.to_str().ok()?;
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (!id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.bytes().all(fit)).then(|| Self(id.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a request id consists of letters, digits, '.', '_' and '-'")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl RequestIds ===

impl RequestIds {
    pub(super) fn new() -> Self {
        Self::of_process(RandomState::new().hash_one(()))
    }

    pub(super) fn of_process(process: u64) -> Self {
        Self { process, next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> RequestId {
        RequestId(format!("{:016x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// The value of [`INSTANCE`]. Ids may hold any text: what a header cannot carry is percent-encoded.
pub(super) fn instance_value(application_id: &str, instance_id: &str) -> HeaderValue {
    let mut value = String::with_capacity(application_id.len() + 1 + instance_id.len());
    for byte in application_id.bytes().chain([b'/']).chain(instance_id.bytes()) {
        match byte {
            b'%' | ..=b' ' | 0x7f.. => value.push_str(&format!("%{byte:02X}")),
            _ => value.push(char::from(byte)),
        }
    }
    HeaderValue::from_str(&value).expect("only visible ASCII is left")
}
