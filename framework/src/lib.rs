//! Distributed stateful microservices with interactive queries, on Kafka.
//!
//! A service is a [`Topology`] (what is computed) and a [`Config`] (where it runs), put together as an [`App`]. Instances of the same
//! application share the work; each keeps the state of its partitions in local RocksDB, logs every change to a compacted
//! changelog topic, and answers any key over REST, from its own state or by one request to the owner.
//!
//! # A service
//!
//! ```no_run
//! use millpond::{App, Config, Serdes, Topology};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Flight {
//!     carrier: String,
//!     delay_minutes: Option<i64>,
//! }
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Delays {
//!     flights: u64,
//!     minutes: i64,
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let topology = Topology::builder("flight-delays");
//! topology
//!     .stream("flights", Serdes::<String, Flight>::json())
//!     .filter(|_, flight| flight.delay_minutes.is_some())
//!     .group_by(|_, flight| flight.carrier.clone())
//!     .aggregate(Delays::default, |_, flight, mut delays: Delays| {
//!         delays.flights += 1;
//!         delays.minutes += flight.delay_minutes.unwrap_or(0);
//!         delays
//!     })
//!     .materialized("delays-by-carrier")
//!     .queryable();
//! App::new(topology.build()?, Config::from_env()?).run().await?;
//! # Ok(()) }
//! ```
//!
//! `GET /stores/delays-by-carrier/keys/UA` on any instance answers with the committed row and the position it stands for.
//!
//! # Without a broker
//!
//! [`testing::TopologyTestDriver`] runs a topology in a test, record by record. [`log::embedded::EmbeddedLog`] is an in-process log for
//! demos and development: `App::with_log`.
//!
//! # The modules, top to bottom
//!
//! A module uses only what stands below it.
//!
//! | module | what |
//! |---|---|
//! | [`app`] | builder, lifecycle, health: the only place where everything is put together |
//! | [`query`] | REST interface and router |
//! | [`cluster`] | membership, host metadata, planner, hand-over: pure |
//! | `runtime` | worker threads, tasks, commit, restore |
//! | [`dsl`] | streams, tables, groupings, joins |
//! | [`topology`] | graph, sub-topologies, co-partitioning, names, description |
//! | [`processor`] | records, nodes, what nodes share |
//! | [`state`] | the store engine of a task, byte formats |
//! | [`log`] | the log port, with its Kafka and its embedded adapter |
//! | [`serde`], [`time`], [`metrics`], [`config`] | leaves |
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr))]

pub mod app;
pub mod cluster;
pub mod config;
pub mod dsl;
pub mod log;
pub mod metrics;
pub mod processor;
pub mod query;
pub mod serde;
pub mod state;
pub mod testing;
pub mod time;
pub mod topology;

#[cfg(doctest)]
mod guide;
mod runtime;

pub use self::{
    app::App,
    config::Config,
    serde::{Serdes, Windowed},
    topology::{Topology, TopologyError},
};
