//! Measures what losing an instance costs: `cargo run --release -p integration-tests --bin failover -- kill`.
//!
//! Ends with an error when a bar is missed, or something was lost, done twice or answered wrongly; logs and state are kept then.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use integration_tests::failover::{Bars, How, Options, PEER, join, kill, roll};

#[derive(Debug, Parser)]
struct Arguments {
    /// What happens; all of them one after the other when nothing is said.
    what: Vec<What>,
    /// How often. Default: 6 times `kill`, 3 times `session` and `freeze`, once the others.
    #[arg(long)]
    times: Option<usize>,
    /// A setting of the instances, by the name of its environment variable: `MILLPOND_SESSION_TIMEOUT_MS=10000`.
    #[arg(long, value_parser = setting)]
    set: Vec<(String, String)>,
    /// Where logs and state go. Default: a temporary folder, kept when something is wrong.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// SIGKILL to one of three.
    Kill,
    /// The same while nobody asks whether it is alive: the session timeout decides.
    Session,
    /// SIGSTOP, and SIGCONT when others have its tasks.
    Freeze,
    /// A rolling restart of all three.
    Roll,
    /// A fourth joins three with 60 tasks.
    Join,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    if name.starts_with("MILLPOND_") {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err("settings begin with MILLPOND_".into())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { what, times, set, folder } = Arguments::parse();
    let all = [What::Kill, What::Session, What::Freeze, What::Roll, What::Join];
    let mut bars = Bars::default();
    for what in if what.is_empty() { all.to_vec() } else { what } {
        let temporary = tempfile::tempdir()?;
        let folder = folder.clone().unwrap_or_else(|| temporary.path().to_owned()).join(format!("{what:?}"));
        std::fs::create_dir_all(&folder)?;
        let missed = bars.missed().len();
        let options = |default| Options {
            times: times.unwrap_or(default),
            settings: set.clone(),
            folder: folder.clone(),
            timed: true,
        };
        bars.note(&format!("=== {what:?}"));
        let result = match what {
            What::Kill => kill(&options(6), How::Kill, &mut bars).await,
            What::Session => kill(&options(3), How::KillUntilSessionEnds, &mut bars).await,
            What::Freeze => kill(&options(3), How::Freeze, &mut bars).await,
            What::Roll => roll(&options(1), 3, &mut bars).await,
            What::Join => join(&options(1), &mut bars).await,
        };
        if matches!(what, What::Kill | What::Session) {
            println!("{PEER}");
        }
        if result.is_err() || bars.missed().len() > missed {
            println!("logs and state: {} {}", folder.display(), temporary.keep().display());
        }
        result?;
    }
    for missed in bars.missed() {
        println!("MISSED: {missed}");
    }
    Ok(if bars.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
