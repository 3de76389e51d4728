//! The works that are measured: those of `peers/kafka-streams`.

use std::time::Duration;

use clap::ValueEnum;
use millpond::{Serdes, Topology, dsl::TimeWindows};

/// The topic that works without state, and joins, write to.
pub(super) const OUTPUT: &str = "millpond-out";

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Work {
    /// Drops the values that begin with `0` (1 of 16), upper-cases the rest.
    Stateless,
    /// Counts by key.
    Count,
    /// Counts by key and minute.
    Window,
    /// Keeps the last value by key, in one store or several.
    Latest,
    /// Joins a stream with a table of 100-byte values; 200 bytes of output.
    Join,
}

// === impl Work ===

impl Work {
    pub(super) fn topology(self, topic: &str, table: &str, stores: usize) -> anyhow::Result<Topology> {
        let topology = Topology::builder("bench");
        let stream = topology.stream(topic, Serdes::<String, String>::default());
        match self {
            Self::Stateless => {
                stream
                    .filter(|_, value| !value.starts_with('0'))
                    .map_values(|_, value| value.to_uppercase())
                    .to(OUTPUT);
            }
            Self::Count => {
                stream.group_by_key().count().materialized("store");
            }
            Self::Window => {
                let minutes = TimeWindows::tumbling(Duration::from_secs(60));
                stream.group_by_key().windowed_by(minutes).count().materialized("store");
            }
            Self::Latest => {
                let grouped = stream.group_by_key();
                for number in 0..stores {
                    let name = if number == 0 { "store".to_owned() } else { format!("store-{number}") };
                    grouped.reduce(|_, value: &String| value.clone()).materialized(&name);
                }
            }
            Self::Join => {
                let table = topology.table(table, Serdes::<String, String>::default());
                stream.join(&table, |_, value, of_table| format!("{value}{of_table}")).to(OUTPUT);
            }
        }
        Ok(topology.build()?)
    }

    /// Whether it writes to [`OUTPUT`].
    pub(super) fn has_output(self) -> bool {
        matches!(self, Self::Stateless | Self::Join)
    }
}
