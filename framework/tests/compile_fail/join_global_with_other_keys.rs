//! Rows of a global table are found by keys of its type.
use millpond::{Serdes, Topology};

fn main() {
    let topology = Topology::builder("flights");
    let airports = topology.global_table("airports", Serdes::<i64, String>::default());
    let flights = topology.stream("flights", Serdes::<String, String>::default());
    flights.join_global(&airports, |_, flight| flight.clone(), |_, _, airport| airport.clone()).to("out");
}
