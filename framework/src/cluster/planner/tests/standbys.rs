//! Standbys: apart from the active, near their state, evenly spread.

use super::*;

fn cluster(partitions: i32, members: usize, standbys: usize) -> PlanInput {
    let mut input = Shape { partitions: vec![partitions], capacities: vec![1; members] }.input();
    input.num_standby_replicas = standbys;
    settle(&mut input);
    input
}

fn loads(input: &PlanInput) -> BTreeMap<InstanceId, usize> {
    let mut loads: BTreeMap<_, usize> = input.members.keys().map(|id| (id.clone(), 0)).collect();
    for standby in input.previous.values().flat_map(|placement| &placement.standbys) {
        *loads.get_mut(standby).expect("a member") += 1;
    }
    loads
}

fn range(loads: &BTreeMap<InstanceId, usize>) -> (usize, usize) {
    (*loads.values().min().expect("members"), *loads.values().max().expect("members"))
}

fn standbys_moved(before: &Placements, after: &Placements) -> usize {
    let new = |(task, placement): (&TaskId, &TaskPlacement)| {
        placement.standbys.iter().filter(|standby| before[task].role_of(standby).is_none()).count()
    };
    after.iter().map(new).sum()
}

proptest! {
    #[test]
    fn standbys_are_complete_and_level(partitions in 1i32..60, members in 2usize..8, standbys in 1usize..3) {
        let input = cluster(partitions, members, standbys);
        let expected = standbys.min(members - 1);
        prop_assert!(input.previous.values().all(|placement| placement.standbys.len() == expected));
        let (least, most) = range(&loads(&input));
        // With two members there is no choice, and nearly none where every member has nearly every task.
        prop_assert!(most - least <= 1 + usize::from(members <= standbys + 1), "{:?}", loads(&input));
    }

    /// A follower of a task that a member has is where it was; what the dead member followed is followed elsewhere.
    #[test]
    fn when_a_member_dies_only_its_places_are_filled(partitions in 1i32..60, members in 3usize..8, dead: prop::sample::Index) {
        let mut input = cluster(partitions, members, 1);
        let dead = name(dead.index(members));
        input.members.remove(&dead);
        let before = input.previous.clone();
        let next = plan(&input);
        for (task, placement) in &next {
            let was = &before[task];
            prop_assert_eq!(placement.standbys.len(), 1, "filled at once");
            if was.active.as_ref() == Some(&dead) {
                prop_assert_eq!(&placement.active, &was.standbys.first().cloned());
            } else if placement.active != was.active {
                prop_assert_eq!(&placement.active, &was.standbys.first().cloned(), "to level the load");
                prop_assert_eq!(placement.standbys.first(), was.active.as_ref(), "they change places");
            } else if was.standbys[0] != dead {
                prop_assert_eq!(&placement.standbys, &was.standbys);
            }
        }
        // Its tasks were followed by all the others, so they are level as they are, or nearly.
        settle(&mut input);
        let moves = actives(&next).into_iter().filter(|(task, owner)| input.previous[task].active.as_ref() != Some(*owner));
        prop_assert!(moves.count() <= members, "{members} members");
        let (least, most) = range(&loads(&input));
        prop_assert!(members == 3 || most - least <= 1);
    }

    #[test]
    fn when_a_member_joins_its_share_of_standbys_moves(partitions in 4i32..60, members in 3usize..8) {
        let mut input = cluster(partitions, members, 1);
        let before = input.previous.clone();
        input.members.insert(name(99), member(1));
        settle(&mut input);
        let (least, most) = range(&loads(&input));
        prop_assert!(most - least <= 1, "{:?}", loads(&input));
        // The share of the newcomer, and places that those give who got an active.
        let share = partitions as usize / (members + 1) + 1;
        let moves = standbys_moved(&before, &input.previous);
        prop_assert!(moves <= 3 * share, "{moves} standbys moved for a share of {share}");
    }

    #[test]
    fn standbys_are_in_other_zones(
        partitions in 1i32..40, zones in proptest::collection::vec(0usize..3, 2..8), standbys in 1usize..3
    ) {
        let mut input = Shape { partitions: vec![partitions], capacities: vec![1; zones.len()] }.input();
        input.num_standby_replicas = standbys;
        for (member, zone) in zones.iter().enumerate() {
            member_mut(&mut input, member).zone = Some(format!("zone {zone}"));
        }
        settle(&mut input);
        let all: BTreeSet<_> = zones.iter().collect();
        for (task, placement) in &input.previous {
            let hosts = placement.standbys.iter().chain(&placement.active);
            let spread: BTreeSet<_> = hosts.map(|id| input.members[id].zone.clone()).collect();
            let hosts = 1 + standbys.min(zones.len() - 1);
            prop_assert_eq!(spread.len(), all.len().min(hosts), "{}: {:?}", task, placement);
        }
    }
}

#[test]
fn a_standby_takes_over_and_its_place_is_filled() {
    let mut input = cluster(12, 3, 1);
    let before = input.previous.clone();
    input.members.remove(&name(0));
    let after = plan(&input);
    for (task, placement) in &after {
        if before[task].active != Some(name(0)) {
            assert_eq!(placement.active, before[task].active);
            continue;
        }
        assert_eq!(placement.active.as_slice(), before[task].standbys);
        assert_eq!(placement.reason, Reason::Failover);
    }
    assert_eq!((share_of(&after, &name(1)), share_of(&after, &name(2))), (6, 6), "and the load is level at once");
}

/// A standby where an active shall go needs no warm-up: they change places.
#[test]
fn an_active_and_its_standby_change_places_without_a_warm_up() {
    let mut input = cluster(6, 1, 1);
    input.members.insert(name(1), member(1));
    let first = plan(&input);
    assert!(first.values().all(|p| p.active == Some(name(0)) && p.standbys == [name(1)] && p.warm_ups.is_empty()));
    input.carry_out(&first);
    let second = plan(&input);
    assert_eq!(share_of(&second, &name(1)), 3);
    for placement in second.values().filter(|placement| placement.active == Some(name(1))) {
        assert_eq!(placement.standbys, [name(0)], "it has all of the state");
    }
    input.carry_out(&second);
    assert_eq!(plan(&input), second);
}

#[test]
fn a_standby_keeps_its_place_until_another_has_caught_up() {
    let mut input = cluster(30, 3, 1);
    input.members.insert(name(3), member(1));
    let mut before = input.previous.clone();
    let plans = forecast(&input).plans;
    assert!(plans.len() > 5, "a few at a time");
    for placements in plans {
        for (task, placement) in &placements {
            let ready = |host: &InstanceId| before[task].role_of(host).is_some();
            assert!(placement.standbys.iter().all(ready), "{task}: {:?} -> {placement:?}", before[task]);
        }
        before = placements;
    }
}

/// Copies that were begun since: a task at a member that did not have it.
fn begun(before: &Placements, plans: &[Placements]) -> BTreeSet<(TaskId, InstanceId)> {
    let hosts = |(task, placement): (&TaskId, &TaskPlacement)| {
        let hosts = placement.active.iter().chain(&placement.standbys).chain(&placement.warm_ups);
        hosts.map(|host| (*task, host.clone())).collect::<Vec<_>>()
    };
    let is_new = |(task, host): &(TaskId, InstanceId)| before[task].role_of(host).is_none();
    let has_state = |(task, _): &(TaskId, InstanceId)| !before[task].standbys.is_empty();
    plans.iter().flatten().flat_map(hosts).filter(is_new).filter(has_state).collect()
}

fn carry_out(input: &mut PlanInput) -> Vec<Placements> {
    let plans = forecast(input).plans;
    input.carry_out(plans.last().expect("a plan"));
    plans
}

/// A member drains, is gone for a while, and comes back with the state of what it had and nothing open. Says how many copies were begun.
fn restart(input: &mut PlanInput, restarted: &InstanceId) -> (usize, usize) {
    let before = input.previous.clone();
    let mut back = input.members[restarted].clone();
    input.expected.insert(restarted.clone());
    input.members.get_mut(restarted).expect("a member").acceptance = Acceptance::Draining;
    let mut plans = carry_out(input);
    input.members.remove(restarted);
    plans.extend(carry_out(input));
    let had = |task: &TaskId| before[task].role_of(restarted).is_some();
    let has_state = |task: &TaskId| !before[task].standbys.is_empty();
    for (task, placement) in input.previous.iter().filter(|(task, _)| has_state(task)) {
        assert_eq!(placement.kept_for, Vec::from_iter(had(task).then(|| restarted.clone())), "{task}");
        assert_eq!(placement.standbys.len() + 1, before[task].standbys.len() + usize::from(!had(task)), "{task}");
    }
    let away = begun(&before, &plans).len();
    back.state = before.keys().filter(|task| had(task) && has_state(task)).map(|task| (*task, 1)).collect();
    (back.held, back.caught_up) = (BTreeSet::new(), BTreeSet::new());
    input.members.insert(restarted.clone(), back);
    input.expected.clear();
    let plans = carry_out(input);
    assert!(plans.iter().flat_map(Placements::values).all(|placement| placement.kept_for.is_empty()));
    assert_balanced(input, &input.previous);
    (away, begun(&before, &plans).len())
}

proptest! {
    #[test]
    fn a_restart_begins_no_copies(
        partitions in 1i32..60, members in 3usize..8, standbys in 1usize..3, restarted: prop::sample::Index
    ) {
        let mut input = cluster(partitions, members, standbys);
        let (away, back) = restart(&mut input, &name(restarted.index(members)));
        prop_assert_eq!(away, 0);
        prop_assert_eq!(back, 0);
    }
}

#[test]
fn a_rolling_restart_begins_no_copies() {
    let mut input = Shape { partitions: vec![12, 12, 12], capacities: vec![1; 3] }.input();
    input.num_standby_replicas = 1;
    settle(&mut input);
    for member in [0, 1, 2, 0, 1, 2] {
        assert_eq!(restart(&mut input, &name(member)), (0, 0), "{member}");
    }
}

/// The next plan, by which everybody has caught up but one.
fn advance_but(input: &mut PlanInput, slow: Option<&InstanceId>) -> Placements {
    let next = plan(input);
    let behind = slow.and_then(|slow| input.members.get(slow)).map(|member| member.caught_up.clone());
    input.carry_out(&next);
    if let Some((slow, behind)) = slow.zip(behind) {
        let member = input.members.get_mut(slow).expect("a member");
        member.caught_up.retain(|task| behind.contains(task) || member.held.contains(task));
    }
    next
}

/// Each of these leaves and comes back while the last one that did is still catching up. Says how many copies were begun in
/// the meantime, and until all is level again.
fn restart_hastily(input: &mut PlanInput, order: &[usize]) -> (usize, usize) {
    let before = input.previous.clone();
    let (members, mut plans, mut slow) = (input.members.len(), Vec::new(), None);
    for index in order {
        let restarted = name(index % members);
        if slow.as_ref() == Some(&restarted) {
            continue;
        }
        let mut back = input.members[&restarted].clone();
        let had = before.iter().filter(|(_, placement)| placement.role_of(&restarted).is_some());
        back.state = had.map(|(task, _)| (*task, 1)).collect();
        input.expected.insert(restarted.clone());
        input.members.get_mut(&restarted).expect("a member").acceptance = Acceptance::Draining;
        plans.extend((0..2).map(|_| advance_but(input, slow.as_ref())));
        input.members.remove(&restarted);
        plans.extend((0..2).map(|_| advance_but(input, slow.as_ref())));
        (back.held, back.caught_up) = (BTreeSet::new(), BTreeSet::new());
        input.members.insert(restarted.clone(), back);
        input.expected = BTreeSet::from([restarted.clone()]);
        plans.push(advance_but(input, Some(&restarted)));
        slow = Some(restarted);
    }
    input.expected.clear();
    let during = begun(&before, &plans);
    let plans = carry_out(input);
    assert_balanced(input, &input.previous);
    let places = input.num_standby_replicas.min(input.members.len() - 1);
    assert!(input.previous.values().all(|placement| placement.standbys.len() == places));
    (during.len(), begun(&before, &plans).difference(&during).count())
}

proptest! {
    /// Nobody reads a changelog from its beginning while it is not known who is there; with one standby, nor is there anything to level then.
    #[test]
    fn a_hasty_rolling_restart_begins_no_copies(
        partitions in 1i32..40, members in 3usize..7, standbys in 1usize..3, order in proptest::collection::vec(0usize..7, 1..7)
    ) {
        let (meanwhile, afterwards) = restart_hastily(&mut cluster(partitions, members, standbys), &order);
        prop_assert_eq!(meanwhile, 0);
        prop_assert!(standbys > 1 || afterwards == 0, "{} to level the load", afterwards);
    }
}

#[test]
fn places_that_were_kept_long_enough_are_filled() {
    let mut input = cluster(12, 4, 1);
    let left = name(1);
    input.members.remove(&left);
    input.expected.insert(left);
    settle(&mut input);
    assert!(input.previous.values().any(|placement| placement.standbys.is_empty()));
    input.expected.clear();
    settle(&mut input);
    let is_full = |placement: &TaskPlacement| placement.standbys.len() == 1 && placement.kept_for.is_empty();
    assert!(input.previous.values().all(is_full));
}

#[test]
fn a_standby_moves_to_another_zone_when_there_is_one() {
    let mut input = cluster(6, 2, 1);
    input.members.values_mut().for_each(|member| member.zone = Some("east".to_owned()));
    input.members.insert(name(2), PlanMember { zone: Some("west".to_owned()), ..member(1) });
    settle(&mut input);
    for placement in input.previous.values() {
        let zone = |id: &InstanceId| input.members[id].zone.as_deref();
        assert_ne!(placement.active.as_ref().and_then(zone), zone(&placement.standbys[0]));
    }
}

#[test]
fn tasks_without_state_and_draining_members_have_no_standbys() {
    let mut input = Shape { partitions: vec![4, 4], capacities: vec![1; 3] }.input();
    input.num_standby_replicas = 2;
    settle(&mut input);
    assert!(input.previous.iter().all(|(task, p)| p.standbys.is_empty() == (task.sub_topology == 1)));
    member_mut(&mut input, 0).acceptance = Acceptance::Draining;
    let next = plan(&input);
    assert!(next.values().all(|placement| !placement.standbys.contains(&name(0))));
}

#[test]
fn a_silent_member_goes_on_following() {
    let mut input = cluster(12, 4, 1);
    let before = input.previous.clone();
    let silent = name(1);
    member_mut(&mut input, 1).acceptance = Acceptance::Keeps;
    let next = plan(&input);
    for (task, placement) in &before {
        assert_eq!(placement.standbys.contains(&silent), next[task].standbys.contains(&silent), "{task}");
    }
}
