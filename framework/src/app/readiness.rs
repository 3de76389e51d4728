//! What an instance waits for before it is ready: what the cluster owes it, or it the cluster.

use crate::{
    cluster::{ClusterView, InstanceId, TaskState},
    state::TaskId,
};

/// What is still missing, in words. Standbys count as long as an orchestrator that restarts the instances one by one had better
/// wait for them before it goes on: until the instance has caught up once. Those of an instance that waits itself do not count, so
/// that a cluster that begins without state answers before all copies are made.
pub(super) fn waiting(view: &ClusterView, for_standbys: bool) -> Vec<String> {
    let Some(epoch) = &view.epoch else { return vec!["not a member of the group yet".into()] };
    // A confirmation of the assignment before does not know of who has just come.
    if !view.is_listed || view.order.is_none_or(|order| order.generation != epoch.generation) {
        return vec!["waiting for the assignment of this generation".into()];
    }
    let here = (view.me.clone(), TaskState::Running);
    let mine = view.tasks.iter().filter(|(_, task)| task.assigned.as_ref() == Some(&view.me));
    let not_running = mine.filter(|(_, task)| task.holder.as_ref() != Some(&here));
    let not_running = not_running.map(|(id, _)| format!("task {id} is not running yet"));
    let holder_waits = |task: TaskId| match &view.tasks[&task].holder {
        Some((holder, _)) => behind(view, holder).next().is_some(),
        None => true,
    };
    let behind = behind(view, &view.me).filter(|task| for_standbys && !holder_waits(*task));
    not_running.chain(behind.map(|id| format!("the standby of task {id} has not caught up yet"))).collect()
}

/// The tasks that an instance is a standby of and has not caught up with.
fn behind<'a>(view: &'a ClusterView, instance: &'a InstanceId) -> impl Iterator<Item = TaskId> + 'a {
    let followed = view.tasks.iter().filter(|(_, task)| task.assigned_standbys.contains(instance));
    let caught_up = (instance.clone(), TaskState::Running);
    followed.filter(move |(_, task)| !task.followers.contains(&caught_up)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{AssignmentOrder, TaskView},
        log::Epoch,
    };

    const TASK: TaskId = TaskId::new(0, 0);

    /// A member of generation 2 that is assigned something of one task.
    fn view(task: TaskView) -> ClusterView {
        let epoch = Epoch { member_id: "member-1".into(), generation: 2 };
        let order = AssignmentOrder { term: 1, generation: 2, version: 1 };
        let me = InstanceId::from("a");
        let tasks = [(TASK, task)].into();
        ClusterView { epoch: Some(epoch), order: Some(order), is_listed: true, tasks, ..ClusterView::empty(&me) }
    }

    fn held(by: &str, state: TaskState) -> (InstanceId, TaskState) {
        (InstanceId::from(by), state)
    }

    #[test]
    fn a_member_waits_for_an_assignment_that_knows_of_it() {
        let ready = view(TaskView::default());
        assert!(waiting(&ready, true).is_empty());
        let of_before = AssignmentOrder { term: 1, generation: 1, version: 9 };
        for not_ready in [
            ClusterView { epoch: None, ..ready.clone() },
            ClusterView { order: None, ..ready.clone() },
            ClusterView { order: Some(of_before), ..ready.clone() },
            ClusterView { is_listed: false, ..ready },
        ] {
            assert_eq!(waiting(&not_ready, true).len(), 1, "{not_ready:?}");
        }
    }

    #[test]
    fn an_active_is_waited_for_until_it_runs_here() {
        let assigned = TaskView { assigned: Some(InstanceId::from("a")), ..TaskView::default() };
        let restoring = TaskView { holder: Some(held("a", TaskState::Restoring)), ..assigned.clone() };
        let elsewhere = TaskView { holder: Some(held("b", TaskState::Running)), ..assigned.clone() };
        for task in [assigned.clone(), restoring, elsewhere] {
            assert_eq!(waiting(&view(task), false), [format!("task {TASK} is not running yet")]);
        }
        let running = TaskView { holder: Some(held("a", TaskState::Running)), ..assigned };
        assert!(waiting(&view(running), true).is_empty());
    }

    #[test]
    fn a_standby_is_waited_for_until_it_has_caught_up_once() {
        let holder = Some(held("b", TaskState::Running));
        let assigned = TaskView { assigned_standbys: vec![InstanceId::from("a")], holder, ..TaskView::default() };
        let behind = TaskView { followers: vec![held("a", TaskState::Restoring)], ..assigned.clone() };
        let other = TaskView { followers: vec![held("c", TaskState::Running)], ..assigned.clone() };
        for task in [assigned.clone(), behind, other] {
            let view = view(task);
            assert_eq!(waiting(&view, true), [format!("the standby of task {TASK} has not caught up yet")]);
            assert!(waiting(&view, false).is_empty());
        }
        let caught_up = TaskView { followers: vec![held("a", TaskState::Running)], ..assigned };
        assert!(waiting(&view(caught_up), true).is_empty());
        let warm_up = TaskView { assigned_warm_ups: vec![InstanceId::from("a")], ..TaskView::default() };
        assert!(waiting(&view(warm_up), true).is_empty(), "a warm-up is nothing that the instance owes");
    }

    #[test]
    fn of_instances_that_wait_for_each_other_none_does() {
        let follows = |standby: &str, holder: &str| TaskView {
            assigned_standbys: vec![InstanceId::from(standby)],
            holder: Some(held(holder, TaskState::Running)),
            ..TaskView::default()
        };
        let mut view = view(follows("a", "b"));
        assert_eq!(waiting(&view, true).len(), 1);
        view.tasks.insert(TaskId::new(0, 1), follows("b", "a"));
        assert!(waiting(&view, true).is_empty());
    }
}
