//! The log as one life of an instance has it: its calls take time and go wrong, and what it commits is looked at.

mod membership;
mod producer;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use self::{
    membership::LifeMembership,
    producer::{LifeProducer, LifeTransactionalProducer},
};
use super::{
    life::Life,
    network::{ANSWER, Call, call, patiently, wait_for},
    witness::Witness,
};
use crate::log::{
    Admin, Fetched, Isolation, Log, LogError, Membership, MembershipOptions, NewTopic, Producer, ReadFrom, Reader,
    ReaderEvent, TopicInfo, TopicPartition, TransactionalProducer, embedded::EmbeddedLog,
};

/// The log of one life.
#[derive(Debug, Clone)]
pub(super) struct LifeLog {
    pub(super) log: EmbeddedLog,
    pub(super) life: Arc<Life>,
    pub(super) witness: Arc<Witness>,
}

#[derive(Debug)]
struct LifeAdmin {
    admin: Box<dyn Admin>,
    life: Arc<Life>,
}

#[derive(Debug)]
struct LifeReader {
    reader: Box<dyn Reader>,
    life: Arc<Life>,
    /// It reads the metadata topic.
    reads_metadata: bool,
    /// Up to where.
    next: i64,
}

// === impl LifeLog ===

impl Log for LifeLog {
    fn reach(&self, timeout: Duration) -> Result<(), LogError> {
        let reach =
            || self.log.reach(timeout).map_err(|_| LogError::Timeout { what: "reaching".into(), after: timeout });
        call(&self.life, (Call::Ask, "reach"), timeout, || patiently(&self.life, timeout, reach)).map_err(|error| {
            match error {
                LogError::Timeout { what, .. } => LogError::Unavailable { what, reason: "no answer".into() },
                error => error,
            }
        })
    }

    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        let admin = call(&self.life, (Call::Ask, "admin"), ANSWER, || self.log.admin())?;
        Ok(Box::new(LifeAdmin { admin, life: Arc::clone(&self.life) }))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        let reader = call(&self.life, (Call::Ask, "reader"), ANSWER, || self.log.reader(isolation))?;
        Ok(Box::new(LifeReader { reader, life: Arc::clone(&self.life), reads_metadata: false, next: 0 }))
    }

    fn producer(&self) -> Result<Box<dyn Producer>, LogError> {
        let producer = call(&self.life, (Call::Ask, "producer"), ANSWER, || self.log.producer())?;
        Ok(Box::new(LifeProducer { producer, life: Arc::clone(&self.life) }))
    }

    fn transactional_producer(
        &self,
        transactional_id: &str,
        transaction_timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        let make = || self.log.transactional_producer(transactional_id, transaction_timeout);
        let producer = call(&self.life, (Call::Ask, "transactional producer"), ANSWER, make)?;
        Ok(Box::new(LifeTransactionalProducer {
            producer,
            transactional_id: transactional_id.to_owned(),
            life: Arc::clone(&self.life),
            witness: Arc::clone(&self.witness),
            positions: Vec::new(),
        }))
    }

    fn join(&self, options: MembershipOptions) -> Result<Box<dyn Membership>, LogError> {
        let membership = call(&self.life, (Call::Ask, "join"), ANSWER, || self.log.join(options))?;
        Ok(Box::new(LifeMembership { membership, life: Arc::clone(&self.life), witness: Arc::clone(&self.witness) }))
    }
}

// === impl LifeAdmin ===

impl Admin for LifeAdmin {
    fn topics(&mut self, names: &[&str]) -> Result<Vec<TopicInfo>, LogError> {
        call(&self.life, (Call::Ask, "topics"), ANSWER, || self.admin.topics(names))
    }

    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<(), LogError> {
        call(&self.life, (Call::Ask, "create topics"), ANSWER, || self.admin.create_topics(topics))
    }

    fn delete_topics(&mut self, names: &[&str]) -> Result<(), LogError> {
        call(&self.life, (Call::Ask, "delete topics"), ANSWER, || self.admin.delete_topics(names))
    }

    fn topic_config(&mut self, topic: &str) -> Result<std::collections::BTreeMap<String, String>, LogError> {
        call(&self.life, (Call::Ask, "topic config"), ANSWER, || self.admin.topic_config(topic))
    }

    fn delete_records(&mut self, before: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        call(&self.life, (Call::Ask, "delete records"), ANSWER, || self.admin.delete_records(before))
    }
}

// === impl LifeReader ===

impl Reader for LifeReader {
    fn assign(&mut self, partition: &TopicPartition, from: ReadFrom) -> Result<(), LogError> {
        self.reads_metadata |= partition.topic.ends_with("-metadata");
        call(&self.life, (Call::Ask, "assign"), ANSWER, || self.reader.assign(partition, from))
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.reader.unassign(partition)
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.reader.pause(partition)
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.reader.resume(partition)
    }

    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Fetched, LogError> {
        let Self { reader, life, reads_metadata, next } = self;
        if *reads_metadata {
            // Who asks for more has done what it read before.
            life.informed.fetch_max(*next, Ordering::Relaxed);
        }
        let poll = || {
            if *reads_metadata && life.uninformed.is_after(life.time.now()) {
                return Ok(Fetched::default());
            }
            reader.poll(max_records, Duration::ZERO)
        };
        let says_something = |event: &ReaderEvent| !matches!(event, ReaderEvent::Unavailable { .. });
        let is_there = |fetched: &Fetched| !fetched.batches.is_empty() || fetched.events.iter().any(says_something);
        let fetched = call(life, (Call::Poll, "poll"), timeout, || wait_for(life, timeout, poll, is_there));
        for batch in fetched.iter().flat_map(|fetched| &fetched.batches).filter(|_| *reads_metadata) {
            *next = batch.iter().map(|record| record.offset + 1).max().unwrap_or(*next);
        }
        // What a reader cannot reach it says beside.
        fetched.or_else(|error| match error {
            LogError::Unavailable { reason, .. } => {
                Ok(Fetched { batches: Vec::new(), events: vec![ReaderEvent::Unavailable { reason }] })
            }
            error => Err(error),
        })
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<i64> {
        self.reader.known_end(partition)
    }

    fn fetched_bytes(&self) -> usize {
        self.reader.fetched_bytes()
    }

    fn beginning_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        call(&self.life, (Call::Ask, "beginning offset"), ANSWER, || self.reader.beginning_offset(partition))
    }

    fn end_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        call(&self.life, (Call::Ask, "end offset"), ANSWER, || self.reader.end_offset(partition))
    }

    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        call(&self.life, (Call::Ask, "offset for time"), ANSWER, || {
            self.reader.offset_for_time(partition, timestamp_ms)
        })
    }
}
