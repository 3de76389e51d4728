//! The global tables of a driver.

use std::{convert::Infallible, sync::Arc};

use super::{
    DriverError, TestRecord,
    task::{self, Rows},
};
use crate::{
    log::TopicPartition,
    processor::Globals,
    state::{CommitPoint, StateError, StateSettings, StoreId, TaskStores},
    topology::{GlobalProcessor, Resolved},
};

/// The global tables, always caught up.
#[derive(Debug)]
pub(super) struct GlobalTables {
    stores: TaskStores,
    /// By store: the topic and what makes rows of its records.
    tables: Vec<(Arc<str>, GlobalProcessor)>,
    view: Arc<Globals>,
    dropped: u64,
}

// === impl GlobalTables ===

impl GlobalTables {
    pub(super) fn open(settings: &StateSettings, resolved: &Resolved) -> Result<Self, StateError> {
        let specs: Arc<[_]> = resolved.globals.iter().map(|global| global.store.clone()).collect();
        let stores = TaskStores::open_global(settings, specs)?;
        let view = Arc::new(Globals::new(stores.view()));
        let topics = resolved.globals.iter().map(|global| Arc::clone(&global.topic));
        let processors = (0..resolved.globals.len()).filter_map(|index| resolved.global_processor(index));
        Ok(Self { stores, tables: topics.zip(processors).collect(), view, dropped: 0 })
    }

    pub(super) fn view(&self) -> Arc<Globals> {
        Arc::clone(&self.view)
    }

    /// Whether a global table is read from this topic.
    pub(super) fn read(&self, topic: &Arc<str>) -> bool {
        self.tables.iter().any(|(of_table, _)| of_table == topic)
    }

    pub(super) fn process(&mut self, record: &TestRecord, offset: i64) -> Result<(), DriverError> {
        let source = TopicPartition::new(Arc::clone(&record.topic), 0);
        for (_, processor) in self.tables.iter_mut().filter(|(topic, _)| *topic == record.topic) {
            match processor.process(&mut self.stores, &source, &record.at(offset)) {
                Ok(true) => {}
                Ok(false) => self.dropped += 1,
                Err(error) => {
                    self.stores.discard();
                    return Err(error.into());
                }
            }
        }
        let Ok(()) = self.stores.freeze(|_| Ok::<_, Infallible>(()));
        Ok(self.stores.commit(&CommitPoint::default())?)
    }

    pub(super) fn rows(&self, store: StoreId) -> Result<Rows, StateError> {
        task::rows(&self.stores, store)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
