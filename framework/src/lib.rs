//! Distributed stateful microservices with interactive queries, on Kafka.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr))]

pub mod cluster;
pub mod config;
pub mod dsl;
pub mod log;
pub mod metrics;
pub mod processor;
pub mod serde;
pub mod state;
pub mod testing;
pub mod time;
pub mod topology;
