//! Tools for tests of what is built with this crate.

mod driver;
mod faulty;
pub mod simulation;

pub use self::{
    driver::{DriverError, TestRecord, TestTopic, TestVersion, TopologyTestDriver},
    faulty::{Failpoint, FailpointError, Fault, Faults, FaultyLog, Moment, Step},
};
