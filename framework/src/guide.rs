//! The guide (`docs/`), for doc tests only: every Rust block of its pages is compiled and run by `cargo test --doc`.
//!
//! Blocks that run are merged into one program, so they cost little; `compile_fail` and crate attributes (`#![..]`) make one of its own of a
//! block. `integration-tests/tests/guide.rs` finds pages with Rust blocks that are not in this list.

/// A module per page, with its text as documentation.
macro_rules! pages {
    ($($page:ident = $path:literal,)*) => {$(
        #[doc = include_str!(concat!("../../docs/", $path))]
        mod $page {}
    )*};
}

pages! {
    getting_started = "getting-started.md",
    streams_and_tables = "concepts/streams-and-tables.md",
    tasks = "concepts/tasks.md",
    aggregations = "operators/aggregations.md",
    cogroup = "operators/cogroup.md",
    failing_records = "operators/failing-records.md",
    foreign_key_joins = "operators/foreign-key-joins.md",
    global_tables = "operators/global-tables.md",
    multi_phase = "operators/multi-phase.md",
    processors = "operators/processors.md",
    record_time = "operators/record-time.md",
    stateless = "operators/stateless.md",
    stream_stream_joins = "operators/stream-stream-joins.md",
    stream_table_joins = "operators/stream-table-joins.md",
    suppress = "operators/suppress.md",
    table_aggregations = "operators/table-aggregations.md",
    table_joins = "operators/table-joins.md",
    tables = "operators/tables.md",
    testing = "operators/testing.md",
    versioned_tables = "operators/versioned-tables.md",
    windows = "operators/windows.md",
}
