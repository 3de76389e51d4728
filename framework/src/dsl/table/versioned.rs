//! `versioned`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Materialized, Table};
use crate::{dsl::windows::ms, serde::Data, state::Retention};

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// Keeps the rows in a store of this name, with their versions: every value that a row had, by the timestamps of its updates, for as
    /// long as `history`. This is a versioned store of Kafka Streams (KIP-889).
    ///
    /// * The timestamp decides, not the order of the log: an update that is older than the row becomes a version of the past, and the row
    ///   stays. One that is older than the latest timestamp of the whole store less `history` is left out (dropped).
    /// * A stream that is joined with the table finds the rows as they were at the time of its records.
    /// * Joins with other tables and aggregations leave updates of the past out; joins count them as dropped. `filter`, `map_values` and
    ///   `to_stream` pass them on. A filter says of every update that does not pass that the row is deleted.
    ///
    /// The history is that of the updates: how long a row was not updated does not matter, its latest version stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::{Serdes, Topology};
    ///
    /// let topology = Topology::builder("orders");
    /// let prices = topology.table("prices", Serdes::<String, i64>::default()).versioned("prices", Duration::from_secs(86_400));
    /// let orders = topology.stream("orders", Serdes::<String, i64>::default());
    /// orders.join(&prices, |_, count, price| count * price).to("amounts");
    /// # topology.build().unwrap();
    /// ```
    pub fn versioned(self, name: &str, history: Duration) -> Materialized<'t, K, V> {
        self.graph.borrow_mut().keep_versions(self.node, name.into(), Retention::new(ms(history)));
        Materialized(self)
    }
}
