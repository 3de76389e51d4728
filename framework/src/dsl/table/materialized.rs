//! `materialized`, `changelog_config`, `in_memory`, `without_changelog`, `coalesced`, `queryable`.

#[cfg(test)]
mod tests;

use std::ops::Deref;

use super::Table;
use crate::{serde::Data, topology::TopologyError};

/// A table with a name, whose rows are kept in a store of this name. It is used like the [`Table`] that it is.
#[derive(Debug, Clone)]
pub struct Materialized<'t, K, V>(pub(super) Table<'t, K, V>);

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// Keeps the rows in a store of this name. Its changelog is `<application id>-<name>-changelog`.
    pub fn materialized(self, name: &str) -> Materialized<'t, K, V> {
        self.graph.borrow_mut().name_store(self.node, name.into());
        Materialized(self)
    }
}

// === impl Materialized ===

impl<'t, K: Data, V: Data> Materialized<'t, K, V> {
    /// Sets settings of the store's changelog by their Kafka names (`withLoggingEnabled` of Kafka Streams). What the configuration
    /// says of the topic ([`Config::internal_topics`](crate::Config::internal_topics)) goes before it. A topic that exists with
    /// another value is an error; so are, when the topology is built, settings with which the store could not be restored.
    ///
    /// ```
    /// use millpond::{Serdes, Topology};
    ///
    /// let topology = Topology::builder("words");
    /// topology
    ///     .stream("words", Serdes::<String, String>::default())
    ///     .group_by_key()
    ///     .count()
    ///     .materialized("words")
    ///     .changelog_config([("min.cleanable.dirty.ratio", "0.1"), ("segment.ms", "600000")])
    ///     .queryable();
    /// # topology.build().unwrap();
    /// ```
    pub fn changelog_config<'s>(self, settings: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        self.0.graph.borrow_mut().keep(self.0.node).configure_changelog(settings);
        self
    }

    /// Keeps the store in memory, not on disk: each start restores it from the beginning of its changelog. It works as on disk.
    ///
    /// It is outside of what
    /// [`memory_bytes`](crate::Config::memory_bytes) bounds, as it has no disk to go to: `millpond_memory_bytes{part="in_memory"}` shows what it takes.
    pub fn in_memory(self) -> Self {
        self.0.graph.borrow_mut().keep(self.0.node).in_memory();
        self
    }

    /// Leaves the store without a changelog (`withLoggingDisabled` of Kafka Streams): what is lost with the disk, with the memory or with a
    /// move to another instance stays lost.
    pub fn without_changelog(self) -> Self {
        self.0.graph.borrow_mut().keep(self.0.node).without_changelog();
        self
    }

    /// Passes on, of the updates of each row between two commits, only the last one, with the value before the first one as the old
    /// value: what the record cache of Kafka Streams does. Rows that come and go between two commits are not seen downstream. Without it
    /// every update is passed on at once.
    ///
    /// Less goes downstream, up to a commit interval later, in the same transaction. The store itself has every update at once: streams
    /// that are joined with the table see it, while tables that are joined with it follow what is passed on. For all tables of an
    /// application: [`Config::coalesce_updates`](crate::Config::coalesce_updates).
    ///
    /// A function downstream that fails does so at the commit: the record that is judged for it is that of the row's last update, of
    /// which handlers then see neither key nor value.
    pub fn coalesced(self) -> Self {
        let mut graph = self.0.graph.borrow_mut();
        if !graph.coalesce(self.0.node) {
            let windows = "coalesced".to_owned();
            let reason =
                "the updates of a table that was suppressed wait already: coalesce the table before `suppress`";
            graph.refuse(TopologyError::Windows { windows, reason });
        }
        drop(graph);
        self
    }

    /// Lets the REST interface read the store.
    ///
    /// A table without a name cannot be queried:
    ///
    /// ```compile_fail,E0599
    /// use millpond::{Serdes, Topology};
    ///
    /// let topology = Topology::builder("words");
    /// topology.stream("words", Serdes::<String, String>::default()).group_by_key().count().queryable();
    /// ```
    pub fn queryable(self) -> Table<'t, K, V> {
        let mut graph = self.0.graph.borrow_mut();
        if !graph.keep(self.0.node).queryable() {
            let windows = "queryable".to_owned();
            let reason = "updates that wait in a buffer cannot be queried: query the table before `suppress`";
            graph.refuse(TopologyError::Windows { windows, reason });
        }
        drop(graph);
        self.0
    }
}

impl<'t, K, V> Deref for Materialized<'t, K, V> {
    type Target = Table<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'t, K, V> From<Materialized<'t, K, V>> for Table<'t, K, V> {
    fn from(materialized: Materialized<'t, K, V>) -> Self {
        materialized.0
    }
}
