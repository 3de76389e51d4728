//! Faults by seed: processes that are killed, stopped and frozen, brokers that go away, disks that lie. Work goes on all the time; at
//! the end nothing may be lost, and nothing done twice.

mod chaos;
pub(crate) mod disk;
pub(crate) mod fleet;
pub(crate) mod plan;
mod rng;
pub(crate) mod round;
mod wire;

pub use self::{
    chaos::{Chaos, chaos},
    plan::{Fault, Plan},
    rng::Rng,
    round::{Report, round},
};
