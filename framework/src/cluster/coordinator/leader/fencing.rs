//! What members that are gone have left open, and who ends it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Leading, Request, planning::Live};
use crate::{
    cluster::{
        coordinator::{Action, Coordinator},
        metadata::InstanceId,
    },
    log::LogError,
};

/// A member that is gone, and what has to be fenced of it.
#[derive(Debug)]
pub(super) struct Fencing {
    debt: Debt,
    request: Request<()>,
}

/// What a member that is gone may have left open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Debt {
    member_id: Arc<str>,
    transactional_ids: Vec<String>,
}

// === impl Coordinator: fencing ===

impl Coordinator {
    pub(in crate::cluster::coordinator) fn apply_fenced(
        &mut self,
        now: Duration,
        generation: i32,
        instance_id: &InstanceId,
        result: Result<(), LogError>,
    ) {
        let retry_at = now + self.settings.retry_interval;
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.epoch.generation == generation) else {
            return;
        };
        let Some(fencing) = leading.fencings.get_mut(instance_id) else { return };
        fencing.request = match result {
            Ok(()) => Request::Answered(()),
            // Asked twice, and done once.
            Err(_) if fencing.request.answer().is_some() => return,
            Err(error) => {
                tracing::warn!(%instance_id, %error, "cannot fence a member that is gone: its tasks have to wait");
                Request::Due(retry_at)
            }
        };
    }

    /// Orders what has to be fenced; whether all of it is.
    pub(super) fn fence(&mut self, leading: &mut Leading, live: &Live, now: Duration) -> bool {
        let debts = self.debts(leading, live);
        leading.fencings.retain(|instance_id, fencing| debts.get(instance_id) == Some(&fencing.debt));
        let generation = leading.epoch.generation;
        let mut all_fenced = true;
        for (instance_id, debt) in debts {
            let fencing = leading
                .fencings
                .entry(instance_id.clone())
                .or_insert_with(|| Fencing { debt, request: Request::Due(now) });
            if fencing.request.ask(now, self.settings.answer_deadline) {
                tracing::info!(%instance_id, member_id = %fencing.debt.member_id, "fencing a member that is gone");
                let transactional_ids = fencing.debt.transactional_ids.clone();
                self.actions.push(Action::Fence { generation, instance_id, transactional_ids });
            }
            all_fenced &= fencing.request.answer().is_some();
        }
        all_fenced
    }

    /// What members that are gone may have left open.
    ///
    /// A member is gone when its member id is: it crashed, was voted out, or came back as another member. If the same
    /// instance is back and has spoken, it needs no fence by others: before an incarnation publishes anything
    /// it has initialised its transactional ids, and a process that lost its membership initialises them anew before it
    /// publishes under the new one. Both abort what was open. Only ids that it no longer uses are left to fence.
    fn debts(&self, leading: &Leading, live: &Live) -> BTreeMap<InstanceId, Debt> {
        let last = self.last_assignment(leading);
        let mut debts = BTreeMap::new();
        let mut owe = |instance_id: &InstanceId, member_id: &Arc<str>, transactional_ids: Vec<String>| {
            let is_alive = live.get(instance_id).is_some_and(|member| member.member_id == *member_id);
            let is_fenced = last.is_some_and(|last| last.fenced.get(instance_id) == Some(member_id));
            if !is_alive && !is_fenced && !transactional_ids.is_empty() {
                debts.insert(instance_id.clone(), Debt { member_id: member_id.clone(), transactional_ids });
            }
        };
        for (instance_id, member) in last.iter().flat_map(|last| &last.members) {
            let ids = &member.transactional_ids;
            match self.registry.host(instance_id) {
                // What it held is in its record, below.
                Some(host) if host.epoch.member_id == member.member_id => {}
                Some(back) => {
                    let left = ids.iter().filter(|id| !back.transactional_ids.contains(id)).cloned().collect();
                    owe(instance_id, &member.member_id, left);
                }
                None => owe(instance_id, &member.member_id, ids.clone()),
            }
        }
        for host in self.registry.hosts().filter(|host| host.held().next().is_some()) {
            owe(&host.instance_id, &host.epoch.member_id, host.transactional_ids.clone());
        }
        debts
    }

    /// The fences that are done, as long as there is something on the topic that they are about.
    pub(super) fn fenced(&self, leading: &Leading, live: &Live) -> BTreeMap<InstanceId, Arc<str>> {
        let before = self.last_assignment(leading).map(|last| last.fenced.clone()).unwrap_or_default();
        let now =
            leading.fencings.iter().map(|(instance_id, fencing)| (instance_id.clone(), fencing.debt.member_id.clone()));
        let mut fenced: BTreeMap<_, _> = before.into_iter().chain(now).collect();
        fenced.retain(|instance_id, member_id| {
            let speaks = self.registry.host(instance_id).is_some_and(|host| host.epoch.member_id == *member_id);
            speaks && live.get(instance_id).is_none_or(|member| member.member_id != *member_id)
        });
        fenced
    }
}
