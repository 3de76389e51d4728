//! The language in which a topology is written: [`Stream`], [`Table`], [`GlobalTable`], [`Grouped`], [`WindowedGrouped`].
//!
//! ```
//! use millpond::{Serdes, Topology};
//!
//! let topology = Topology::builder("words");
//! topology
//!     .stream("lines", Serdes::<Option<String>, String>::default())
//!     .flat_map_values(|_, line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
//!     .group_by(|_, word| word.clone())
//!     .count()
//!     .materialized("words")
//!     .queryable();
//! let topology = topology.build()?;
//! # Ok::<(), millpond::TopologyError>(())
//! ```
//!
//! * Functions take references to key and value, and return what is new. They are `Send + Sync`: each task uses them.
//! * Functions that may fail have a `try_` in their name, and return a `Result`. What happens to a record for which one fails is decided by
//!   the configuration or by [`Handlers`](crate::processor::Handlers). One that panics stops the instance, and nothing of the record is
//!   committed.
//! * Nulls are in the types (see [`crate::serde`]): a stream whose keys or values may be null says so with `Option`. The rows of
//!   tables are never null; a table read as a stream has `Option` values, where `None` says that the row was deleted.
//! * Where an operation changes keys, the next one that needs a record to be where its key belongs sends the records through a
//!   repartition topic; nothing has to be said about it.
//! * Only what is named with `materialized` keeps its name for sure when the topology changes; only that can be made
//!   `queryable`.

mod builder;
mod cogrouped;
mod consumed;
mod fallible;
mod global_store;
mod global_table;
mod grouped;
mod grouped_table;
mod key;
mod stores;
mod stream;
mod table;
mod windowed;
mod windows;

#[cfg(test)]
mod tests;

pub use self::{
    builder::{Topics, TopologyBuilder},
    cogrouped::{Cogrouped, WindowedCogrouped},
    consumed::Consumed,
    fallible::UserError,
    global_store::GlobalStore,
    global_table::{GlobalTable, MaterializedGlobal},
    grouped::Grouped,
    grouped_table::GroupedTable,
    key::KeyOf,
    stores::{KeyValue, Queryable, Retained, Store, StoreBuilder, Stores},
    stream::{JoinedStream, Repartitioned, Split, Stream},
    table::{Buffer, Materialized, Table},
    windowed::{FixedWindows, WindowedGrouped},
    windows::{JoinWindows, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, Windows},
};

/// Handles point into the graph of their topology.
const OTHER_TOPOLOGY: &str = "both sides of a join must be of one topology";
