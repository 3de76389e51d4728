//! Where sinks write to.

use std::sync::Arc;

use super::ProcessError;
use crate::log::Headers;

/// Takes the records that sinks write. Implemented by the runtime over the worker's producer.
pub trait Output {
    /// Writes a record to a topic, in the partition that belongs to `partition_key` (murmur2): the key, or a part of it.
    ///
    /// # Errors
    ///
    /// When the log refuses the record; failures that come later are found at the commit.
    fn send(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        partition_key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError>;

    /// Writes a record to a partition of a topic.
    ///
    /// # Errors
    ///
    /// As [`Output::send`], and when there is no such partition.
    fn send_to(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError>;
}
