//! Only windows close.
use millpond::{
    Serdes, Topology,
    dsl::Buffer,
};

fn main() {
    let topology = Topology::builder("words");
    let counts = topology.stream("words", Serdes::<String, String>::default()).group_by_key().count();
    counts.suppress_until_windows_close(Buffer::unbounded()).to_stream().to("out");
}
