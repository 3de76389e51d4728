//! The REST interface, in process and over real ports.

mod fixture;
mod forwarding;
mod local;
mod overview;
mod problems;
mod routing;
mod stopping;
