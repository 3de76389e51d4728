//! The command-line tool `millpond`: what operators ask of a service built on [`millpond`].

pub mod cli;
pub mod plan;
