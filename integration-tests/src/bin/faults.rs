//! Plays rounds of faults: `cargo run --release -p integration-tests --bin faults -- --rounds 50 --seed 1`.
//!
//! With `--chaos SECONDS` one long round of another kind: five instances, and everything that can go wrong at random.
//!
//! Ends with an error at the first round in which something was lost, done twice or answered wrongly; logs and state of that
//! round are kept.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use integration_tests::{
    broker::Broker,
    faults::{Chaos, Plan, chaos, round},
};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many rounds.
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// Plays chaos instead, for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    chaos: Option<u64>,
    /// The seed of the first round, or of the chaos; the next round has the next seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where logs and state go. Default: a temporary folder, kept when a round fails.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> anyhow::Result<()> {
    let Arguments { rounds, chaos, seed, folder } = Arguments::parse();
    match chaos {
        Some(seconds) => play_chaos(seed, Duration::from_secs(seconds), folder).await,
        None => play_rounds(rounds, seed, folder).await,
    }
}

async fn play_chaos(seed: u64, time: Duration, folder: Option<PathBuf>) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    match chaos(&Chaos { seed, time, settings: Vec::new() }, &folder).await {
        Ok(outcome) => {
            println!("chaos of seed {seed}: {outcome}: ok");
            Ok(())
        }
        Err(error) => {
            println!("chaos of seed {seed} => VIOLATED: {error:#}");
            let kept = temporary.keep();
            Err(error).with_context(|| format!("logs and state: {} {}", folder.display(), kept.display()))
        }
    }
}

async fn play_rounds(rounds: u64, seed: u64, folder: Option<PathBuf>) -> anyhow::Result<()> {
    let mut broker = Broker::private_to_crash()?;
    let (mut transfers, mut answers, mut restored, mut faults, mut elapsed) = (0, 0, 0, 0, Duration::ZERO);
    let mut died_at = BTreeMap::<_, u64>::new();
    for seed in seed..seed + rounds {
        let plan = Plan::of(seed);
        let temporary = tempfile::tempdir()?;
        let folder =
            folder.as_ref().map_or_else(|| temporary.path().to_owned(), |folder| folder.join(seed.to_string()));
        std::fs::create_dir_all(&folder)?;
        match round(&mut broker, &plan, &folder).await {
            Ok(report) => {
                println!("{plan} => {report}: ok");
                transfers += report.transfers;
                answers += report.answers;
                restored += report.restored();
                faults += plan.faults.len();
                elapsed += report.elapsed;
                for at in report.died_at {
                    *died_at.entry((at.step, at.moment)).or_default() += 1;
                }
            }
            Err(error) => {
                println!("{plan} => VIOLATED: {error:#}");
                let kept = temporary.keep();
                return Err(error).with_context(|| {
                    format!(
                        "seed {seed} (play it again with --rounds 1 --seed {seed}); logs and state: {} {}",
                        folder.display(),
                        kept.display()
                    )
                });
            }
        }
    }
    let died_at: Vec<String> =
        died_at.into_iter().map(|((step, moment), times)| format!("{} {step} ({times})", moment.name())).collect();
    println!("killed at failpoints: {}", died_at.join(", "));
    println!(
        "{rounds} rounds, {faults} faults, {transfers} transfers, {answers} answers, {restored} records restored after crashes, {:.0} s: nothing lost, nothing twice, no state wiped",
        elapsed.as_secs_f64()
    );
    Ok(())
}
