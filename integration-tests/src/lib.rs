//! Several instances, a real Kafka, real HTTP, faults; benchmarks against peers.

pub mod broker;
pub mod checkout;
pub mod conformance;
pub mod dashboards;
pub mod failover;
pub mod faults;
pub mod in_process;
pub mod job;
pub mod ledger;
pub mod log_conformance;
pub mod service;
pub mod topologies;
