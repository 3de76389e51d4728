//! Actives: state decides before the balance.

use super::*;

fn cluster(partitions: i32, members: usize) -> PlanInput {
    let mut input = Shape { partitions: vec![partitions], capacities: vec![1; members] }.input();
    settle(&mut input);
    input
}

fn held(input: &PlanInput, index: usize) -> BTreeSet<TaskId> {
    input.members[&name(index)].held.clone()
}

fn warm_ups(placements: &Placements) -> Vec<(TaskId, InstanceId)> {
    placements.iter().flat_map(|(task, p)| p.warm_ups.iter().map(|member| (*task, member.clone()))).collect()
}

/// Everyone has what they had and has caught up, only that the plan in force is another one.
fn publish(input: &mut PlanInput) -> Placements {
    input.previous = plan(input);
    input.previous.clone()
}

#[test]
fn an_active_moves_when_its_target_has_caught_up() {
    let mut input = cluster(6, 2);
    let before = input.previous.clone();
    input.members.insert(name(2), member(1));
    let first = publish(&mut input);
    assert_eq!(moved(&before, &first, &input.members), 0);
    let warming = warm_ups(&first);
    assert_eq!(warming.len(), 2, "as many as are allowed");
    assert!(warming.iter().all(|(_, member)| *member == name(2)));
    assert_eq!(publish(&mut input), first, "as long as nobody has caught up, nothing changes");

    let (task, _) = warming[0];
    member_mut(&mut input, 2).caught_up.insert(task);
    let second = publish(&mut input);
    assert_eq!((&second[&task].active, second[&task].reason), (&Some(name(2)), Reason::Balance));
    assert_eq!(second[&warming[1].0], first[&warming[1].0], "the other one goes on");
    assert_eq!(second.iter().filter(|(task, p)| **p != first[*task]).count(), 1, "only what moves changes");

    // The old owner has released it, and the new one has not claimed it yet.
    for member in input.members.values_mut() {
        member.held.remove(&task);
    }
    assert_eq!(publish(&mut input)[&task], second[&task]);
    settle(&mut input);
    assert_eq!([0, 1, 2].map(|index| held(&input, index).len()), [2, 2, 2]);
}

#[test]
fn tasks_without_state_move_at_once() {
    let mut input = cluster(6, 2);
    input.tasks.iter_mut().for_each(|task| task.stateful = false);
    input.members.insert(name(2), member(1));
    let placements = plan(&input);
    assert_eq!(share_of(&placements, &name(2)), 2);
    assert!(warm_ups(&placements).is_empty());
    // Whoever had them has not released them yet.
    input.previous.clone_from(&placements);
    assert_eq!(plan(&input), placements);
}

#[test]
fn without_warm_ups_tasks_move_at_once() {
    let mut input = cluster(6, 2);
    input.max_warmup_replicas = 0;
    input.members.insert(name(2), member(1));
    let placements = publish(&mut input);
    assert_eq!(share_of(&placements, &name(2)), 2);
    assert_eq!(plan(&input), placements, "before anything was released");
}

#[test]
fn a_warm_up_whose_member_goes_is_forgotten() {
    let mut input = cluster(6, 2);
    let before = input.previous.clone();
    input.members.insert(name(2), member(1));
    publish(&mut input);
    input.members.remove(&name(2));
    assert_eq!(plan(&input), before);
}

#[test]
fn an_orphan_is_taken_over_by_who_has_caught_up_then_by_who_has_most_of_its_state() {
    let mut input = cluster(6, 3);
    let orphans: Vec<TaskId> = held(&input, 0).into_iter().collect();
    input.members.remove(&name(0));
    member_mut(&mut input, 1).state.extend([(orphans[0], 1_000), (orphans[1], 900)]);
    member_mut(&mut input, 2).state.extend([(orphans[0], 900), (orphans[1], 1_000)]);
    let after = plan(&input);
    assert_eq!((&after[&orphans[0]].active, &after[&orphans[1]].active), (&Some(name(1)), &Some(name(2))));
    assert!(orphans.iter().all(|task| after[task].reason == Reason::State));

    // What counts is who could go on now, whatever the offsets said that were published some seconds ago.
    member_mut(&mut input, 2).caught_up.insert(orphans[0]);
    let after = plan(&input);
    assert_eq!((&after[&orphans[0]].active, after[&orphans[0]].reason), (&Some(name(2)), Reason::Failover));
}

/// All orphans have followed at one member: it takes them all, and gives those away that are too many for it.
#[test]
fn a_failover_ignores_the_load_which_is_levelled_later() {
    let mut input = cluster(9, 3);
    let orphans = held(&input, 0);
    input.members.remove(&name(0));
    member_mut(&mut input, 1).caught_up.extend(&orphans);
    let after = publish(&mut input);
    assert!(orphans.iter().all(|task| after[task].active == Some(name(1))));
    assert_eq!(warm_ups(&after).iter().filter(|(_, member)| *member == name(2)).count(), 1);
    settle(&mut input);
    assert_eq!(held(&input, 1).len(), 5);
}

#[test]
fn a_member_that_returns_gets_the_tasks_back_whose_state_it_has() {
    let mut input = Shape { partitions: vec![8, 4, 5], capacities: vec![1, 1, 1, 1] }.input();
    settle(&mut input);
    let mut returning = input.members.remove(&name(2)).expect("a member");
    let before = std::mem::take(&mut returning.held);
    settle(&mut input);
    returning.caught_up.clear();
    let stateful = |task: &&TaskId| task.sub_topology != 1;
    returning.state = before.iter().filter(stateful).map(|task| (*task, 7)).collect();
    input.members.insert(name(2), returning);
    settle(&mut input);
    let after = held(&input, 2);
    assert!(before.iter().filter(stateful).all(|task| after.contains(task)), "{before:?} -> {after:?}");
}

/// It was restarted so fast that nobody else was given its tasks.
#[test]
fn a_member_that_returns_at_once_goes_on_with_its_state_or_is_stood_in_for() {
    let mut input = cluster(6, 3);
    input.num_standby_replicas = 1;
    settle(&mut input);
    let mine = held(&input, 0);
    for (member, state) in [(0, 100), (1, 90), (2, 90)] {
        let tasks = input.members[&name(member)].caught_up.clone();
        member_mut(&mut input, member).state = tasks.into_iter().map(|task| (task, state)).collect();
    }
    member_mut(&mut input, 0).held.clear();
    member_mut(&mut input, 0).caught_up.clear();
    let after = plan(&input);
    assert!(mine.iter().all(|task| after[task].active == Some(name(0))), "it has it all on its disk");
    member_mut(&mut input, 0).state.clear();
    let after = plan(&input);
    for task in &mine {
        assert_eq!(after[task].active.as_ref(), input.previous[task].standbys.first(), "its disk is empty");
        assert_eq!(after[task].reason, Reason::Failover);
    }
}

#[test]
fn of_two_members_with_room_the_one_with_state_gets_one_more() {
    for owner in [1, 2] {
        let mut input = cluster(3, 3);
        let orphan = *held(&input, 0).first().expect("a task");
        input.members.remove(&name(0));
        member_mut(&mut input, owner).state.insert(orphan, 1);
        assert_eq!(plan(&input)[&orphan].active, Some(name(owner)));
    }
}

#[test]
fn a_new_member_gets_the_tasks_it_has_state_of() {
    let input = cluster(12, 3);
    for nth in 0..4 {
        let mut newcomer = member(1);
        let given = input.members.values().map(|m| *m.held.iter().nth(nth).expect("four tasks each"));
        newcomer.state = given.map(|task| (task, 1)).collect();
        let expected: BTreeSet<TaskId> = newcomer.state.keys().copied().collect();
        let mut input = input.clone();
        input.members.insert(name(9), newcomer);
        settle(&mut input);
        assert_eq!(held(&input, 9), expected);
    }
}

#[test]
fn a_failed_task_moves_away_alone_and_stays_when_it_failed_everywhere() {
    let mut input = cluster(6, 3);
    let broken = TaskId::new(0, 3);
    for failures in 1..=3 {
        let owner = input.previous[&broken].active.clone().expect("an owner");
        let before = input.previous.clone();
        let host = input.members.get_mut(&owner).expect("a member");
        host.failed.insert(broken);
        host.caught_up.remove(&broken);
        host.held.remove(&broken);
        let after = publish(&mut input);
        assert_eq!(after[&broken].active == Some(owner), failures == 3);
        assert_eq!(after[&broken].reason, Reason::Failure);
        assert!(before.iter().all(|(task, p)| *task == broken || input.previous[task] == *p), "healthy tasks stay");
        assert_eq!(plan(&input), after, "before anybody has followed");
        input.carry_out(&after);
    }
}

#[test]
fn a_draining_member_gives_its_tasks_to_those_who_have_caught_up_and_lets_others_follow() {
    let mut input = cluster(12, 3);
    let mine = held(&input, 0);
    let followed: Vec<TaskId> = mine.iter().copied().take(2).collect();
    let others: Vec<TaskId> = mine.iter().copied().skip(2).collect();
    member_mut(&mut input, 1).caught_up.extend(&followed);
    member_mut(&mut input, 0).acceptance = Acceptance::Draining;
    input.max_warmup_replicas = 1;
    let first = publish(&mut input);
    for task in &followed {
        assert_eq!((&first[task].active, first[task].reason), (&Some(name(1)), Reason::Drain));
    }
    for task in &others {
        assert_eq!((&first[task].active, first[task].warm_ups.len()), (&Some(name(0)), 1), "all of them at once");
    }
    assert!(others.len() > 1, "more than are allowed to others");
    settle(&mut input);
    assert!(held(&input, 0).is_empty());
    assert_eq!((held(&input, 1).len(), held(&input, 2).len()), (6, 6));
}

/// Its deadline has passed: it has given everything up.
#[test]
fn what_a_draining_member_does_not_hold_any_more_moves_at_once() {
    let mut input = cluster(6, 2);
    member_mut(&mut input, 0).acceptance = Acceptance::Draining;
    let waiting = publish(&mut input);
    assert_eq!(share_of(&waiting, &name(0)), 3);
    let released = std::mem::take(&mut member_mut(&mut input, 0).held);
    let after = publish(&mut input);
    assert_eq!(share_of(&after, &name(0)), 0);
    member_mut(&mut input, 0).state = released.into_iter().map(|task| (task, 100)).collect();
    assert_eq!(plan(&input), after, "it has most of the state, and cannot be given anything");
}

#[test]
fn a_draining_member_that_is_alone_keeps_its_tasks_and_is_given_nothing() {
    let mut input = cluster(6, 2);
    member_mut(&mut input, 0).acceptance = Acceptance::Draining;
    settle(&mut input);
    member_mut(&mut input, 1).acceptance = Acceptance::Draining;
    settle(&mut input);
    assert_eq!(held(&input, 1).len(), 6);
    input.members.remove(&name(1));
    settle(&mut input);
    assert!(held(&input, 0).is_empty());
}

#[test]
fn state_decides_over_an_assignment_that_nobody_carried_out() {
    let mut input = cluster(6, 3);
    let before = input.previous.clone();
    for member in input.members.values_mut() {
        member.caught_up.clear();
        member.state = std::mem::take(&mut member.held).into_iter().map(|task| (task, 100)).collect();
    }
    for placement in input.previous.values_mut() {
        placement.active = Some(name(0));
    }
    let placed = plan(&input);
    assert!(before.iter().all(|(task, placement)| placed[task].active == placement.active), "{placed:?}");
}

#[test]
fn a_silent_member_keeps_its_tasks_and_gets_no_new_ones() {
    let mut input = cluster(9, 3);
    let kept = held(&input, 0);
    member_mut(&mut input, 0).acceptance = Acceptance::Keeps;
    input.members.remove(&name(1));
    settle(&mut input);
    assert_eq!(held(&input, 0), kept);
    assert_eq!(held(&input, 2).len(), 6);
}
