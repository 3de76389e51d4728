//! Benchmarks of the whole: the framework's work on a real Kafka, alone or beside Kafka Streams.
//!
//! ```sh
//! cargo run --release -p integration-tests --bin bench -- compare --peer ../shared/peers/kafka-streams
//! ```
//!
//! `load` fills a topic, `run` measures one piece of work in a process of its own and prints one line of JSON, `compare`
//! does both for all works, in turn with the peer if it is named, and prints the ratios.

mod compare;
mod load;
mod memory;
mod meter;
mod run;
mod work;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Benchmarks of the whole.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fill a topic with records that depend on nothing but these arguments.
    Load(load::Load),
    /// Measure one piece of work; prints one line of JSON.
    Run(run::Run),
    /// Load and restore many tasks with many stores, and see whether memory stays within its budget.
    Memory(memory::Memory),
    /// Measure all works, in turn with Kafka Streams, and print the ratios.
    Compare(compare::Compare),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let logs = EnvFilter::try_from_env("MILLPOND_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(std::io::stderr).init();
    match Arguments::parse().command {
        Command::Load(load) => load.run(),
        Command::Run(run) => run.run().await,
        Command::Memory(memory) => memory.run(),
        Command::Compare(compare) => compare.run(),
    }
}
