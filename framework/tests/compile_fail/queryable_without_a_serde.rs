//! What is kept, and queried, can be written and read.
use millpond::{Serdes, Topology};

#[derive(Clone, Default)]
struct Delays {
    minutes: i64,
}

fn main() {
    let topology = Topology::builder("delays");
    topology
        .stream("flights", Serdes::<String, i64>::default())
        .group_by_key()
        .aggregate(Delays::default, |_, late, delays: Delays| Delays { minutes: delays.minutes + late })
        .materialized("delays")
        .queryable();
}
