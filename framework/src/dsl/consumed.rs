//! How a topic is read.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use crate::{
    config::{OffsetReset, OnError, Timestamps},
    processor::Record,
    serde::{Data, Serdes},
    topology::{SourceOptions, Timing},
};

/// Gives a record its time, in ms since the epoch; negative when it has none.
pub(super) type Extractor<K, V> = Arc<dyn Fn(&Record<K, V>, i64) -> i64 + Send + Sync>;

/// How a topic is read: its serdes, and what else is not as the configuration says.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::{Serdes, Topology, config::OffsetReset, dsl::Consumed};
///
/// let topology = Topology::builder("readings");
/// let serdes = Serdes::<String, i64>::default();
/// let readings = Consumed::new(serdes)
///     .timestamps_by(|reading, _| reading.value)
///     .offset_reset(OffsetReset::ByDuration(Duration::from_secs(3600)));
/// topology.stream("readings", readings).to("times");
/// # Ok::<(), millpond::TopologyError>(())
/// ```
pub struct Consumed<K, V> {
    serdes: Serdes<K, V>,
    extractor: Option<Extractor<K, V>>,
    options: SourceOptions,
}

// === impl Consumed ===

impl<K: Data, V: Data> Consumed<K, V> {
    /// With these serdes, and as the configuration says.
    #[must_use]
    pub fn new(serdes: Serdes<K, V>) -> Self {
        Self { serdes, extractor: None, options: SourceOptions::default() }
    }

    /// Which time its records have.
    #[must_use]
    pub fn timestamps(mut self, timestamps: Timestamps) -> Self {
        self.options.timing = Some(Timing::Policy(timestamps));
        self
    }

    /// Which time its records have, in ms since the epoch, by a function of the record and the partition time: the largest time of a
    /// record of the partition that was processed before, -1 if there is none since the task was started. A record for which it gives a
    /// negative time is left out, and counted. A tombstone of a table has no value to look at: it keeps the record's timestamp.
    #[must_use]
    pub fn timestamps_by(mut self, extractor: impl Fn(&Record<K, V>, i64) -> i64 + Send + Sync + 'static) -> Self {
        self.options.timing = Some(Timing::Extractor);
        self.extractor = Some(Arc::new(extractor));
        self
    }

    /// Where to begin when there is no position, or none that exists.
    #[must_use]
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.options.offset_reset = Some(reset);
        self
    }

    /// What happens to its records that cannot be read.
    #[must_use]
    pub fn on_deserialization_error(mut self, answer: OnError) -> Self {
        self.options.on_unreadable = Some(answer);
        self
    }

    pub(super) fn into_parts(self) -> (Serdes<K, V>, Option<Extractor<K, V>>, SourceOptions) {
        (self.serdes, self.extractor, self.options)
    }
}

impl<K: Data, V: Data> From<Serdes<K, V>> for Consumed<K, V> {
    fn from(serdes: Serdes<K, V>) -> Self {
        Self::new(serdes)
    }
}

impl<K: 'static, V: 'static> fmt::Debug for Consumed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumed").field("serdes", &self.serdes).field("options", &self.options).finish_non_exhaustive()
    }
}
