//! The admin client.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{connection::Connection, topic::Topic};
use crate::log::{Admin, LogError, NewTopic, TopicInfo, TopicPartition};

/// Topics and their settings. Every call ends at once.
#[derive(Debug)]
pub(super) struct EmbeddedAdmin {
    connection: Connection,
}

// === impl EmbeddedAdmin ===

impl EmbeddedAdmin {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// One forced compaction pass: tombstones that the pass before left standing go now.
    pub(super) fn compact(&self, topic: &str) -> Result<(), LogError> {
        self.connection.call(format_args!("compacting `{topic}`"), |state, now| {
            let found = state.topic(topic)?;
            if !found.settings.compacted {
                return Err(LogError::Refused {
                    what: format!("compacting `{topic}`"),
                    reason: "its `cleanup.policy` does not say `compact`".to_owned(),
                });
            }
            found.sources().iter().try_for_each(|source| state.compact(source, now, Duration::ZERO))
        })
    }
}

impl Admin for EmbeddedAdmin {
    fn topics(&mut self, names: &[&str]) -> Result<Vec<TopicInfo>, LogError> {
        self.connection.call("listing topics", |state, _| {
            let names: BTreeSet<&str> = names.iter().copied().collect();
            let found = names.into_iter().filter_map(|name| state.topics.get(name));
            Ok(found
                .map(|topic| TopicInfo {
                    name: topic.name.to_string(),
                    partitions: i32::try_from(topic.partitions.len()).expect("the number was an i32 at creation"),
                    id: topic.id,
                })
                .collect())
        })
    }

    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<(), LogError> {
        let now_ms = self.connection.now_ms();
        self.connection
            .call("creating topics", |state, _| topics.iter().try_for_each(|topic| state.create_topic(topic, now_ms)))
    }

    fn delete_topics(&mut self, names: &[&str]) -> Result<(), LogError> {
        self.connection.call("deleting topics", |state, _| names.iter().try_for_each(|name| state.delete_topic(name)))
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>, LogError> {
        self.connection.call(format_args!("reading the settings of `{topic}`"), |state, _| {
            state.topic(topic).map(Topic::full_config)
        })
    }

    fn delete_records(&mut self, before: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.connection.call("deleting records", |state, _| {
            before.iter().try_for_each(|(source, offset)| state.delete_records(source, *offset))
        })
    }
}
