//! What the query layer measures of itself.

use std::time::Duration;

use axum::http::StatusCode;

use crate::metrics::Metrics;

/// Where a lookup was answered, as label `route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Route {
    /// On this instance, or not at all.
    #[default]
    Local,
    /// The owner was asked.
    Forwarded,
}

/// The label of requests for stores that do not exist: a client must not be able to make new time series.
const UNKNOWN_STORE: &str = "unknown";

/// Counts an answered lookup.
pub(super) fn answered(metrics: &Metrics, store: Option<&str>, route: Route, status: StatusCode, took: Duration) {
    let store = store.unwrap_or(UNKNOWN_STORE);
    metrics.query_requests.with_label_values(&[store, route.as_str(), status.as_str()]).inc();
    metrics.query_duration.with_label_values(&[route.as_str()]).observe(took.as_secs_f64());
}

// === impl Route ===

impl Route {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Forwarded => "forwarded",
        }
    }
}
