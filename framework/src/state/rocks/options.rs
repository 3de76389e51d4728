//! How the databases are set up, and why.

use std::{ffi::c_int, thread};

use rocksdb::{BlockBasedOptions, DBCompressionType, DataBlockIndexType, Options};

use super::MemoryBudget;

/// Size at which a store's write buffer is flushed, unless the budget is small. All databases share the budget, so this
/// only bounds how much one hot store takes of it.
const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// Write buffers of a family, those being flushed included; with all of them full, writes wait.
const WRITE_BUFFERS: c_int = 3;

/// Tables that lie side by side until they are merged: three times the default. They are small, as all stores share the budget for write
/// buffers; look-ups skip most of them by their filters.
const TABLES_BEFORE_MERGE: c_int = 12;
/// The same for rows that expire.
const TIMED_TABLES_BEFORE_MERGE: c_int = 4;

/// Write buffers grow by blocks of this size: most stores of most tasks hold little, and they are many.
const ARENA_BLOCK_BYTES: usize = 64 << 10;

/// The offsets are written with every commit, and a full buffer of any family flushes all. So this is also how many bytes
/// of offsets a crash can cost at most: about 5000 commits, however little data they had.
const OFFSETS_BUFFER_BYTES: usize = 1 << 20;

/// Data blocks: twice the default, as states are larger than caches and the index is half as large then.
const BLOCK_BYTES: usize = 8 << 10;

/// One false positive of a filter in about a hundred look-ups.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// Open files of one database; at 64 MiB each they cover 8 GiB of a task's state before one must be reopened.
const MAX_OPEN_FILES: c_int = 128;

/// Limits of RocksDB's own log file, which tells of flushes, compactions and errors.
const LOG_FILE_BYTES: usize = 1 << 20;
const LOG_FILES: usize = 3;

/// Options of a database as a whole.
pub(super) fn database(budget: &MemoryBudget) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Without a write-ahead log this is what keeps data and offsets of one commit together.
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(&budget.write_buffers);
    // Flushes and compactions of all databases run on one pool of threads of the process, which this sizes.
    let cores = thread::available_parallelism().map_or(2, usize::from);
    options.set_max_background_jobs(c_int::try_from(cores.clamp(2, 8)).expect("at most 8"));
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_log_file_size(LOG_FILE_BYTES);
    options.set_keep_log_file_num(LOG_FILES);
    options
}

/// Options of a store's column family: mostly look-ups of whole keys, many of them of keys that are not there.
pub(super) fn store(budget: &MemoryBudget) -> Options {
    let mut table = tables(budget);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    table.set_whole_key_filtering(true);
    table.set_optimize_filters_for_memory(true);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_level_zero_file_num_compaction_trigger(TABLES_BEFORE_MERGE);
    // What was written lately is merged again soon and read most: compressing pays off below.
    let none = DBCompressionType::None;
    options.set_compression_per_level(&[none, none, DBCompressionType::Lz4]);
    // A quarter of the write buffers' half, so that a small budget is not one store's.
    options.set_write_buffer_size(WRITE_BUFFER_BYTES.min(budget.bytes() / 8));
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    // A filter in the write buffer too: a look-up of a key that is not there skips its tree.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.02);
    options
}

/// Options of a table that is made of rows of a store at once. It lies beside those of the first levels, and is not compressed either.
pub(super) fn table_of_run(budget: &MemoryBudget) -> Options {
    let mut options = store(budget);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options
}

/// Options of the column family of windows or sessions: what is written together expires together, but only tables that are merged are
/// removed as a whole. Merging is cheap: tables hardly overlap.
pub(super) fn timed_store(budget: &MemoryBudget) -> Options {
    let mut options = store(budget);
    options.set_level_zero_file_num_compaction_trigger(TIMED_TABLES_BEFORE_MERGE);
    options
}

/// Options of the family that holds the offsets: one key, written with every commit.
pub(super) fn offsets(budget: &MemoryBudget) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&tables(budget));
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(OFFSETS_BUFFER_BYTES.min(budget.bytes() / 8));
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options
}

/// Table files whose memory, all of it, is the shared cache's.
fn tables(budget: &MemoryBudget) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&budget.cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table
}
