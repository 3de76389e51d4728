//! The topologies of the conformance vectors, written as a user would: one file per family.
//!
//! What each one does is said in the `description` of its vectors (`vectors/<name>.<seed>.json`).

mod aggregate;
mod cogroup;
mod duplicate_windows;
mod emit_on_close;
mod errors;
mod fk_join;
mod headers;
mod processor;
mod processor_stores;
mod session_windows;
mod sliding_windows;
mod stateless;
mod stores;
mod stream_global_join;
mod stream_stream_join;
mod stream_table_join;
mod suppress;
mod table;
mod table_group_by;
mod table_table_join;
mod text;
mod time;
mod time_windows;
mod versions;

use std::time::Duration;

use millpond::{Serdes, Topology, TopologyError, dsl::TopologyBuilder};

/// A topology by the name of its vectors.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name.
    pub name: &'static str,
    /// The family, which is the name of the file it is written in.
    pub family: &'static str,
    write: fn(&TopologyBuilder),
}

/// Topologies of a family, by name.
type Cases = &'static [(&'static str, fn(&TopologyBuilder))];

/// All of them.
pub fn all() -> impl Iterator<Item = Case> {
    let families: [(_, Cases); _] = [
        ("aggregate", aggregate::ALL),
        ("cogroup", cogroup::ALL),
        ("duplicate_windows", duplicate_windows::ALL),
        ("errors", errors::ALL),
        ("headers", headers::ALL),
        ("emit_on_close", emit_on_close::ALL),
        ("fk_join", fk_join::ALL),
        ("session_windows", session_windows::ALL),
        ("sliding_windows", sliding_windows::ALL),
        ("processor", processor::ALL),
        ("processor_stores", processor_stores::ALL),
        ("stateless", stateless::ALL),
        ("stores", stores::ALL),
        ("stream_global_join", stream_global_join::ALL),
        ("stream_stream_join", stream_stream_join::ALL),
        ("stream_table_join", stream_table_join::ALL),
        ("suppress", suppress::ALL),
        ("table", table::ALL),
        ("table_group_by", table_group_by::ALL),
        ("table_table_join", table_table_join::ALL),
        ("time", time::ALL),
        ("time_windows", time_windows::ALL),
        ("versions", versions::ALL),
    ];
    families
        .into_iter()
        .flat_map(|(family, cases)| cases.iter().map(move |(name, write)| Case { name, family, write: *write }))
}

/// Serdes of streams whose keys and values may be null.
type Nullable<K, V> = Serdes<Option<K>, Option<V>>;

/// Text that may be null, for keys and values.
fn nullable() -> Nullable<String, String> {
    Serdes::default()
}

/// So many milliseconds.
const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How long most windows are kept.
const HOUR: Duration = Duration::from_secs(3600);

/// Text that is never null, for keys and values.
fn plain() -> Serdes<String, String> {
    Serdes::default()
}

// === impl Case ===

impl Case {
    /// The topology.
    ///
    /// # Errors
    ///
    /// When it is wrong.
    pub fn topology(&self) -> Result<Topology, TopologyError> {
        let topology = Topology::builder(self.name);
        (self.write)(&topology);
        topology.build()
    }
}
