//! Membership in a group, and the group as a member sees it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    connection::{AWAY, Connection},
    state::State,
};
use crate::log::{
    Epoch, Group, GroupMetadata, LogError, Member, Membership, MembershipEvent, MembershipOptions, TopicPartition,
};

/// One member of a group.
///
/// There is no heartbeat thread: a member whose value lives and whose link is whole is heard, and is only put out when
/// it does not poll. One that was dropped without [`Membership::leave`], or whose link is cut, is silent.
#[derive(Debug)]
pub(super) struct EmbeddedMembership {
    connection: Connection,
    options: MembershipOptions,
    standing: Standing,
    group: Arc<EmbeddedGroup>,
}

/// How a membership stands with the group.
#[derive(Debug)]
enum Standing {
    Outside,
    /// A member, who was told of this generation.
    Member {
        member_id: Arc<str>,
        told_generation: i32,
    },
}

/// The group, for other threads.
#[derive(Debug)]
pub(super) struct EmbeddedGroup {
    connection: Connection,
    group_id: String,
    /// The epoch that the member was told last. Written by its polls, read by everyone.
    current: Mutex<Option<Epoch>>,
}

/// What [`GroupMetadata`] holds for this adapter.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) group_id: String,
}

// === impl EmbeddedMembership ===

impl EmbeddedMembership {
    /// A membership that joins at its first poll.
    pub(super) fn new(connection: Connection, options: MembershipOptions) -> Result<Self, LogError> {
        connection.call(format_args!("joining group `{}`", options.group_id), |state, _| {
            let topic = state.topic(&options.coordination_topic)?;
            if topic.partitions.len() == 1 {
                return Ok(());
            }
            Err(LogError::Refused {
                what: format!("joining group `{}`", options.group_id),
                reason: format!("the coordination topic `{}` must have one partition", options.coordination_topic),
            })
        })?;
        let group = EmbeddedGroup {
            connection: connection.clone(),
            group_id: options.group_id.clone(),
            current: Mutex::new(None),
        };
        Ok(Self { connection, options, standing: Standing::Outside, group: Arc::new(group) })
    }

    /// A member that waits in a poll for longer than its max poll interval is polling all the time.
    fn set_polling(&self, polling: bool) {
        let Standing::Member { member_id, .. } = &self.standing else { return };
        self.connection.with(|state, now| {
            if let Some(group) = state.groups.get_mut(&self.options.group_id) {
                group.set_polling(member_id, polling, now);
            }
            state.reschedule();
        });
    }

    /// Leaves; the next poll joins again.
    fn quit(&mut self) -> Result<(), LogError> {
        self.connection.call(format_args!("leaving group `{}`", self.options.group_id), |state, _| {
            if let Standing::Member { member_id, .. } = &self.standing {
                state.leave_group(&self.options.group_id, member_id);
            }
            Ok(())
        })?;
        self.standing = Standing::Outside;
        self.group.set_current(None);
        Ok(())
    }

    fn wait_for_event(&mut self, timeout: Duration) -> Option<MembershipEvent> {
        let Self { connection, options, standing, group } = self;
        let mut reachable = true;
        let event = connection.wait(timeout, |state, now| {
            reachable = state.reachable(connection.link);
            let event = standing.next_event(state, connection, options, now);
            match &event {
                Some(MembershipEvent::Joined { epoch, .. }) => group.set_current(Some(epoch.clone())),
                Some(MembershipEvent::Lost { .. }) => group.set_current(None),
                Some(MembershipEvent::Unavailable { .. }) | None => {}
            }
            event
        });
        event.or_else(|| (!reachable).then(|| MembershipEvent::Unavailable { reason: AWAY.to_owned() }))
    }
}

impl Membership for EmbeddedMembership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MembershipEvent>, LogError> {
        self.set_polling(true);
        let event = self.wait_for_event(timeout);
        self.set_polling(false);
        Ok(event)
    }

    fn group(&self) -> Arc<dyn Group> {
        Arc::clone(&self.group) as Arc<dyn Group>
    }

    fn rejoin(&mut self) -> Result<(), LogError> {
        self.quit()
    }

    fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        self.quit()
    }
}

impl Drop for EmbeddedMembership {
    fn drop(&mut self) {
        self.group.set_current(None);
        if let Standing::Member { member_id, .. } = mem::replace(&mut self.standing, Standing::Outside) {
            self.connection.with(|state, now| {
                if let Some(group) = state.groups.get_mut(&self.options.group_id) {
                    group.went_silent(&member_id, now);
                }
                state.touch();
            });
        }
    }
}

// === impl Standing ===

impl Standing {
    /// What the member learns now, if anything.
    fn next_event(
        &mut self,
        state: &mut State,
        connection: &Connection,
        options: &MembershipOptions,
        now: Duration,
    ) -> Option<MembershipEvent> {
        match self {
            Self::Member { member_id, told_generation } => {
                let group = state.groups.get(&options.group_id)?;
                let Some(epoch) = group.epoch_of(member_id) else {
                    *self = Self::Outside;
                    return Some(MembershipEvent::Lost { reason: lost(options) });
                };
                if !state.reachable(connection.link) || *told_generation == epoch.generation {
                    return None;
                }
                *told_generation = epoch.generation;
                Some(state.joined(&options.group_id, epoch))
            }
            Self::Outside => {
                if !state.reachable(connection.link) {
                    return None;
                }
                let epoch = state.join_group(options, connection.link, now);
                *self = Self::Member { member_id: Arc::clone(&epoch.member_id), told_generation: epoch.generation };
                Some(state.joined(&options.group_id, epoch))
            }
        }
    }
}

impl State {
    fn joined(&self, group_id: &str, epoch: Epoch) -> MembershipEvent {
        let leader = self.groups.get(group_id).is_some_and(|group| group.is_leader(&epoch.member_id));
        MembershipEvent::Joined { epoch, leader }
    }
}

fn lost(options: &MembershipOptions) -> String {
    format!(
        "voted out of group `{}`: no poll within {} ms, or nothing heard of it for {} ms",
        options.group_id,
        options.max_poll_interval.as_millis(),
        options.session_timeout.as_millis()
    )
}

// === impl EmbeddedGroup ===

impl EmbeddedGroup {
    fn set_current(&self, epoch: Option<Epoch>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// Whether this instance was told that this is its epoch, and of none since.
    fn check(&self, epoch: &Epoch) -> Result<(), LogError> {
        let current = self.epoch();
        if current.as_ref() == Some(epoch) {
            return Ok(());
        }
        let reason = match current {
            Some(current) => format!("it is `{}` in generation {} now", current.member_id, current.generation),
            None => "it is not a member now".to_owned(),
        };
        Err(LogError::Fenced { reason: format!("`{}` of generation {}: {reason}", epoch.member_id, epoch.generation) })
    }
}

impl Group for EmbeddedGroup {
    fn epoch(&self) -> Option<Epoch> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn commit(&self, epoch: &Epoch, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.check(epoch)?;
        self.connection.call(format_args!("committing offsets of `{}`", self.group_id), |state, _| {
            let group = state.groups.entry(self.group_id.clone()).or_default();
            group.check(epoch).map_err(|reason| LogError::Fenced { reason })?;
            state.commit_offsets(&self.group_id, offsets)
        })
    }

    fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Option<i64>>, LogError> {
        let committed = self.connection.call_within(timeout, |state, _| {
            let Some(group) = state.groups.get(&self.group_id) else {
                return Some(vec![None; partitions.len()]);
            };
            if group.has_pending(partitions) {
                return None;
            }
            Some(partitions.iter().map(|partition| group.offsets.get(partition).copied()).collect())
        });
        committed.ok_or_else(|| LogError::Timeout {
            what: format!("asking for committed offsets of `{}`", self.group_id),
            after: timeout,
        })
    }

    fn metadata(&self, epoch: &Epoch) -> Result<GroupMetadata, LogError> {
        self.check(epoch)?;
        let inner = Box::new(Snapshot { group_id: self.group_id.clone() });
        Ok(GroupMetadata { epoch: epoch.clone(), inner })
    }

    fn members(&self) -> Result<Vec<Member>, LogError> {
        self.connection.call(format_args!("listing the members of `{}`", self.group_id), |state, _| {
            Ok(state.groups.get(&self.group_id).map(|group| group.members()).unwrap_or_default())
        })
    }
}
