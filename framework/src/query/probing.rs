//! `GET /cluster/alive`: instances ask each other whether they are alive.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use reqwest::{Client, redirect};

use super::{Api, QueryError, headers, headers::Context};
use crate::cluster::{AliveAnswer, ProbeFailure};

/// Asks other instances whether they are alive. Has connections of its own: load on the others must not hold it up.
#[derive(Debug)]
pub struct Prober {
    client: Client,
    application_id: String,
}

// === impl Prober ===

impl Prober {
    /// A prober of the instances of an application, which waits so long for an answer.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(application_id: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .pool_max_idle_per_host(1)
            .redirect(redirect::Policy::none())
            .no_proxy() // a proxy for the outside world must not come between instances
            .build()?;
        Ok(Self { client, application_id: application_id.to_owned() })
    }

    /// Asks an instance, and says who asks: its name and, once it is known, which start of it.
    ///
    /// # Errors
    /// Says how it did not answer.
    pub async fn ask(
        &self,
        instance_id: &str,
        url: &str,
        me: (&str, Option<u64>),
    ) -> Result<AliveAnswer, ProbeFailure> {
        let mut request = self.client.get(format!("{}/cluster/alive", url.trim_end_matches('/')));
        if let (name, Some(incarnation)) = me {
            request = request.header(headers::ASKED_BY, format!("{incarnation} {name}"));
        }
        let response = request.send().await.map_err(|error| failure(&error))?;
        let expected = headers::instance_value(&self.application_id, instance_id);
        if response.headers().get(headers::INSTANCE) != Some(&expected) || !response.status().is_success() {
            return Err(ProbeFailure::Silent);
        }
        response.json().await.map_err(|error| failure(&error))
    }
}

fn failure(error: &reqwest::Error) -> ProbeFailure {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::ConnectionRefused) {
            return ProbeFailure::Refused;
        }
        cause = error.source();
    }
    ProbeFailure::Silent
}

pub(super) async fn alive(State(api): State<Arc<Api>>, context: Context) -> Response {
    let answer = api.serving.alive(asked_by(&context.headers));
    let answer = answer.map(|answer| Json(answer).into_response());
    let not_live = || QueryError::NotLive { reasons: vec!["the instance stands still".to_owned()] };
    api.respond(&context, answer.ok_or_else(not_live))
}

/// `<incarnation> <instance id>`.
fn asked_by(headers: &HeaderMap) -> Option<(&str, u64)> {
    let (incarnation, instance_id) = headers.get(headers::ASKED_BY)?.to_str().ok()?.split_once(' ')?;
    Some((instance_id, incarnation.parse().ok()?))
}
