//! Delays of the flights that left New York in 2013: a service built on [`millpond`].
//!
//! - [`topology`]: what the service computes;
//! - [`model`]: what is on its topics and in its stores;
//! - [`feed`]: writes the data set ([`data`]) to the topics;
//! - [`check`]: compares the answers of running instances with the [`truth`];
//! - [`demo`]: all of it in one process.

pub mod check;
pub mod cli;
pub mod client;
pub mod console;
pub mod data;
pub mod demo;
pub mod environment;
pub mod feed;
pub mod model;
#[cfg(test)]
mod standin;
pub mod topology;
pub mod truth;
