//! What losing an instance costs, in seconds: three ledgers on a real Kafka, transfers and questions all the time, and one of them that is killed,
//! frozen, stopped, or joined by a fourth. Nothing may be lost, done twice or answered wrongly meanwhile.

mod bars;
mod bed;
mod gaps;
mod join;
mod kill;
pub mod placement;
mod readers;
mod restored;
mod roll;
mod service;

use std::path::PathBuf;

pub use self::{
    bars::Bars,
    join::join,
    kill::{How, kill},
    roll::roll,
};

/// What all measurements take.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often to do it.
    pub times: usize,
    /// More settings of the instances, by the names of their environment variables.
    pub settings: Vec<(String, String)>,
    /// Where logs and state go.
    pub folder: PathBuf,
    /// Whether the bars hold, which are of seconds; else it is only checked that nothing is lost, and seconds are printed.
    pub timed: bool,
}

/// What Kafka Streams 4.3.1 needs for the same: one of two instances killed with SIGKILL, one standby each, under load
/// (`docs/failures.md` says how it was measured).
pub const PEER: &str = "\
Kafka Streams 4.3.1, kill -9, exactly once:   processing resumes | owner's reads: longest gap | reads of standbys: longest gap, failed of sent
  session timeout 6 s                          7.5 s              | 7.5 s                      | 0.7 s, 183 of 3,696
  session timeout 45 s (its default)           46.7 s             | 46.2 s                     | 2.1 s, 360 of 11,564";
