//! The binary `millpond`: see `millpond --help`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use millpond_cli::{
    cli::{Cli, Command},
    plan,
};

fn main() -> ExitCode {
    let Cli { command: Command::Plan(args) } = Cli::parse();
    let answer = plan::run(&args);
    match answer.and_then(|answer| Ok(io::stdout().write_all(answer.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millpond: {error:#}");
            ExitCode::FAILURE
        }
    }
}
