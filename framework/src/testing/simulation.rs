//! Whole instances in one thread, on a log in memory, at a time of their own, with everything going wrong that may: all by one seed.
//!
//! What runs is what runs in production: the control loop, the coordinator, the workers, the threads that commit, the leader's calls, the
//! stores. In place of threads there is a scheduler that gives each loop its turns as chance has it (`runtime` makes loops of turns);
//! in place of the clock a time that passes when nobody has anything to do at it; in place of the disk one in memory that keeps what was
//! flushed; and between each instance and the embedded log a link that is slow, loses calls and answers, and breaks.
//!
//! A seed always does the same. So what it found is found again, with every line that is written about it.

mod disk;
mod here;
mod instance;
mod life;
mod log;
mod network;
mod play;
mod rng;
mod routine;
mod scheduler;
mod telling;
mod threads;
mod trace;
mod witness;
mod workload;
mod world;

use std::{rc::Rc, thread::Builder, time::Duration};

use self::{scheduler::Scheduler, telling::Telling, trace::Trace, world::World};
use crate::{app::AppError, log::LogError, topology::TopologyError};

/// What became of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulated {
    /// The seed.
    pub seed: u64,
    /// What did not hold, if anything did not.
    pub violation: Option<String>,
    /// The last of what happened, a line each with its time in seconds.
    pub lines: Vec<String>,
    /// A number for everything that happened: the same for the same seed.
    pub hash: u64,
    /// How much time passed in it.
    pub time: Duration,
    /// How many turns were given.
    pub turns: u64,
    /// How many records were fed.
    pub fed: u64,
    /// How many commits there were.
    pub commits: u64,
}

/// Why a simulation cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// The log cannot be made.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The topology cannot be made.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// An instance cannot be made.
    #[error(transparent)]
    App(#[from] AppError),
    /// There is no thread for it.
    #[error("cannot start a thread for the simulation")]
    Thread(#[from] std::io::Error),
    /// The simulation itself panicked.
    #[error("the simulation panicked; the message is on standard error")]
    Panicked,
}

/// How many lines are kept of what happens.
const LINES: usize = 100;
/// Plays a seed to its end, or until something does not hold.
///
/// # Errors
/// When the simulation cannot begin; what goes wrong in it is in the result.
pub fn simulate(seed: u64) -> Result<Simulated, SimulationError> {
    on_a_thread(seed, move || play(seed, LINES))
}

/// The same, with all that happened, and what the instances say of themselves: for a look at what was found.
///
/// # Errors
/// As [`simulate`].
pub fn replay(seed: u64) -> Result<Simulated, SimulationError> {
    on_a_thread(seed, move || tracing::subscriber::with_default(Telling, || play(seed, usize::MAX)))
}

fn on_a_thread(
    seed: u64,
    play: impl FnOnce() -> Result<Simulated, SimulationError> + Send + 'static,
) -> Result<Simulated, SimulationError> {
    let thread = Builder::new().name(format!("seed {seed}")).spawn(play)?;
    thread.join().unwrap_or(Err(SimulationError::Panicked))
}

fn play(seed: u64, lines: usize) -> Result<Simulated, SimulationError> {
    let scheduler = Scheduler::begin(seed, Trace::keeping(lines));
    let world = World::new(&scheduler)?;
    let of_watch = Rc::clone(&world);
    scheduler.watch(Rc::new(move || of_watch.check()));
    let of_fate = Rc::clone(&world);
    scheduler.add_fate(Box::new(move || of_fate.go_on()));
    play::Play { scheduler: &scheduler, world: &world }.play();
    let (fed, commits, time) = (world.fed(), world.commits(), scheduler.now());
    let (trace, violation, turns) = scheduler.end();
    let hash = trace.hash();
    Ok(Simulated { seed, violation, lines: trace.into_lines(), hash, time, turns, fed, commits })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays seeds and says what was wrong with the first that is.
    fn play_all(seeds: std::ops::Range<u64>) -> Result<(), String> {
        for seed in seeds {
            let played = simulate(seed).map_err(|error| error.to_string())?;
            if let Some(violation) = played.violation {
                return Err(format!("seed {seed}: {violation}\n{}", played.lines.join("\n")));
            }
        }
        Ok(())
    }

    #[test]
    fn instances_lose_nothing_whatever_happens() {
        play_all(0..300).unwrap_or_else(|what| panic!("{what}"));
    }

    #[test]
    fn a_seed_always_does_the_same() {
        let (one, again) = (simulate(7).expect("it begins"), simulate(7).expect("it begins"));
        assert_eq!((one.hash, one.turns, one.fed), (again.hash, again.turns, again.fed));
        assert_ne!(one.hash, simulate(8).expect("it begins").hash);
    }
}
