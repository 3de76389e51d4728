//! What the leader plans from what followers say.

use super::*;

const MEMBERS: [(&str, &str); 3] = [("a", "a-1"), ("b", "b-1"), ("c", "c-1")];

/// An instance that leads generation 2 with these members and tasks. It has read what they say, and `before`.
fn leader(standbys: usize, before: Assignment, hosts: &[HostMetadata], tasks: &[TaskId]) -> Instance {
    let mut a = Instance::load_with(standbys, [before.into()]);
    hosts.iter().for_each(|host| drop(a.read(host.clone())));
    a.join(2, true);
    let members: Vec<_> = MEMBERS
        .into_iter()
        .filter(|(name, _)| *name == "a" || hosts.iter().any(|h| *h.instance_id == **name))
        .collect();
    a.answer(2, &members, tasks);
    a
}

fn member(name: &str, seq: u64, tasks: &[TaskId]) -> HostMetadata {
    host(name, epoch(2, &format!("{name}-1")), seq, tasks)
}

/// A host that follows a task, too.
fn following(host: HostMetadata, task: TaskId, role: Role, state: TaskState) -> HostMetadata {
    let report = TaskReport { role, state, reason: None, offsets: Offsets::default() };
    HostMetadata { tasks: host.tasks.into_iter().chain([(task, report)]).collect(), ..host }
}

fn placement(a: &Instance, task: TaskId) -> TaskPlacement {
    a.assignment().tasks[&task].clone()
}

fn assignments(a: &Instance) -> usize {
    a.published.iter().filter(|record| matches!(record, MetadataRecord::Assignment(_))).count()
}

#[test]
fn a_task_is_warmed_up_and_then_moved() {
    let before = assignment(1, 1, &MEMBERS[1..2], &[(task(0), "b"), (task(1), "b")]);
    let mut a = leader(0, before, &[member("b", 1, &[task(0), task(1)])], &[task(0), task(1)]);
    let warmed = [task(0), task(1)].into_iter().find(|task| placement(&a, *task).warm_ups == ["a".into()]);
    let warmed = warmed.expect("a task is warmed up here");
    assert_eq!([task(0), task(1)].map(|task| a.owner(task)), [Some("b".into()), Some("b".into())]);
    assert_eq!(a.host().tasks[&warmed].role, Role::WarmUp);

    let published = assignments(&a);
    assert_eq!(a.wait(Duration::from_secs(30)), []);
    assert_eq!(assignments(&a), published, "not before it has caught up");
    a.step(Event::Task { task: warmed, event: TaskEvent::Running });
    assert_eq!((placement(&a, warmed).active, placement(&a, warmed).reason), (Some("a".into()), Reason::Balance));
    assert_eq!(a.host().tasks[&warmed].role, Role::WarmUp, "its owner has it");
    let other = [task(0), task(1)].into_iter().find(|task| *task != warmed).expect("the other task");
    assert_eq!(a.read(member("b", 2, &[other])), [Action::PromoteTask { task: warmed, epoch: epoch(2, "a-1") }]);
    let published = assignments(&a);
    a.step(Event::Task { task: warmed, event: TaskEvent::Running });
    assert_eq!(assignments(&a), published, "that is all");
}

/// `a` leads, and has fenced `b`, which had the task and is gone; `c` follows the task and has caught up.
fn without_the_owner(standby_replacement_delay: Duration) -> Instance {
    let mut before = assignment(1, 1, &MEMBERS, &[(task(0), "b")]);
    before.tasks.entry(task(0)).or_default().standbys = vec!["c".into()];
    let c = following(member("c", 1, &[]), task(0), Role::Standby, TaskState::Running);
    let dead = host("b", epoch(1, "b-1"), 1, &[task(0)]);
    let settings = Settings { evicts: true, num_standby_replicas: 1, standby_replacement_delay, ..Settings::default() };
    let mut a = Instance::load_by(settings, [before.into(), dead.into()]);
    a.join(2, true);
    a.read(c);
    let fence = a.answer(2, &[MEMBERS[0], MEMBERS[2]], &[task(0)]);
    assert!(matches!(&fence[..], [Action::Fence { .. }]), "{fence:?}");
    a.step(Event::Fenced { generation: 2, instance_id: "b".into(), result: Ok(()) });
    a
}

#[test]
fn a_standby_of_a_dead_owner_is_promoted_and_replaced() {
    let a = without_the_owner(Duration::ZERO);
    let promoted = placement(&a, task(0));
    assert_eq!((promoted.active, promoted.standbys), (Some("c".into()), vec!["a".into()]));
    assert_eq!(promoted.reason, Reason::Failover);
    assert_eq!(a.host().tasks[&task(0)].role, Role::Standby);
}

/// An instance that is restarted finds its places again; one that stays away loses them.
#[test]
fn the_place_of_an_instance_that_left_is_kept_for_a_while() {
    let mut a = without_the_owner(Duration::from_secs(30));
    let promoted = placement(&a, task(0));
    assert_eq!((promoted.active, promoted.standbys, promoted.kept_for), (Some("c".into()), vec![], vec!["b".into()]));

    let published = assignments(&a);
    a.wait(Duration::from_secs(29));
    assert_eq!(assignments(&a), published);
    a.wait(Duration::from_secs(1));
    let replaced = placement(&a, task(0));
    assert_eq!((replaced.active, replaced.standbys, replaced.kept_for), (Some("c".into()), vec!["a".into()], vec![]));
}

/// Who comes back for a moment only has not been back.
#[test]
fn a_short_return_does_not_keep_a_place_for_longer() {
    let c = |generation, seq, tasks: &[TaskId]| host("c", epoch(generation, "c-1"), seq, tasks);
    let mut a = without_the_owner(Duration::from_secs(30));
    assert_eq!(placement(&a, task(0)).kept_for, vec!["b".into()]);

    a.wait(Duration::from_secs(20));
    a.join(3, true);
    a.read(c(3, 2, &[task(0)]));
    a.read(HostMetadata { incarnation: 60, ..host("b", epoch(3, "b-2"), 1, &[]) });
    a.answer(3, &[MEMBERS[0], ("b", "b-2"), MEMBERS[2]], &[task(0)]);
    assert_eq!((placement(&a, task(0)).standbys, placement(&a, task(0)).kept_for), (vec!["b".into()], vec![]));

    a.wait(Duration::from_secs(5));
    a.join(4, true);
    a.read(c(4, 3, &[task(0)]));
    a.answer(4, &[MEMBERS[0], MEMBERS[2]], &[task(0)]);
    a.step(Event::Fenced { generation: 4, instance_id: "b".into(), result: Ok(()) });
    assert_eq!(placement(&a, task(0)).kept_for, vec!["b".into()]);
    a.wait(Duration::from_secs(5));
    assert_eq!((placement(&a, task(0)).standbys, placement(&a, task(0)).kept_for), (vec!["a".into()], vec![]));
}

/// Nobody has caught up before its patience is at an end: then what it gives up is taken at once.
#[test]
fn a_draining_owner_is_followed_and_what_it_gives_up_is_taken() {
    let before = assignment(1, 1, &MEMBERS[1..2], &[(task(0), "b")]);
    let draining = |seq, tasks: &[TaskId]| HostMetadata { draining: true, ..member("b", seq, tasks) };
    let mut a = leader(0, before, &[draining(1, &[task(0)])], &[task(0)]);
    let waiting = placement(&a, task(0));
    assert_eq!((waiting.active, waiting.warm_ups), (Some("b".into()), vec!["a".into()]));
    let taken = a.read(draining(2, &[]));
    assert_eq!((placement(&a, task(0)).active, placement(&a, task(0)).reason), (Some("a".into()), Reason::State));
    assert_eq!(taken, [Action::PromoteTask { task: task(0), epoch: epoch(2, "a-1") }]);
}
