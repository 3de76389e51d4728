//! Settings of the query layer.

use std::time::Duration;

/// Settings of the query layer. Every bound is per instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryOptions {
    /// How long a request may take when it does not say so itself in `millpond-deadline-ms`. Default 5 s.
    pub deadline: Duration,
    /// The longest deadline that a request may ask for; more is cut to it. Default 60 s.
    pub max_deadline: Duration,
    /// How long a request waits for an owner while a key has none, or one that cannot be asked. Default 3 s.
    pub owner_wait: Duration,
    /// How long it waits for an owner that is restoring the store from far behind. Default 500 ms. Of one that has little left, as after a
    /// promotion, it waits as for an owner that changes.
    pub restoring_wait: Duration,
    /// When a standby is asked, too, where that is allowed and the owner has not answered. Default 50 ms.
    pub hedge_after: Duration,
    /// Requests for keys that are in flight at the same time, those waiting for another instance included; more are
    /// refused as `Overloaded`. Requests forwarded by other instances have a bound of the same size of their own, so that
    /// two instances full of requests waiting for each other still answer each other. Default 1024.
    pub max_in_flight: usize,
    /// Store reads that run at the same time, each on a thread of tokio's blocking pool. Default 64.
    pub max_concurrent_reads: usize,
    /// Bytes of a key's text in a path, after percent-decoding. Default 8 KiB.
    pub max_key_bytes: usize,
    /// Bytes of an owner's answer that this instance takes into memory to pass it on. Default 64 MiB.
    pub max_answer_bytes: usize,
    /// How long connecting to another instance may take, within the deadline: a host that is gone should not eat all of
    /// it. Default 1 s.
    pub connect_timeout: Duration,
    /// Idle connections kept to each other instance. Default 64.
    pub max_idle_connections: usize,
}

// === impl QueryOptions ===

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            max_deadline: Duration::from_secs(60),
            owner_wait: Duration::from_secs(3),
            restoring_wait: Duration::from_millis(500),
            hedge_after: Duration::from_millis(50),
            max_in_flight: 1024,
            max_concurrent_reads: 64,
            max_key_bytes: 8 * 1024,
            max_answer_bytes: 64 * 1024 * 1024,
            connect_timeout: Duration::from_secs(1),
            max_idle_connections: 64,
        }
    }
}
