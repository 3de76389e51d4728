//! Evictions: by the leader, of the leader, of this instance.

use super::*;
use crate::cluster::Eviction;

const PATIENCE: Duration = Duration::from_millis(400);

fn suspects(of: &[(&str, &str)]) -> Event {
    Event::Suspects(of.iter().map(|(name, member_id)| ((*name).into(), (*member_id).into())).collect())
}

fn eviction(of: (&str, &str), generation: i32, by: (&str, &str)) -> MetadataRecord {
    MetadataRecord::Eviction(Arc::new(Eviction {
        instance_id: of.0.into(),
        member_id: of.1.into(),
        generation,
        by: by.0.into(),
        by_member_id: by.1.into(),
    }))
}

fn fenced(generation: i32, instance_id: &str) -> Event {
    Event::Fenced { generation, instance_id: instance_id.into(), result: Ok(()) }
}

/// `a` leads generation 2; `b` has both tasks.
fn leader() -> Instance {
    let tasks = [task(0), task(1)];
    let mut a = Instance::load([assignment(1, 1, &[("b", "b-1")], &[(task(0), "b"), (task(1), "b")]).into()]);
    a.join(2, true);
    a.read(host("b", epoch(2, "b-1"), 1, &tasks));
    a.answer(2, &[("a", "a-1"), ("b", "b-1")], &tasks);
    a.read(host("b", epoch(2, "b-1"), 2, &tasks[..1]));
    a
}

/// `a` follows `b` in generation 2, with `0` before it in the order of names and `c` behind.
fn follower() -> Instance {
    let members = [("0", "0-1"), ("a", "a-1"), ("b", "b-1"), ("c", "c-1")];
    let mut a = Instance::load([]);
    a.join(2, false);
    a.read(assignment(2, 1, &members, &[(task(0), "b")]));
    for (name, member_id, tasks) in [("0", "0-1", &[][..]), ("b", "b-1", &[task(0)]), ("c", "c-1", &[])] {
        a.read(host(name, epoch(2, member_id), 1, tasks));
    }
    a
}

fn evictions(a: &Instance) -> usize {
    a.published.iter().filter(|record| matches!(record, MetadataRecord::Eviction(_))).count()
}

#[test]
fn the_leader_evicts_then_fences_then_assigns() {
    let mut a = leader();
    assert_eq!(a.step(suspects(&[("b", "b-0")])), [], "not a membership of now");
    let actions = a.step(suspects(&[("b", "b-1")]));
    assert!(a.published.contains(&eviction(("b", "b-1"), 2, ("a", "a-1"))));
    let [Action::Fence { generation: 2, instance_id, .. }] = &actions[..] else { panic!("a fence: {actions:?}") };
    assert_eq!(&**instance_id, "b");
    assert_eq!(a.owner(task(0)), Some("b".into()), "not before it is fenced");
    let started = a.step(fenced(2, "b"));
    assert!(started.contains(&start(task(0), epoch(2, "a-1"))), "{started:?}");
    assert_eq!(a.assignment().members.keys().map(|id| &**id).collect::<Vec<_>>(), ["a"]);
    a.answer(2, &[("a", "a-1"), ("b", "b-1")], &[task(0), task(1)]);
    assert_eq!(a.assignment().members.len(), 1, "whatever the group says for another while");
    assert_eq!(evictions(&a), 1);

    a.join(3, true);
    a.answer(3, &[("a", "a-1")], &[task(0), task(1)]);
    assert!(a.published.contains(&MetadataRecord::EvictionGone("b".into())), "the group knows it too");
}

#[test]
fn a_silent_leader_is_evicted_by_one_who_leads_the_rest_of_the_generation() {
    let mut a = follower();
    a.step(suspects(&[("b", "b-1")]));
    a.wait(PATIENCE / 2);
    assert_eq!(evictions(&a), 0, "`0` goes first");
    let actions = a.wait(PATIENCE / 2);
    assert_eq!(evictions(&a), 1);
    assert!(actions.contains(&Action::QueryMembers { generation: 2 }) && a.coordinator.leads(), "{actions:?}");
    let members = [("0", "0-1"), ("a", "a-1"), ("b", "b-1"), ("c", "c-1")];
    a.answer(2, &members, &[task(0)]);
    let fence = a.step(fenced(2, "b"));
    let assignment = a.assignment();
    assert_eq!((assignment.order().to_string().as_str(), assignment.members.len()), ("0.2.2", 3), "{fence:?}");

    let late = Assignment { version: 9, ..super::assignment(2, 1, &members, &[(task(0), "b")]) };
    let published = a.published.len();
    a.read(late);
    assert_eq!(a.published[published..], [MetadataRecord::Assignment(assignment)], "that one has no effect");

    let mut a = follower();
    a.step(suspects(&[("b", "b-1")]));
    a.read(eviction(("b", "b-1"), 2, ("0", "0-1")));
    a.wait(PATIENCE);
    assert_eq!((evictions(&a), a.coordinator.leads()), (0, false), "`0` leads");
    a.step(suspects(&[("0", "0-1"), ("b", "b-1")]));
    assert_eq!(evictions(&a), 1, "and is silent, too");
    assert!(a.coordinator.leads());
}

#[test]
fn only_a_leader_is_evicted_by_others_and_nobody_at_least_once() {
    let mut a = follower();
    a.step(suspects(&[("c", "c-1")]));
    a.wait(10 * PATIENCE);
    assert_eq!(evictions(&a), 0);

    let mut a = leader();
    a.coordinator.settings.evicts = false;
    assert_eq!(a.step(suspects(&[("b", "b-1")])), []);
    assert_eq!(evictions(&a), 0);
}

#[test]
fn who_is_evicted_drops_everything_and_comes_back_as_another_member() {
    let mut a = Instance::alone(task(0));
    assert_eq!(a.read(eviction(("a", "a-0"), 1, ("b", "b-1"))), [Action::Evicted], "an earlier membership");
    let out = a.read(eviction(("a", "a-1"), 1, ("b", "b-1")));
    assert_eq!(out, [Action::Evicted, Action::DropAll, Action::Rejoin]);
    a.step(Event::AllDropped);
    assert_eq!(a.join(2, false), [Action::DropAll, Action::Rejoin], "not as the same member");
    a.step(Event::AllDropped);
    let again = MembershipEvent::Joined { epoch: epoch(3, "a-2"), leader: true };
    let actions = a.step(Event::Membership(again));
    assert!(actions.contains(&Action::QueryMembers { generation: 3 }), "{actions:?}");
    assert_eq!(a.host().epoch, epoch(3, "a-2"));
}
