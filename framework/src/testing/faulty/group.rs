//! A membership that goes wrong, and its group.

use std::{sync::Arc, time::Duration};

use super::{Faults, Moment, Step};
use crate::log::{Epoch, Group, GroupMetadata, LogError, Member, Membership, MembershipEvent, TopicPartition};

#[derive(Debug)]
pub(super) struct FaultyMembership {
    membership: Box<dyn Membership>,
    faults: Faults,
}

#[derive(Debug)]
struct FaultyGroup {
    group: Arc<dyn Group>,
    faults: Faults,
}

// === impl FaultyMembership ===

impl FaultyMembership {
    pub(super) fn new(membership: Box<dyn Membership>, faults: Faults) -> Self {
        Self { membership, faults }
    }
}

impl Membership for FaultyMembership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MembershipEvent>, LogError> {
        let event = self.faults.alive(|| self.membership.poll(timeout))?;
        if matches!(event, Some(MembershipEvent::Joined { .. })) {
            self.faults.pass(Step::Join, Moment::After)?;
        }
        Ok(event)
    }

    fn group(&self) -> Arc<dyn Group> {
        Arc::new(FaultyGroup { group: self.membership.group(), faults: self.faults.clone() })
    }

    fn rejoin(&mut self) -> Result<(), LogError> {
        self.faults.alive(|| self.membership.rejoin())
    }

    fn leave(self: Box<Self>) -> Result<(), LogError> {
        let Self { membership, faults } = *self;
        faults.alive(|| membership.leave())
    }
}

// === impl FaultyGroup ===

impl Group for FaultyGroup {
    fn epoch(&self) -> Option<Epoch> {
        self.group.epoch()
    }

    fn commit(&self, epoch: &Epoch, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.faults.at(Step::CommitOffsets, || self.group.commit(epoch, offsets))
    }

    fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Option<i64>>, LogError> {
        self.faults.at(Step::Committed, || self.group.committed(partitions, timeout))
    }

    fn metadata(&self, epoch: &Epoch) -> Result<GroupMetadata, LogError> {
        self.faults.at(Step::GroupMetadata, || self.group.metadata(epoch))
    }

    fn members(&self) -> Result<Vec<Member>, LogError> {
        self.faults.alive(|| self.group.members())
    }
}
