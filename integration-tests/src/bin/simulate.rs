//! Plays seeds of the simulation: `cargo run --release -p integration-tests --bin simulate -- --seeds 10000`, or one: `--seed 17`.
//!
//! Ends with an error at the first seed in which something does not hold, and with the last lines of what happened in it. The same
//! seed does the same again.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use clap::Parser;
use millpond::{
    testing::simulation::{Simulated, replay, simulate},
    time::{Clock, SystemClock},
};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Plays this one alone, and shows what happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// How many lines are shown of a seed in which something does not hold; of one that is played alone, all.
    #[arg(long, default_value_t = 200)]
    lines: usize,
    /// How many seeds at a time. Default: as many as there are processors.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { seeds, first, seed, lines, threads } = Arguments::parse();
    match seed {
        Some(seed) => {
            let played = replay(seed)?;
            played.lines.iter().for_each(|line| println!("{line}"));
            report(&played)
        }
        None => {
            let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
            play(first..first + seeds, lines, threads)
        }
    }
}

fn report(played: &Simulated) -> anyhow::Result<()> {
    let Simulated { seed, violation, hash, time, turns, fed, commits, .. } = played;
    println!(
        "seed {seed}: {fed} records, {commits} commits, {turns} turns in {:.1} s, hash {hash:016x}",
        time.as_secs_f64()
    );
    match violation {
        Some(violation) => bail!("seed {seed}: {violation}"),
        None => Ok(()),
    }
}

fn play(seeds: std::ops::Range<u64>, lines: usize, threads: usize) -> anyhow::Result<()> {
    let (next, over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let totals = Mutex::new((0, Duration::ZERO, 0, 0));
    let clock = SystemClock::new();
    let work = || -> anyhow::Result<()> {
        while !over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let played = simulate(seed)?;
            if played.violation.is_some() && !over.swap(true, Ordering::Relaxed) {
                let again = replay(seed)?;
                if (again.hash, &again.violation) != (played.hash, &played.violation) {
                    println!(
                        "seed {seed} did something else the second time: {:016x}, then {:016x}",
                        played.hash, again.hash
                    );
                }
                again.lines.iter().skip(again.lines.len().saturating_sub(lines)).for_each(|line| println!("{line}"));
                report(&played)?;
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.0 += 1;
            totals.1 += played.time;
            totals.2 += played.commits;
            totals.3 += played.fed;
            if totals.0 % 100 == 0 {
                let (played, time, commits, fed) = *totals;
                let seconds = clock.monotonic().as_secs_f64();
                let line = format!(
                    "{played} of {} seeds in {seconds:.0} s: {:.1} hours, {fed} records, {commits} commits",
                    seeds.end - seeds.start,
                    time.as_secs_f64() / 3600.0
                );
                let end = if std::io::stdout().is_terminal() { "\r" } else { "\n" };
                print!("{line}{end}");
                std::io::stdout().flush()?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .fold(mine, Result::and)
    })?;
    let (played, time, commits, fed) = *totals.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{played} seeds: all well; {:.1} hours of theirs in {:.0} s, {fed} records, {commits} commits",
        time.as_secs_f64() / 3600.0,
        clock.monotonic().as_secs_f64()
    );
    Ok(())
}
