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
    let answer = match plan::run(&args) {
        Ok(answer) => answer,
        Err(error) => return fail(&error),
    };
    match io::stdout().write_all(answer.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.into()),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("millpond: {error:#}");
    ExitCode::FAILURE
}
