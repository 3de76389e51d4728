//! The memory that all databases of the process share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, TryLockError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use rocksdb::{Cache, WriteBufferManager};

/// What a budget is when nothing else is set: 224 MiB.
const DEFAULT_BYTES: usize = 224 << 20;

/// Below this, RocksDB would flush and evict with every few records.
const MIN_BYTES: usize = 4 << 20;

/// The part of the memory for rows that may wait to be written together.
const RUN_PART: usize = 8;
/// With less, tables would be so small that merging them costs what writing many rows at once saves.
const MIN_RUN_BYTES: usize = 1 << 20;
/// With more, a worker's other tasks would wait for long while it sorts and writes, and sorting is beyond its processor's caches.
const MAX_RUN_BYTES: usize = 8 << 20;

/// The memory of all stores of a process. Six sevenths are for rows at hand, shared evenly by the open tasks that process records; while there
/// are others, which only follow their changelogs, an eighth of it is for the rows that these gather. The rest is RocksDB's: one
/// block cache (blocks, indexes, filters) to which the write buffers are charged. So tasks can come and go without the sum
/// growing. Clones share the same memory.
///
/// Write buffers have half of RocksDB's part. When three quarters of that half are filled, the database that holds most is flushed,
/// whoever writes. RocksDB's own limit, at seven eighths, flushes the database that is written to: alone it would make a
/// busy task flush with every commit once idle ones hold the memory.
#[derive(Clone)]
pub struct MemoryBudget {
    /// RocksDB's part.
    bytes: usize,
    rows_bytes: usize,
    pub(super) cache: Cache,
    pub(super) write_buffers: WriteBufferManager,
    databases: Arc<Databases>,
}

/// The write buffers of one database, as the budget sees them. Callable from any thread, also after the database is closed.
pub(crate) trait WriteBuffers: Send + Sync {
    /// Bytes that a flush would free.
    fn bytes(&self) -> usize;
    /// Begins a flush and does not wait for its end.
    fn begin_flush(&self);
}

/// Says that a database only follows its changelogs, for as long as the value lives.
#[derive(Debug)]
pub(in crate::state) struct Follows(MemoryBudget);

/// The open databases.
#[derive(Default)]
struct Databases {
    /// Bytes written, by any of them, since the last look at all of them.
    unseen_bytes: AtomicUsize,
    /// How many are open, as of the last one that was opened.
    count: AtomicUsize,
    /// How many of them only follow their changelogs.
    following: AtomicUsize,
    /// Taken when a task opens, and by one writer at a time for a look.
    open: Mutex<Vec<Weak<dyn WriteBuffers>>>,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// A budget of so many bytes (2 MiB at the least). The limit is soft: what is being flushed or read right now may exceed
    /// it for a moment.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let rows_bytes = bytes.max(MIN_BYTES) / 7 * 6;
        let bytes = bytes.max(MIN_BYTES) - rows_bytes;
        let cache = Cache::new_lru_cache(bytes);
        // No stalls: a stalled writer waits for memory that may belong to a database nobody writes to, and only writers
        // trigger flushes, so that all of them could wait forever.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, cache.clone());
        Self { bytes, rows_bytes, cache, write_buffers, databases: Arc::default() }
    }

    /// The limit of RocksDB's part, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that a task may use for rows at hand.
    pub(in crate::state) fn rows_share(&self) -> usize {
        let following = self.databases.following.load(Ordering::Relaxed);
        let bytes = if following > 0 { self.rows_bytes / RUN_PART * (RUN_PART - 1) } else { self.rows_bytes };
        bytes / self.databases.count.load(Ordering::Relaxed).saturating_sub(following).max(1)
    }

    /// One more that only follows its changelogs.
    pub(in crate::state) fn follows(&self) -> Follows {
        self.databases.following.fetch_add(1, Ordering::Relaxed);
        Follows(self.clone())
    }

    /// Bytes of rows that all tasks together which only follow their changelogs may gather before they are written.
    #[must_use]
    pub fn followers_share(&self) -> usize {
        (self.rows_bytes / RUN_PART).clamp(MIN_RUN_BYTES, MAX_RUN_BYTES)
    }

    /// Bytes of rows that a task may gather before they are written together: out of the memory for rows at hand, of which a
    /// task that is restored has none.
    pub(in crate::state) fn run_share(&self) -> usize {
        let share = self.rows_share();
        (share / RUN_PART).clamp(MIN_RUN_BYTES, MAX_RUN_BYTES).min(share)
    }

    /// Bytes in use now: cached blocks and write buffers.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes of write buffers in use now.
    #[must_use]
    pub fn write_buffer_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }

    /// Adds an open database to those that can be asked to flush. It leaves by being dropped.
    pub(crate) fn register(&self, database: Weak<dyn WriteBuffers>) {
        let mut open = self.databases.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|database| database.strong_count() > 0);
        open.push(database);
        self.databases.count.store(open.len(), Ordering::Relaxed);
    }

    /// Says that so many bytes were written to one of the databases. Once in a while, flushes the fullest.
    pub(super) fn wrote(&self, bytes: usize) {
        // Often enough to come before RocksDB's own limit, and seldom enough to cost nothing.
        let look_after = self.bytes / 128;
        let unseen = &self.databases.unseen_bytes;
        if unseen.fetch_add(bytes, Ordering::Relaxed) + bytes >= look_after {
            unseen.store(0, Ordering::Relaxed);
            self.relieve();
        }
    }

    /// Flushes the fullest databases until the buffers that are not being flushed are below three quarters of their half.
    fn relieve(&self) {
        let limit = self.bytes / 8 * 3;
        if self.write_buffer_bytes() < limit {
            return;
        }
        let open = match self.databases.open.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another writer is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        let mut databases: Vec<_> =
            open.iter().filter_map(Weak::upgrade).map(|database| (database.bytes(), database)).collect();
        databases.sort_unstable_by_key(|(bytes, _)| *bytes);
        let mut bytes: usize = databases.iter().map(|(bytes, _)| bytes).sum();
        while bytes >= limit
            && let Some((freed, fullest)) = databases.pop()
        {
            fullest.begin_flush();
            bytes -= freed;
        }
    }
}

impl Drop for Follows {
    fn drop(&mut self) {
        self.0.databases.following.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("bytes", &self.bytes)
            .field("used_bytes", &self.used_bytes())
            .field("write_buffer_bytes", &self.write_buffer_bytes())
            .finish()
    }
}
