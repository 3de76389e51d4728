//! Asks instances of a ledger, and keeps what an answer says of its age.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use flights::client::key_url;
use millpond::query::Consistency;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How long an answer may take: longer than any deadline of an instance.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

/// What was answered for a key.
#[derive(Debug, Clone)]
pub struct Told {
    /// As JSON; `None`: there is no such key.
    pub value: Option<Box<RawValue>>,
    /// Who looked it up.
    pub served_by: String,
    /// Whether by its active task.
    pub active: bool,
    /// How old it may be.
    pub staleness: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Nobody listens there.
    Unreachable,
    /// None came, or not a whole one.
    Silent,
    /// The instance cannot answer now: the code of the problem.
    Problem(String),
}

/// The members of an answer, and of a problem, that are looked at.
#[derive(Deserialize)]
struct Body {
    value: Option<Box<RawValue>>,
    served_by: Option<String>,
    role: Option<String>,
    staleness_ms: Option<u64>,
    code: Option<String>,
}

// === impl Client ===

impl Client {
    /// A client that goes straight to the instances.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
        Ok(Self { http: http.context("building the HTTP client")? })
    }

    /// Asks the instance at `url` for a key.
    ///
    /// # Errors
    /// When it does not answer. That there is no such key is an answer.
    pub async fn ask(&self, url: &str, store: &str, key: &str, consistency: Consistency) -> Result<Told, Refused> {
        let mut at = key_url(url, store, key).map_err(|error| Refused::Problem(error.to_string()))?;
        if consistency != Consistency::Active {
            at.query_pairs_mut().append_pair("consistency", consistency.as_str());
        }
        let silent = |error: reqwest::Error| if error.is_connect() { Refused::Unreachable } else { Refused::Silent };
        let response = self.http.get(at).send().await.map_err(silent)?;
        let status = response.status();
        let body = response.bytes().await.map_err(silent)?;
        let Ok(Body { value, served_by, role, staleness_ms, code }) = serde_json::from_slice(&body) else {
            return Err(Refused::Problem(format!("{status} without a body of ours")));
        };
        match (status, code) {
            (StatusCode::OK, None) => {}
            (StatusCode::NOT_FOUND, Some(code)) if code == "NotFound" => {}
            (_, code) => return Err(Refused::Problem(code.unwrap_or_else(|| status.to_string()))),
        }
        let (Some(served_by), Some(role), Some(staleness_ms)) = (served_by, role, staleness_ms) else {
            return Err(Refused::Problem(format!("{status} that does not say how old it is")));
        };
        let (active, staleness) = (role == "active", Duration::from_millis(staleness_ms));
        Ok(Told { value, served_by, active, staleness })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("nobody there"),
            Self::Silent => f.write_str("no answer"),
            Self::Problem(code) => f.write_str(code),
        }
    }
}
