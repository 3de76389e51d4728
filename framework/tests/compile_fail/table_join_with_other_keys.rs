//! Tables are joined by their keys.
use millpond::{Serdes, Topology};

fn main() {
    let topology = Topology::builder("planes");
    let planes = topology.table("planes", Serdes::<String, String>::default());
    let owners = topology.table("owners", Serdes::<i64, String>::default());
    planes.join(&owners, |_, plane, owner| format!("{plane} of {owner}")).to_stream().to("out");
}
