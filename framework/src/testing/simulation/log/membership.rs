//! The membership of one life of an instance.

use std::{sync::Arc, time::Duration};

use crate::{
    log::{Epoch, Group, GroupMetadata, LogError, Member, Membership, MembershipEvent, TopicPartition},
    testing::simulation::{
        here::current,
        life::Life,
        network::{ANSWER, Call, call, patiently, wait_for},
        witness::Witness,
    },
};

#[derive(Debug)]
pub(super) struct LifeMembership {
    pub(super) membership: Box<dyn Membership>,
    pub(super) life: Arc<Life>,
    pub(super) witness: Arc<Witness>,
}

#[derive(Debug)]
struct LifeGroup {
    group: Arc<dyn Group>,
    life: Arc<Life>,
    witness: Arc<Witness>,
}

// === impl LifeMembership ===

impl Membership for LifeMembership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MembershipEvent>, LogError> {
        let Self { membership, life, .. } = self;
        let poll = || membership.poll(Duration::ZERO);
        let event = wait_for(life, timeout, poll, |event| {
            event.as_ref().is_some_and(|event| !matches!(event, MembershipEvent::Unavailable { .. }))
        })?;
        match &event {
            Some(MembershipEvent::Joined { epoch, leader }) => {
                let (generation, leads) = (epoch.generation, if *leader { ", leads" } else { "" });
                current().note(format_args!("{life} joined generation {generation} as {}{leads}", epoch.member_id));
                life.set_epoch(Some(epoch.clone()));
            }
            Some(MembershipEvent::Lost { .. }) => {
                current().note(format_args!("{life} lost its membership"));
                life.set_epoch(None);
            }
            _ => {}
        }
        Ok(event)
    }

    fn group(&self) -> Arc<dyn Group> {
        Arc::new(LifeGroup {
            group: self.membership.group(),
            life: Arc::clone(&self.life),
            witness: Arc::clone(&self.witness),
        })
    }

    fn rejoin(&mut self) -> Result<(), LogError> {
        let Self { membership, life, .. } = self;
        life.set_epoch(None);
        call(life, (Call::Ask, "rejoin"), ANSWER, || membership.rejoin())
    }

    fn leave(self: Box<Self>) -> Result<(), LogError> {
        let Self { membership, life, .. } = *self;
        life.set_epoch(None);
        call(&life, (Call::Ask, "leave"), ANSWER, || membership.leave())
    }
}

// === impl LifeGroup ===

impl Group for LifeGroup {
    fn epoch(&self) -> Option<Epoch> {
        self.group.epoch()
    }

    fn commit(&self, epoch: &Epoch, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        call(&self.life, (Call::Send, "commit offsets"), ANSWER, || {
            self.group.commit(epoch, offsets)?;
            self.witness.committed(&self.life, "", offsets);
            Ok(())
        })
    }

    fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Option<i64>>, LogError> {
        let ask = || self.group.committed(partitions, timeout);
        call(&self.life, (Call::Ask, "committed"), timeout, || patiently(&self.life, timeout, ask))
    }

    fn metadata(&self, epoch: &Epoch) -> Result<GroupMetadata, LogError> {
        self.group.metadata(epoch)
    }

    fn members(&self) -> Result<Vec<Member>, LogError> {
        call(&self.life, (Call::Ask, "members"), ANSWER, || self.group.members())
    }
}
