//! Tools for tests of what is built with this crate.

mod driver;

pub use self::driver::{DriverError, TestRecord, TestTopic, TopologyTestDriver};
