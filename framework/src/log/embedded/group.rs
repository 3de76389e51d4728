//! Consumer groups as the log keeps them: members, generations, committed offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{connection::LinkId, partition::TransactionNumber};
use crate::log::{Epoch, Member, MembershipOptions, TopicPartition};

/// A group.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// Grows with every change of the members; also when the last one goes.
    pub(super) generation: i32,
    /// In the order in which they joined.
    members: Vec<MemberState>,
    /// The member that owns the coordination partition.
    leader: Option<Arc<str>>,
    /// Committed positions.
    pub(super) offsets: BTreeMap<TopicPartition, i64>,
    /// Partitions whose positions hang on open transactions.
    pub(super) pending: BTreeMap<TransactionNumber, BTreeSet<TopicPartition>>,
}

#[derive(Debug)]
struct MemberState {
    member: Member,
    link: LinkId,
    session_timeout: Duration,
    max_poll_interval: Duration,
    /// When it began or ended a poll last.
    last_poll: Duration,
    /// Whether it waits in a poll.
    polling: bool,
    /// Since when nothing is heard of it, because it was dropped or its link is cut.
    silent_since: Option<Duration>,
}

// === impl GroupState ===

impl GroupState {
    /// Adds a member and begins a generation; returns the new member's epoch.
    pub(super) fn join(&mut self, options: &MembershipOptions, link: LinkId, now: Duration) -> Epoch {
        // The generation is new with every join, so the id is too, even after the log was reopened.
        let member_id: Arc<str> = format!("{}-{}", options.client_id, self.generation + 1).into();
        self.members.push(MemberState {
            member: Member { member_id: Arc::clone(&member_id), client_id: options.client_id.clone() },
            link,
            session_timeout: options.session_timeout,
            max_poll_interval: options.max_poll_interval,
            last_poll: now,
            polling: false,
            silent_since: None,
        });
        self.next_generation();
        Epoch { generation: self.generation, member_id }
    }

    /// Takes a member out at once. Says whether it was one.
    pub(super) fn leave(&mut self, member_id: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|state| &*state.member.member_id != member_id);
        let left = self.members.len() < before;
        if left {
            self.next_generation();
        }
        left
    }

    /// A member begins or ends a poll.
    pub(super) fn set_polling(&mut self, member_id: &str, polling: bool, now: Duration) {
        if let Some(state) = self.members.iter_mut().find(|state| &*state.member.member_id == member_id) {
            state.last_poll = now;
            state.polling = polling;
        }
    }

    /// The epoch that a member has now, or `None` when it was voted out.
    pub(super) fn epoch_of(&self, member_id: &Arc<str>) -> Option<Epoch> {
        let is_member = self.members.iter().any(|state| state.member.member_id == *member_id);
        is_member.then(|| Epoch { generation: self.generation, member_id: Arc::clone(member_id) })
    }

    /// From now on nothing is heard of a member: its value was dropped without leaving.
    pub(super) fn went_silent(&mut self, member_id: &str, now: Duration) {
        if let Some(state) = self.members.iter_mut().find(|state| &*state.member.member_id == member_id) {
            state.silent_since.get_or_insert(now);
            // A dead member is nobody's link: a link that is mended does not wake it.
            state.link = LinkId::DEAD;
        }
    }

    /// A link was cut or mended: its members are silent from now on, or heard again.
    pub(super) fn link_changed(&mut self, link: LinkId, connected: bool, now: Duration) {
        for state in self.members.iter_mut().filter(|state| state.link == link) {
            state.silent_since = (!connected).then(|| state.silent_since.unwrap_or(now));
        }
    }

    /// The log itself was away: nobody can have been heard, so all sessions begin anew.
    pub(super) fn restart_sessions(&mut self, now: Duration) {
        for since in self.members.iter_mut().filter_map(|state| state.silent_since.as_mut()) {
            *since = now;
        }
    }

    /// Votes out members that were silent or did not poll for too long. Says whether there were any.
    pub(super) fn vote_out(&mut self, now: Duration) -> bool {
        let before = self.members.len();
        self.members.retain(|state| now < state.due());
        let changed = self.members.len() < before;
        if changed {
            self.next_generation();
        }
        changed
    }

    /// When the next member is to be voted out if nothing is heard.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.members.iter().map(MemberState::due).min()
    }

    /// Whether the epoch is the current generation of a live member, or why not.
    pub(super) fn check(&self, epoch: &Epoch) -> Result<(), String> {
        if !self.members.iter().any(|state| state.member.member_id == epoch.member_id) {
            return Err(format!("`{}` is not a member of the group", epoch.member_id));
        }
        if epoch.generation != self.generation {
            return Err(format!("generation {} is over, the group is in {}", epoch.generation, self.generation));
        }
        Ok(())
    }

    /// Whether this member leads.
    pub(super) fn is_leader(&self, member_id: &Arc<str>) -> bool {
        self.leader.as_ref() == Some(member_id)
    }

    /// The members in the order in which they joined.
    pub(super) fn members(&self) -> Vec<Member> {
        self.members.iter().map(|state| state.member.clone()).collect()
    }

    /// Whether a position of one of these partitions hangs on an open transaction.
    pub(super) fn has_pending(&self, partitions: &[TopicPartition]) -> bool {
        self.pending.values().any(|pending| partitions.iter().any(|partition| pending.contains(partition)))
    }

    fn next_generation(&mut self) {
        self.generation += 1;
        let leads = |state: &MemberState| Some(&state.member.member_id) == self.leader.as_ref();
        if !self.members.iter().any(leads) {
            self.leader = self.members.first().map(|state| Arc::clone(&state.member.member_id));
        }
    }
}

// === impl MemberState ===

impl MemberState {
    /// When it is to be voted out if nothing more is heard.
    fn due(&self) -> Duration {
        match self.silent_since {
            // The max poll interval is kept by the member itself, so only by one that is alive and heard.
            Some(since) => since.saturating_add(self.session_timeout),
            None if self.polling => Duration::MAX,
            None => self.last_poll.saturating_add(self.max_poll_interval),
        }
    }
}
