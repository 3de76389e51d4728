//! The partitions a producer writes to, numbered, so that a delivery report needs no name.

use std::{collections::HashMap, sync::Arc};

use crate::log::LogError;

/// Partitions by number: the tag of their records.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    topics: HashMap<Arc<str>, Topic>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Topic {
    /// Its index in the raw producer.
    handle: usize,
    /// Partition -> number. Sparse ones cost 8 bytes each; a topic has some hundreds at most.
    numbers: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Row {
    topic: Arc<str>,
    acknowledged: Option<i64>,
}

// === impl Partitions ===

impl Partitions {
    /// The handle of the topic (from `open` when it is new) and the number of the partition.
    pub(super) fn index(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        open: impl FnOnce(&str) -> Result<usize, LogError>,
    ) -> Result<(usize, usize), LogError> {
        let partition = usize::try_from(partition).expect("the caller has checked that it is not negative");
        // No `entry`: it would clone the name for every record.
        if !self.topics.contains_key(topic) {
            self.topics.insert(Arc::clone(topic), Topic { handle: open(topic)?, numbers: Vec::new() });
        }
        let known = self.topics.get_mut(topic).expect("it is there or was inserted");
        if known.numbers.len() <= partition {
            known.numbers.resize(partition + 1, None);
        }
        let number = *known.numbers[partition].get_or_insert_with(|| {
            self.rows.push(Row { topic: Arc::clone(topic), acknowledged: None });
            self.rows.len() - 1
        });
        Ok((known.handle, number))
    }

    /// A record was acknowledged with this offset; unknown when a retry found it appended already.
    pub(super) fn acknowledge(&mut self, number: usize, offset: Option<i64>) {
        let row = &mut self.rows[number];
        row.acknowledged = row.acknowledged.max(offset);
    }

    /// The highest offset that was acknowledged.
    pub(super) fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        let number = (*self.topics.get(topic)?.numbers.get(usize::try_from(partition).ok()?)?)?;
        self.rows[number].acknowledged
    }

    /// The topic of a partition.
    pub(super) fn topic(&self, number: usize) -> &str {
        &self.rows[number].topic
    }
}
