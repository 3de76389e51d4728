//! What the coordinator wants done.

use super::{Control, Next};
use crate::{
    app::{AppError, leader_calls::Call},
    cluster::{Action, Event, MetadataRecord, Role, TaskEvent},
};

// === impl Control: actions ===

impl Control {
    pub(super) fn act(&mut self, action: Action) -> Result<Next, AppError> {
        // Some take seconds while the log is away.
        self.pulse.beat();
        match action {
            Action::PublishHost(host) => self.metadata.publish(&MetadataRecord::Host(host)),
            Action::PublishAssignment(assignment) => self.metadata.publish(&MetadataRecord::Assignment(assignment)),
            Action::PublishEviction(eviction) => {
                self.shared.metrics.cluster_evictions.inc();
                self.metadata.publish(&MetadataRecord::Eviction(eviction));
            }
            Action::PublishEvictionTombstone { instance_id } => {
                self.metadata.publish(&MetadataRecord::EvictionGone(instance_id));
            }
            Action::PublishTombstone { instance_id } => self.metadata.publish(&MetadataRecord::HostGone(instance_id)),
            Action::QueryMembers { generation } => self.calls.make(Call::Members { generation }),
            Action::CheckTopics { generation } => self.calls.make(Call::Topics { generation }),
            Action::Fence { generation, instance_id, transactional_ids } => {
                self.calls.make(Call::Fence { generation, instance_id, transactional_ids });
            }
            Action::StartTask { task, role: Role::Active, epoch } if self.shared.knows(task) => {
                self.pausing.insert(task, self.now());
                self.workers.start_task(task, epoch, None);
            }
            Action::StartTask { task, role, .. } if self.shared.knows(task) => self.followers.follow(task, role),
            Action::StartTask { task, .. } => {
                let reason = format!(
                    "this instance cannot run task {task} as it is asked to: when it started, its topology had no such task; \
                     if the partitions of an input topic were increased since, restart the instance"
                );
                let event = TaskEvent::Failed { reason };
                let actions = self.coordinator.step(self.now(), Event::Task { task, event });
                for action in actions {
                    self.act(action)?;
                }
            }
            Action::PromoteTask { task, epoch } => {
                // What is not there any more has failed, and that is on its way.
                if let Some(stores) = self.followers.give(task) {
                    self.pausing.insert(task, self.now());
                    self.workers.start_task(task, epoch, Some(stores));
                }
            }
            Action::FollowAs { task, role } => self.followers.follow_as(task, role),
            Action::ReleaseTask { task, follow } => {
                self.pausing.remove(&task);
                if !self.followers.release(task) {
                    let follow = follow.map(|role| (role, self.followers.take(task, role)));
                    self.workers.release_task(task, follow);
                }
            }
            Action::DropAll => {
                self.pausing.clear();
                self.shared.hosted.drop_all();
                self.workers.drop_all();
                self.followers.drop_all();
            }
            Action::UpdateEpoch { epoch } => self.workers.set_epoch(&epoch),
            Action::Evicted => self.shared.metrics.cluster_evicted.inc(),
            Action::Rejoin => {
                // As when the membership is lost.
                self.shared.hosted.clear();
                self.pulse.begin();
                if let Err(error) = self.membership.rejoin() {
                    tracing::warn!(%error, "leaving the group takes long");
                }
            }
            Action::Drained => {
                tracing::info!("drained");
                self.stopping.emptied();
            }
            Action::Stopped => return Ok(Next::Stopped),
            Action::Fatal(error) => return Err(error.into()),
        }
        Ok(Next::Turn)
    }
}
