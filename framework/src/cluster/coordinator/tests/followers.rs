//! Tasks that change their role on an instance.

use super::*;

const MEMBERS: [(&str, &str); 2] = [("a", "a-1"), ("b", "b-1")];

/// The assignment of generation 2 with this version under which `b` has the task, or nobody, and `a` follows it.
fn followed_by_a(version: u64, role: Role) -> Assignment {
    let mut assignment = assignment(2, version, &MEMBERS, &[(task(0), "b")]);
    let placement = assignment.tasks.entry(task(0)).or_default();
    match role {
        Role::WarmUp => placement.warm_ups = vec!["a".into()],
        _ => placement.standbys = vec!["a".into()],
    }
    assignment
}

fn owned_by(version: u64, owner: &str) -> Assignment {
    assignment(2, version, &MEMBERS, &[(task(0), owner)])
}

fn event(event: TaskEvent) -> Event {
    Event::Task { task: task(0), event }
}

fn release(follow: Option<Role>) -> Action {
    Action::ReleaseTask { task: task(0), follow }
}

fn promote() -> Action {
    Action::PromoteTask { task: task(0), epoch: epoch(2, "a-1") }
}

fn reported(a: &Instance) -> Option<(Role, TaskState)> {
    a.host().tasks.get(&task(0)).map(|report| (report.role, report.state))
}

/// An instance that follows a task as a caught-up standby, in generation 2; `b` has it as active.
fn standby() -> Instance {
    let mut a = Instance::load([host("b", epoch(2, "b-1"), 1, &[task(0)]).into()]);
    a.join(2, false);
    let started = a.read(followed_by_a(1, Role::Standby));
    let start = Action::StartTask { task: task(0), role: Role::Standby, epoch: epoch(2, "a-1") };
    assert_eq!(started, [Action::UpdateEpoch { epoch: epoch(2, "a-1") }, start]);
    assert_eq!(reported(&a), Some((Role::Standby, TaskState::Restoring)));
    a.step(event(TaskEvent::Running));
    assert_eq!(reported(&a), Some((Role::Standby, TaskState::Running)));
    a
}

/// An instance that has a task as active, in generation 2.
fn active() -> Instance {
    let mut a = Instance::load([host("b", epoch(2, "b-1"), 1, &[]).into()]);
    a.join(2, false);
    a.read(owned_by(1, "a"));
    a.step(event(TaskEvent::Running));
    assert_eq!(reported(&a), Some((Role::Active, TaskState::Running)));
    a
}

#[test]
fn an_active_task_that_is_followed_from_now_on_stays_open() {
    let mut a = active();
    assert_eq!(a.read(followed_by_a(2, Role::WarmUp)), [release(Some(Role::WarmUp))]);
    assert_eq!(a.step(event(TaskEvent::Running)), [], "said before the release was heard of");
    assert_eq!(reported(&a), Some((Role::Active, TaskState::Releasing)), "held until it is released");
    assert_eq!(a.step(event(TaskEvent::Released)), [], "it is not started anew");
    assert_eq!(reported(&a), Some((Role::WarmUp, TaskState::Restoring)));
    a.step(event(TaskEvent::Running));
    assert_eq!(reported(&a), Some((Role::WarmUp, TaskState::Running)));
    a.step(event(TaskEvent::Restoring));
    assert_eq!(reported(&a), Some((Role::WarmUp, TaskState::Restoring)), "it does not keep up");
}

#[test]
fn a_standby_is_promoted_when_its_claim_is_read_and_the_task_is_free() {
    let mut a = standby();
    assert_eq!(a.read(owned_by(2, "a")), [], "`b` has it");
    assert_eq!(reported(&a), Some((Role::Standby, TaskState::Running)), "not even claimed");
    assert_eq!(a.read(host("b", epoch(2, "b-1"), 2, &[])), [promote()]);
    let claimed = a.published.iter().any(|record| match record {
        MetadataRecord::Host(host) => host.tasks.values().any(|report| report.state == TaskState::Claimed),
        _ => false,
    });
    assert!(claimed, "it was claimed in between");
    assert_eq!(reported(&a), Some((Role::Active, TaskState::Restoring)), "its tail");
    a.step(event(TaskEvent::Running));
    assert_eq!(reported(&a), Some((Role::Active, TaskState::Running)));
}

#[test]
fn standbys_and_warm_ups_become_each_other_where_they_are() {
    let mut a = standby();
    let follow_as = |role| Action::FollowAs { task: task(0), role };
    assert_eq!(a.read(followed_by_a(2, Role::WarmUp)), [follow_as(Role::WarmUp)]);
    assert_eq!(reported(&a), Some((Role::WarmUp, TaskState::Running)));
    assert_eq!(a.read(followed_by_a(3, Role::Standby)), [follow_as(Role::Standby)]);
    assert_eq!(a.read(owned_by(4, "b")), [release(None)]);
    a.step(event(TaskEvent::Released));
    assert_eq!(reported(&a), None);
}

#[test]
fn a_plan_that_changes_during_a_release_is_followed_after_it() {
    let mut a = active();
    assert_eq!(a.read(followed_by_a(2, Role::Standby)), [release(Some(Role::Standby))]);
    assert_eq!(a.read(owned_by(3, "a")), [], "it is on its way out");
    assert_eq!(a.step(event(TaskEvent::Released)), [promote()], "and back in");

    let mut a = active();
    a.read(followed_by_a(2, Role::Standby));
    a.read(followed_by_a(3, Role::WarmUp));
    let follow_as = Action::FollowAs { task: task(0), role: Role::WarmUp };
    assert_eq!(a.step(event(TaskEvent::Released)), [follow_as]);

    let mut a = active();
    a.read(followed_by_a(2, Role::Standby));
    a.read(owned_by(3, "b"));
    assert_eq!(a.step(event(TaskEvent::Released)), [release(None)]);

    // It was to be closed, and is to be followed after all: that is a start like any other.
    let mut a = active();
    assert_eq!(a.read(owned_by(2, "b")), [release(None)]);
    assert_eq!(a.read(followed_by_a(3, Role::Standby)), []);
    let started = a.step(event(TaskEvent::Released));
    assert_eq!(started, [Action::StartTask { task: task(0), role: Role::Standby, epoch: epoch(2, "a-1") }]);
}

#[test]
fn what_failed_while_it_was_claimed_or_released_begins_anew() {
    let mut a = standby();
    let claimed = a.coordinator.step(a.now, Event::Metadata(host("b", epoch(2, "b-1"), 2, &[]).into()));
    assert!(claimed.is_empty());
    let actions = a.coordinator.step(a.now, Event::Metadata(owned_by(2, "a").into()));
    let [Action::PublishHost(claim)] = &actions[..] else { panic!("a claim: {actions:?}") };
    a.step(failed(task(0)));
    assert_eq!(a.read(MetadataRecord::Host(claim.clone())), [], "nothing to promote any more");

    let mut a = active();
    a.read(followed_by_a(2, Role::Standby));
    a.step(failed(task(0)));
    assert_eq!(a.step(event(TaskEvent::Released)), [], "it has no part in what comes next");
    assert_eq!(reported(&a), Some((Role::Active, TaskState::Failed)));
    let started = a.wait(Settings::default().failure_backoff);
    assert_eq!(started, [Action::StartTask { task: task(0), role: Role::Standby, epoch: epoch(2, "a-1") }]);
}

#[test]
fn followers_go_with_a_stop_and_with_the_membership() {
    let mut a = standby();
    assert_eq!(a.step(Event::Stop), [release(None)]);
    assert_eq!(a.step(event(TaskEvent::Released)), [Action::Stopped]);

    let mut a = active();
    a.read(followed_by_a(2, Role::Standby));
    assert_eq!(a.step(Event::Stop), [], "it is being released");
    assert_eq!(a.step(event(TaskEvent::Released)), [release(None)], "and is not to follow any more");
    assert_eq!(a.step(event(TaskEvent::Released)), [Action::Stopped]);

    let mut a = standby();
    assert_eq!(a.step(Event::Membership(MembershipEvent::Lost { reason: "silent".to_owned() })), [Action::DropAll]);
    a.step(Event::AllDropped);
    let joined = MembershipEvent::Joined { epoch: epoch(3, "a-2"), leader: false };
    assert_eq!(a.step(Event::Membership(joined)), []);
    assert_eq!(reported(&a), None);
}
