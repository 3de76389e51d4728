//! Replays what Apache Kafka Streams does, record by record: files `<topology>.<seed>.json`, made by its own test driver.

pub mod decisions;
pub mod folder;
pub mod report;
mod run;
pub mod vectors;

pub use self::run::run;
