//! Asks instances for keys.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// How long an instance may take for one answer, a forwarded request included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the REST interface. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QueryClient {
    http: Client,
}

/// What an instance answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The key is in the store.
    Found(Answer),
    /// It is not there, or cannot be asked for now.
    Refused(Refusal),
}

/// The body of an answer with status 200.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// The key that was asked for.
    pub key: Value,
    /// The value, with its fields in the order they came.
    pub value: Box<RawValue>,
    /// Event time of the value, in ms since the epoch.
    pub timestamp: i64,
    /// The partition of the key; null for a global store.
    pub partition: Option<i32>,
    /// Up to where the input is in the answer.
    pub position: Value,
    /// In what role the instance answered.
    pub role: String,
    /// The instance that looked it up.
    pub served_by: String,
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Its `code`, e.g. `NotFound`; empty when the body is not one of ours.
    pub code: String,
    /// Its `detail`, or the body as it is.
    pub detail: String,
}

// === impl QueryClient ===

impl QueryClient {
    /// A client that goes straight to the instances: a proxy from the environment is not asked.
    pub fn new() -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().timeout(TIMEOUT).build().context("building the HTTP client")?;
        Ok(Self { http })
    }

    /// Asks the instance at `base_url` for a key.
    ///
    /// # Errors
    /// When no answer comes, or one that is not of the documented form.
    pub async fn get(&self, base_url: &str, store: &str, key: &str) -> anyhow::Result<Reply> {
        let url = key_url(base_url, store, key)?;
        let response = self.http.get(url).send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        if status == StatusCode::OK {
            let answer = serde_json::from_slice(&body)
                .with_context(|| format!("not an answer: {}", String::from_utf8_lossy(&body)))?;
            return Ok(Reply::Found(answer));
        }
        Ok(Reply::Refused(Refusal::new(status, &body)))
    }
}

/// Where a key is asked for: what `curl` takes.
///
/// # Errors
/// When `base_url` is not a URL.
pub fn key_url(base_url: &str, store: &str, key: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(base_url).with_context(|| format!("`{base_url}` is not a URL"))?;
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("`{base_url}` is not the URL of an instance"))?
        .pop_if_empty()
        .extend(["stores", store, "keys", key]);
    Ok(url)
}

// === impl Refusal ===

impl Refusal {
    fn new(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Problem {
            code: String,
            detail: String,
        }
        let status = status.as_u16();
        match serde_json::from_slice(body) {
            Ok(Problem { code, detail }) => Self { status, code, detail },
            Err(_) => Self { status, code: String::new(), detail: String::from_utf8_lossy(body).into_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_into_the_path() -> anyhow::Result<()> {
        let url = key_url("http://127.0.0.1:8081/", "flights-per-day", "a/b c?ü%")?;
        assert_eq!(url.as_str(), "http://127.0.0.1:8081/stores/flights-per-day/keys/a%2Fb%20c%3F%C3%BC%25");
        let error = key_url("localhost", "s", "k").expect_err("not a URL").to_string();
        assert!(error.contains("`localhost`"), "{error}");
        Ok(())
    }
}
