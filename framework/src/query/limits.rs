//! How many requests for keys are in flight: more are refused at once, before they cost anything.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::QueryError;

/// Counts requests in flight.
///
/// Forwarded requests are counted apart. They need only this instance, so they always end; if they shared a bound with clients'
/// requests, two instances full of requests that wait for each other would refuse each other's forwards.
#[derive(Debug)]
pub(super) struct Limits {
    limit: usize,
    from_clients: Arc<Semaphore>,
    from_instances: Arc<Semaphore>,
}

/// The right to be in flight, given back when dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    _permit: OwnedSemaphorePermit,
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(limit: usize) -> Self {
        let semaphore = || Arc::new(Semaphore::new(limit));
        Self { limit, from_clients: semaphore(), from_instances: semaphore() }
    }

    /// Lets a request in, or refuses it as `Overloaded`; never waits.
    pub(super) fn admit(&self, forwarded: bool) -> Result<InFlight, QueryError> {
        let semaphore = if forwarded { &self.from_instances } else { &self.from_clients };
        match Arc::clone(semaphore).try_acquire_owned() {
            Ok(permit) => Ok(InFlight { _permit: permit }),
            Err(_) => Err(QueryError::Overloaded { limit: self.limit }),
        }
    }
}
