//! Windows are of groups.
use std::time::Duration;

use millpond::{Serdes, Topology, dsl::TimeWindows};

fn main() {
    let topology = Topology::builder("words");
    let words = topology.stream("words", Serdes::<String, String>::default());
    words.windowed_by(TimeWindows::tumbling(Duration::from_secs(60)));
}
