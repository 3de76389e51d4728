//! Records that wait in the topics that a topology reads.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::TestRecord;

/// Records that wait, by topic. Of all topics the one whose first record is the oldest comes first; of those that are equally old,
/// the one that Kafka Streams takes, so that results come in the order of its test driver.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    records: HashMap<Arc<str>, VecDeque<TestRecord>>,
    /// The topics with records, each with the timestamp of its first one: a heap, with every step as `java.util.PriorityQueue`
    /// takes it, which decides between equals.
    topics: Vec<(i64, Arc<str>)>,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, record: TestRecord) {
        let (timestamp_ms, topic) = (record.timestamp_ms, Arc::clone(&record.topic));
        let records = self.records.entry(Arc::clone(&topic)).or_default();
        records.push_back(record);
        if records.len() == 1 {
            self.offer(timestamp_ms, topic);
        }
    }

    /// Takes the next one.
    pub(super) fn pop(&mut self) -> Option<TestRecord> {
        let topic = self.poll()?;
        let records = self.records.get_mut(&topic)?;
        let record = records.pop_front();
        if let Some(next_ms) = records.front().map(|next| next.timestamp_ms) {
            self.offer(next_ms, topic);
        }
        record
    }

    fn offer(&mut self, timestamp_ms: i64, topic: Arc<str>) {
        let mut at = self.topics.len();
        self.topics.push((timestamp_ms, topic));
        while at > 0 && timestamp_ms < self.topics[(at - 1) / 2].0 {
            let parent = (at - 1) / 2;
            self.topics.swap(at, parent);
            at = parent;
        }
    }

    fn poll(&mut self) -> Option<Arc<str>> {
        let last = self.topics.len().checked_sub(1)?;
        let (_, topic) = self.topics.swap_remove(0);
        let mut at = 0;
        while 2 * at + 1 < last {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let child = if right < last && self.topics[right].0 < self.topics[left].0 { right } else { left };
            if self.topics[at].0 <= self.topics[child].0 {
                break;
            }
            self.topics.swap(at, child);
            at = child;
        }
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Headers;

    #[test]
    fn of_equally_old_records_those_come_first_that_java_takes() {
        let mut waiting = Waiting::default();
        let at = [("a", 5), ("b", 5), ("c", 5), ("d", 5), ("b", 4), ("e", 3), ("a", 9)];
        for (topic, timestamp_ms) in at {
            let (key, value, headers) = (None, None, Headers::default());
            waiting.push(TestRecord { topic: topic.into(), key, value, timestamp_ms, headers });
        }
        let mut taken = Vec::new();
        while let Some(record) = waiting.pop() {
            taken.push((record.topic.to_string(), record.timestamp_ms));
        }
        // As a `PriorityQueue` of Java 17 does.
        let expected = [("e", 3), ("b", 5), ("b", 4), ("a", 5), ("c", 5), ("d", 5), ("a", 9)];
        assert_eq!(taken, expected.map(|(topic, at)| (topic.to_owned(), at)));
        assert!(waiting.is_empty());
    }
}
