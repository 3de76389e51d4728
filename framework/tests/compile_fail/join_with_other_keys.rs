//! Streams and tables are joined by their keys.
use millpond::{Serdes, Topology};

fn main() {
    let topology = Topology::builder("orders");
    let customers = topology.table("customers", Serdes::<i64, String>::default());
    let orders = topology.stream("orders", Serdes::<String, String>::default());
    orders.join(&customers, |_, order, customer| format!("{order} of {customer}")).to("out");
}
