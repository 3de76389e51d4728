//! Committed offsets of a group, asked for by a client that is no member.
//!
//! The coordinator answers the requests of one connection in turn, and `JoinGroup` only when all members have joined or the session
//! of one that died is over. A question on the member's own connection waits as long, and with it every task that is about to run.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaResult,
};

use super::{context::Context, error::is_timeout, options::Settings, raw};
use crate::log::TopicPartition;

/// The client.
pub(super) struct Positions {
    settings: Arc<Settings>,
    group_id: String,
    /// Opened by the first question. One that gets no answer is replaced: its connection may be stuck.
    client: Mutex<Option<Arc<BaseConsumer<Context>>>>,
}

// === impl Positions ===

impl Positions {
    pub(super) fn new(settings: Arc<Settings>, group_id: String) -> Self {
        Self { settings, group_id, client: Mutex::default() }
    }

    /// Asks once. Offsets of a transaction whose outcome is not known yet are an error of their partition.
    pub(super) fn ask(&self, partitions: &[TopicPartition], timeout: Duration) -> KafkaResult<TopicPartitionList> {
        let client = self.client()?;
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let answer = client.committed_offsets(list, timeout);
        if answer.as_ref().err().and_then(|error| error.rdkafka_error_code()).is_some_and(is_timeout) {
            self.lock().take_if(|kept| Arc::ptr_eq(kept, &client));
        }
        answer
    }

    /// Takes what the client has to tell. Nobody else polls it, and it would pile up.
    pub(super) fn serve(&self) {
        if let Some(client) = &*self.lock() {
            raw::serve_events(client.client());
        }
    }

    fn client(&self) -> KafkaResult<Arc<BaseConsumer<Context>>> {
        let mut kept = self.lock();
        if let Some(client) = &*kept {
            return Ok(Arc::clone(client));
        }
        let context = Context::new(&self.settings);
        let client = Arc::new(self.settings.positions(&self.group_id).create_with_context(context)?);
        Ok(Arc::clone(kept.insert(client)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<BaseConsumer<Context>>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerContext for Context {}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").field("group_id", &self.group_id).finish_non_exhaustive()
    }
}
