//! Faults by seed: processes that are killed, stopped and frozen, brokers that go away, disks that lie. Work goes on all the time; at
//! the end nothing may be lost, and nothing done twice.

mod disk;
mod fleet;
mod plan;
mod rng;
mod round;

pub use self::{
    plan::{Fault, Plan},
    rng::Rng,
    round::{Report, round},
};
