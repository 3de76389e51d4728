//! `store`, `versioned_store`, `window_store`, `session_store`: stores of tables, for processors.

#[cfg(test)]
mod tests;

use super::Table;
use crate::{
    dsl::stores::Store,
    processor::{KeyValueStore, SessionStore, VersionedStore, WindowStore},
    serde::{Data, Windowed},
    state::{Retention, StoreKind},
};

/// Of a kind only the name counts.
const ANY: Retention = Retention::new(0);

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// The table's store, for processors (the name of a `KTable`'s store given to `process` in Kafka Streams): its rows are kept from now on.
    ///
    /// Processors find the rows of their own task: those of keys that are in the same partition as their records. They see every update
    /// at once, also those that wait to be passed on because the table is [`coalesced`](super::Materialized::coalesced). What they
    /// write is in the store and its changelog, and nothing of it is passed on downstream of the table.
    ///
    /// ```
    /// use millpond::{
    ///     Serdes, Topology,
    ///     processor::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, KeyValueStore, ProcessorResult},
    /// };
    ///
    /// /// By how much a price differs from the list, and since when the list says so.
    /// struct AgainstList(KeyValueStore<String, i64>);
    ///
    /// impl FixedKeyProcessor<String, i64> for AgainstList {
    ///     type Value = (i64, i64);
    ///
    ///     fn process(
    ///         &mut self,
    ///         ctx: &mut FixedKeyContext<'_, String, Self::Value>,
    ///         price: FixedKeyRecord<String, i64>,
    ///     ) -> ProcessorResult {
    ///         let Some((list, since_ms)) = self.0.get_with_timestamp(ctx, price.key())? else { return Ok(()) };
    ///         let difference = price.value - list;
    ///         Ok(ctx.forward(price.with_value((difference, since_ms)))?)
    ///     }
    /// }
    ///
    /// let topology = Topology::builder("prices");
    /// let list = topology.table("list", Serdes::<String, i64>::default()).materialized("list");
    /// let prices = topology.stream("prices", Serdes::<String, i64>::default());
    /// prices.process_values(list.store(), AgainstList).with_serdes(Serdes::json()).to("differences");
    /// # topology.build().unwrap();
    /// ```
    ///
    /// Tables that keep versions have a [`versioned_store`](Table::versioned_store), tables of windows a [`window_store`](Table::window_store),
    /// tables of sessions a [`session_store`](Table::session_store). What [`suppress_for`](Table::suppress_for) gives has none: use
    /// that of the table before it. The topology does not build where that is mixed up.
    pub fn store(&self) -> Store<KeyValueStore<K, V>> {
        self.open_store(StoreKind::TimestampedKeyValue)
    }

    /// The store of a table that keeps versions ([`versioned`](Table::versioned)), for processors. Otherwise as [`Table::store`].
    pub fn versioned_store(&self) -> Store<VersionedStore<K, V>> {
        self.open_store(StoreKind::Versioned(ANY))
    }

    fn open_store<S>(&self, kind: StoreKind) -> Store<S> {
        Store::new(self.graph.borrow_mut().open_store(self.node, kind.name()))
    }
}

impl<K: Data, V: Data> Table<'_, Windowed<K>, V> {
    /// The store of a table of windows as it was aggregated, for processors. Otherwise as [`Table::store`].
    pub fn window_store(&self) -> Store<WindowStore<K, V>> {
        self.open_store(StoreKind::TimestampedWindow(ANY))
    }

    /// The store of a table of sessions as it was aggregated, for processors. Otherwise as [`Table::store`].
    pub fn session_store(&self) -> Store<SessionStore<K, V>> {
        self.open_store(StoreKind::Session(ANY))
    }
}
