//! The output of a driver's tasks.

use std::sync::Arc;

use super::TestRecord;
use crate::{
    log::Headers,
    processor::{Output, ProcessError},
};

/// Keeps what is written while one record is processed.
#[derive(Debug, Default)]
pub(super) struct Collector(Vec<TestRecord>);

// === impl Collector ===

impl Collector {
    pub(super) fn take(&mut self) -> Vec<TestRecord> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn put(&mut self, written: Vec<TestRecord>) {
        self.0.extend(written);
    }
}

impl Output for Collector {
    fn send(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        _partition_key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        // Every topic has one partition.
        self.send_to(topic, 0, key, value, timestamp_ms, headers)
    }

    fn send_to(
        &mut self,
        topic: &Arc<str>,
        _partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        self.0.push(TestRecord {
            topic: Arc::clone(topic),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            timestamp_ms,
            headers: headers.clone(),
        });
        Ok(())
    }
}
