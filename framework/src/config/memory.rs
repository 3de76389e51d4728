//! How the memory of an instance is divided: one setting bounds all that grows with the work.
//!
//! ```text
//! memory_bytes ─┬─ 3/4 rows at hand, a sixth of them at most uncommitted
//!               ├─ 1/8 RocksDB: block cache and write buffers
//!               └─ 1/8 queues: 1/2 to be sent, 1/4 fetched, 1/8 taken in, 1/8 for restores, global tables and metadata
//! ```
//!
//! Stores that are declared `in_memory` are outside of it: they have no disk to go to.

/// The parts of an instance's memory, in bytes. Those of queues are per worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShares {
    /// Rows at hand and RocksDB, of all tasks.
    pub state: usize,
    /// What a worker's tasks may hold uncommitted before it commits early.
    pub uncommitted: usize,
    /// Records that a worker's producer has not sent yet.
    pub sending: usize,
    /// Records that a client has fetched and nobody has asked for yet.
    pub fetched: usize,
    /// Records that wait in the queues of a worker's tasks.
    pub taken_in: usize,
}

/// A queue that is smaller stands still more than it moves.
const LEAST_QUEUE: usize = 1 << 20;
/// What the state needs at the least.
const LEAST_STATE: usize = 6 << 20;

// === impl MemoryShares ===

impl MemoryShares {
    /// Divides `memory_bytes` for so many worker threads.
    #[must_use]
    pub fn of(memory_bytes: usize, threads: usize) -> Self {
        let threads = threads.max(1);
        let queues = memory_bytes / 8;
        let per_worker = |bytes: usize| (bytes / threads).max(LEAST_QUEUE);
        Self {
            state: memory_bytes - queues,
            uncommitted: per_worker(memory_bytes / 8),
            sending: per_worker(queues / 2),
            fetched: per_worker(queues / 4),
            taken_in: per_worker(queues / 8),
        }
    }

    /// The least that can be divided for so many worker threads.
    #[must_use]
    pub fn least(threads: usize) -> usize {
        LEAST_STATE + threads * 4 * LEAST_QUEUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_no_more_than_the_whole() {
        for threads in 1..=64 {
            for memory_bytes in [64 << 20, 256 << 20, 1 << 30, 8 << 30].map(|bytes: usize| bytes * threads) {
                let shares = MemoryShares::of(memory_bytes, threads);
                // Two clients fetch for a worker: for its inputs and for its restores.
                let queues = threads * (shares.sending + 2 * shares.fetched + shares.taken_in);
                assert!(shares.state + queues <= memory_bytes + memory_bytes / 16, "{memory_bytes} for {threads}");
                assert!(threads * shares.uncommitted <= shares.state / 2);
            }
        }
    }
}
