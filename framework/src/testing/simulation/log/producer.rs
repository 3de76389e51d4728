//! Producers of one life of an instance.

use std::{sync::Arc, time::Duration};

use crate::{
    log::{Append, GroupMetadata, LogError, Producer, TopicPartition, TransactionalProducer},
    testing::simulation::{
        life::Life,
        network::{ANSWER, Call, call, patiently},
        witness::Witness,
    },
};

#[derive(Debug)]
pub(super) struct LifeProducer {
    pub(super) producer: Box<dyn Producer>,
    pub(super) life: Arc<Life>,
}

#[derive(Debug)]
pub(super) struct LifeTransactionalProducer {
    pub(super) producer: Box<dyn TransactionalProducer>,
    pub(super) transactional_id: String,
    pub(super) life: Arc<Life>,
    pub(super) witness: Arc<Witness>,
    /// What the open transaction moves.
    pub(super) positions: Vec<(TopicPartition, i64)>,
}

// === impl LifeProducer ===

impl Producer for LifeProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.producer.append(record)
    }

    fn serve(&mut self) {
        self.producer.serve();
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        let Self { producer, life } = self;
        call(life, (Call::Send, "flush"), timeout, || patiently(life, timeout, || producer.flush(timeout)))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.producer.acknowledged(topic, partition)
    }
}

// === impl LifeTransactionalProducer ===

impl Producer for LifeTransactionalProducer {
    fn append(&mut self, record: Append<'_>) -> Result<(), LogError> {
        self.producer.append(record)
    }

    fn serve(&mut self) {
        self.producer.serve();
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), LogError> {
        let Self { producer, life, .. } = self;
        call(life, (Call::Send, "flush"), timeout, || patiently(life, timeout, || producer.flush(timeout)))
    }

    fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.producer.acknowledged(topic, partition)
    }
}

impl TransactionalProducer for LifeTransactionalProducer {
    fn init(&mut self, timeout: Duration) -> Result<(), LogError> {
        let Self { producer, life, witness, transactional_id, .. } = self;
        call(life, (Call::Init, "init"), timeout, || {
            patiently(life, timeout, || producer.init(timeout))?;
            witness.initialised(life, transactional_id);
            Ok(())
        })
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.positions.clear();
        self.producer.begin()
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, i64)], group: &GroupMetadata) -> Result<(), LogError> {
        let Self { producer, life, positions, .. } = self;
        call(life, (Call::Send, "send offsets"), ANSWER, || {
            producer.send_offsets(offsets, group)?;
            positions.extend(offsets.iter().cloned());
            Ok(())
        })
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), LogError> {
        let Self { producer, life, witness, positions, transactional_id } = self;
        call(life, (Call::Send, "commit"), timeout, || {
            patiently(life, timeout, || producer.commit(timeout))?;
            witness.committed(life, transactional_id, positions);
            Ok(())
        })
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), LogError> {
        let Self { producer, life, .. } = self;
        call(life, (Call::Send, "abort"), timeout, || patiently(life, timeout, || producer.abort(timeout)))
    }
}
