//! Replays a folder of conformance vectors: files `<topology>.<seed>.json`, each against the topology of its name.
//!
//! Prints a line per topology, with the first difference where there is one, and how many passed and failed. The exit status is 1
//! when one failed.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, ensure};
use clap::Parser;
use integration_tests::conformance::{self, folder, vectors::Dropped};

#[derive(Debug, Parser)]
#[command(about = "Replays a folder of conformance vectors, each file against the topology of its name")]
struct Args {
    /// The folder. Files that are not named `<topology>.<seed>.json` are left out.
    folder: PathBuf,
    /// Compares how many records operators left out, too.
    #[arg(long)]
    dropped: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let files = folder::files(&args.folder).with_context(|| format!("cannot read {}", args.folder.display()))?;
    ensure!(!files.is_empty(), "no files <topology>.<seed>.json in {}", args.folder.display());
    // A panic is part of the report.
    std::panic::set_hook(Box::new(|_| {}));
    let report = conformance::run(&files, if args.dropped { Dropped::Compared } else { Dropped::Ignored });
    println!("{report}");
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
