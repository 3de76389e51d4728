//! Where store reads run.
//!
//! A point read takes microseconds from the block cache, but milliseconds or, on a disk in trouble, seconds when it misses. On a
//! thread of the async runtime such a read would hold up every other request of that thread, the liveness probe included, and an
//! instance would be restarted for a slow disk. So reads run on tokio's blocking pool, where only lookups wait for the
//! disk; the bound keeps its threads few. Worker threads have no part in it: a read takes a snapshot, never a lock of theirs.
//!
//! The price is the hand-over between threads, about 20 us of CPU per read (measured on 2 cores with 32 readers), more than
//! the read itself. RocksDB can be asked to answer from memory or not at all (`ReadTier::BlockCache`): once a `TaskView` offers
//! that, a hit is read in place and only a miss comes here.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{QueryError, deadline::Deadline};

/// Runs store reads, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Reads {
    slots: Arc<Semaphore>,
}

// === impl Reads ===

impl Reads {
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max_concurrent)) }
    }

    /// Runs `read` when a slot is free, within the deadline. A read that outlives the deadline keeps its slot until it
    /// ends: a disk that hangs holds up no more threads than there are slots.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: &Deadline,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let slots = Arc::clone(&self.slots);
        let work = async move {
            let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
            tokio::task::spawn_blocking(move || {
                let _slot = slot;
                read()
            })
            .await
        };
        deadline.bound(|| "the local store".to_owned(), work).await?.map_err(|error| {
            tracing::error!(%error, "a store read panicked");
            QueryError::Internal { what: "reading the store".to_owned() }
        })
    }
}
