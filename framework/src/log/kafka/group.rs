//! The group as a member sees it: offsets and members, usable from any thread.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    deadline::Deadline,
    error::{code_error, explain, is_timeout, is_unreachable, log_error, topic_error},
    membership::MembershipContext,
    options::Settings,
    positions::Positions,
    raw,
    transactional::offsets_list,
};
use crate::log::{Epoch, Group, GroupMetadata, LogError, Member, TopicPartition};

/// Between attempts at what the coordinator cannot do now: a rebalance or a transaction's end takes some ms.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// [`Group`] on Kafka, shared by the membership and those who commit.
pub(super) struct KafkaGroup {
    pub(super) consumer: BaseConsumer<MembershipContext>,
    pub(super) positions: Positions,
    pub(super) group_id: String,
    settings: Arc<Settings>,
    /// The epoch that the membership told last. Written by the membership's thread, read by all.
    epoch: Mutex<Option<Epoch>>,
}

/// What [`GroupMetadata`] carries beside the epoch.
#[derive(Debug)]
pub(super) struct KafkaGroupMetadata {
    pub(super) group_id: String,
}

// === impl KafkaGroup ===

impl KafkaGroup {
    pub(super) fn new(consumer: BaseConsumer<MembershipContext>, group_id: String, settings: Arc<Settings>) -> Self {
        let positions = Positions::new(Arc::clone(&settings), group_id.clone());
        Self { consumer, positions, group_id, settings, epoch: Mutex::new(None) }
    }

    /// Sets what [`Group::epoch`] says.
    pub(super) fn set_epoch(&self, epoch: Option<Epoch>) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// Generation and member id as librdkafka has them at this moment: they may be ahead of what the membership told.
    fn present(&self) -> Epoch {
        raw::epoch(self.consumer.client())
    }

    /// Refuses an epoch that is not the present one.
    fn check(&self, epoch: &Epoch) -> Result<(), LogError> {
        let present = self.present();
        if present == *epoch { Ok(()) } else { Err(fenced(epoch, &present)) }
    }

    fn deadline(&self, timeout: Duration) -> Deadline {
        Deadline::after(self.settings.clock, timeout)
    }

    fn explain(&self, error: LogError) -> LogError {
        explain(error, &self.settings.options.bootstrap, self.consumer.context().take_trouble())
    }
}

impl Group for KafkaGroup {
    fn epoch(&self) -> Option<Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker fences by the epoch that librdkafka has when it sends the request; this checks that it is the one asked
    /// for before and after. Between the two only a whole new join could slip in; it is reported, though its commit stands.
    fn commit(&self, epoch: &Epoch, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let what = format!("committing offsets of group `{}`", self.group_id);
        let timeout = self.settings.options.request_timeout;
        let list = offsets_list(offsets).map_err(|error| log_error(&what, &error, timeout))?;
        let deadline = self.deadline(timeout);
        loop {
            self.check(epoch)?;
            if offsets.is_empty() {
                return Ok(());
            }
            match raw::commit(self.consumer.client(), &list, deadline.remaining()) {
                Ok(()) => break,
                // The next generation is being made; when it is there, the check above says so.
                Err(Code::RebalanceInProgress) if !deadline.passed() => thread::sleep(RETRY_INTERVAL),
                Err(code) => return Err(self.explain(code_error(&what, code, timeout))),
            }
        }
        let present = self.present();
        if present.member_id == epoch.member_id { Ok(()) } else { Err(fenced(epoch, &present)) }
    }

    fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Option<i64>>, LogError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!("asking for committed offsets of group `{}`", self.group_id);
        let deadline = self.deadline(timeout);
        loop {
            let answer = self.positions.ask(partitions, deadline.remaining());
            let (topic, code) = match answer.map(|list| offsets_in(&list, partitions)) {
                Ok(Ok(offsets)) => return Ok(offsets),
                Ok(Err((partition, code))) => (Some(partition.topic), code),
                Err(error) => (None, error.rdkafka_error_code().unwrap_or(Code::Unknown)),
            };
            // Among them: a transaction whose outcome is not known yet.
            if is_unreachable(code) && !deadline.passed() {
                thread::sleep(RETRY_INTERVAL.min(deadline.remaining()));
                continue;
            }
            let code = if is_unreachable(code) && !is_timeout(code) && deadline.passed() {
                Code::OperationTimedOut
            } else {
                code
            };
            return Err(self.explain(match topic {
                Some(topic) => topic_error(&what, &topic, code, timeout),
                None => code_error(&what, code, timeout),
            }));
        }
    }

    fn metadata(&self, epoch: &Epoch) -> Result<GroupMetadata, LogError> {
        self.check(epoch)?;
        let inner = KafkaGroupMetadata { group_id: self.group_id.clone() };
        Ok(GroupMetadata { epoch: epoch.clone(), inner: Box::new(inner) })
    }

    fn members(&self) -> Result<Vec<Member>, LogError> {
        let timeout = self.settings.options.request_timeout;
        let failed = |error: KafkaError| {
            self.explain(log_error(&format!("listing the members of group `{}`", self.group_id), &error, timeout))
        };
        let groups = self.consumer.fetch_group_list(Some(&self.group_id), timeout).map_err(failed)?;
        let group = groups.groups().iter().find(|group| group.name() == self.group_id);
        Ok(group.map_or_else(Vec::new, |group| {
            let member = |member: &rdkafka::groups::GroupMemberInfo| Member {
                member_id: member.id().into(),
                client_id: member.client_id().into(),
            };
            group.members().iter().map(member).collect()
        }))
    }
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGroup")
            .field("group_id", &self.group_id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

fn fenced(epoch: &Epoch, present: &Epoch) -> LogError {
    let present = match (present.generation, &present.member_id) {
        (generation, id) if generation < 0 || id.is_empty() => "it is not a member now".into(),
        (generation, id) if *id == epoch.member_id => format!("the generation is {generation} now"),
        (_, id) => format!("it is member {id} now"),
    };
    LogError::Fenced { reason: format!("member {} of generation {}: {present}", epoch.member_id, epoch.generation) }
}

/// The offsets of an answer in the order of the question, or the first partition that has an error.
fn offsets_in(
    list: &TopicPartitionList,
    partitions: &[TopicPartition],
) -> Result<Vec<Option<i64>>, (TopicPartition, Code)> {
    let offset_of = |partition: &TopicPartition| {
        let Some(found) = list.find_partition(&partition.topic, partition.partition) else { return Ok(None) };
        if let Err(error) = found.error() {
            return Err((partition.clone(), error.rdkafka_error_code().unwrap_or(Code::Unknown)));
        }
        Ok(match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    };
    partitions.iter().map(offset_of).collect()
}
