//! From the records of a global table's or store's topic to its rows.

use std::{fmt, sync::Arc};

use crate::{
    log::{RecordRef, TopicPartition},
    processor::{GlobalNode, ProcessError, RecordPart},
    serde::{SerdeError, Serdes},
    state::{StoreId, TaskStores},
};

/// Whether key and value can be read.
type Check = Arc<dyn Fn(&[u8], Option<&[u8]>) -> Result<(), (RecordPart, SerdeError)> + Send + Sync>;

/// Makes what maintains a store, for the thread that does it.
type MakeUpdater = Arc<dyn Fn(StoreId, Arc<str>) -> Box<dyn GlobalNode + Send> + Send + Sync>;

/// How records become rows.
#[derive(Clone)]
pub(crate) enum Upkeep {
    /// A record is a row, if it can be read.
    Rows(Check),
    /// As a user's function says.
    Updater(MakeUpdater),
}

/// Turns the records of one global topic into rows. Lives on the thread that keeps the global stores.
pub struct GlobalProcessor {
    store: StoreId,
    upkeep: Running,
}

/// [`Upkeep`] at work.
enum Running {
    Rows(Check),
    Updater(Box<dyn GlobalNode + Send>),
}

// === impl Upkeep ===

impl Upkeep {
    /// Records are rows, when these serdes can read them.
    pub(crate) fn rows<K: 'static, V: 'static>(serdes: Serdes<K, V>) -> Self {
        Self::Rows(Arc::new(move |key, value| {
            serdes.key().deserialize(Some(key)).map_err(|error| (RecordPart::Key, error))?;
            match value {
                Some(value) => {
                    serdes.value().deserialize(Some(value)).map(drop).map_err(|error| (RecordPart::Value, error))
                }
                None => Ok(()),
            }
        }))
    }
}

// === impl GlobalProcessor ===

impl GlobalProcessor {
    pub(super) fn new(store: StoreId, name: Arc<str>, upkeep: &Upkeep) -> Self {
        let upkeep = match upkeep {
            Upkeep::Rows(check) => Running::Rows(Arc::clone(check)),
            Upkeep::Updater(make) => Running::Updater(make(store, name)),
        };
        Self { store, upkeep }
    }

    /// Does to the store what a record says. Gives whether it did: a record without a key is no row of a table.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deserialization`] when key or value cannot be read, and whatever a user's function says.
    pub fn process(
        &mut self,
        stores: &mut TaskStores,
        source: &TopicPartition,
        record: &RecordRef<'_>,
    ) -> Result<bool, ProcessError> {
        let check = match &mut self.upkeep {
            Running::Rows(check) => check,
            Running::Updater(updater) => return updater.process(stores, source, record).map(|()| true),
        };
        let Some(key) = record.key else { return Ok(false) };
        check(key, record.value).map_err(|(part, error)| ProcessError::Deserialization {
            part,
            topic: Arc::clone(&source.topic),
            partition: source.partition,
            offset: record.offset,
            source: error,
        })?;
        stores.write(self.store, key, record.value, record.timestamp_ms);
        Ok(true)
    }
}

impl fmt::Debug for GlobalProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalProcessor").field("store", &self.store).finish_non_exhaustive()
    }
}
