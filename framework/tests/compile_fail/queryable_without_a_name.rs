//! What is queried has a name.
use millpond::{Serdes, Topology};

fn main() {
    let topology = Topology::builder("words");
    topology.stream("words", Serdes::<String, String>::default()).group_by_key().count().queryable();
}
