use proptest::prelude::*;

use super::*;

/// A cluster for a plan: tasks per sub-topology, and members with their capacities.
#[derive(Debug, Clone)]
struct Shape {
    partitions: Vec<i32>,
    capacities: Vec<u32>,
}

impl Shape {
    fn input(&self) -> PlanInput {
        let sub_topologies = self.partitions.iter().enumerate();
        let tasks = sub_topologies.flat_map(|(s, partitions)| {
            (0..*partitions).map(move |p| PlanTask { task: TaskId::new(s as u32, p), stateful: s % 2 == 0 })
        });
        let members = self.capacities.iter().enumerate().map(|(i, capacity)| (name(i), member(*capacity)));
        PlanInput { tasks: tasks.collect(), members: members.collect(), ..PlanInput::default() }
    }
}

fn shape(capacity: impl Strategy<Value = u32>, members: std::ops::Range<usize>) -> impl Strategy<Value = Shape> {
    (proptest::collection::vec(1..20, 1..5), proptest::collection::vec(capacity, members))
        .prop_map(|(partitions, capacities)| Shape { partitions, capacities })
}

fn name(index: usize) -> InstanceId {
    format!("instance-{index}").into()
}

fn member(capacity: u32) -> PlanMember {
    PlanMember {
        capacity,
        zone: None,
        acceptance: Acceptance::Open,
        held: BTreeSet::new(),
        state: BTreeMap::new(),
        failed: BTreeSet::new(),
    }
}

/// The plan, taken for granted in the next input.
fn settle(input: &mut PlanInput) {
    input.previous = plan(input);
    for (instance_id, member) in &mut input.members {
        let mine = input.previous.iter().filter(|(_, placement)| placement.active.as_ref() == Some(instance_id));
        member.held = mine.map(|(task, _)| *task).collect();
    }
}

fn actives(placements: &Placements) -> BTreeMap<TaskId, &InstanceId> {
    placements.iter().filter_map(|(task, placement)| Some((*task, placement.active.as_ref()?))).collect()
}

/// How many tasks change hands between members that are there before and after.
fn moved(before: &Placements, after: &Placements, members: &BTreeMap<InstanceId, PlanMember>) -> usize {
    let after = actives(after);
    let alive = actives(before).into_iter().filter(|(_, owner)| members.contains_key(*owner));
    alive.filter(|(task, owner)| after.get(task) != Some(owner)).count()
}

fn assert_balanced(input: &PlanInput, placements: &Placements) {
    let weight: u64 = input.members.values().map(|member| u64::from(member.capacity.max(1))).sum();
    let bounds = |tasks: usize, member: &PlanMember| {
        let exact = tasks as u64 * u64::from(member.capacity.max(1));
        (exact / weight)..=exact.div_ceil(weight)
    };
    for (instance_id, member) in &input.members {
        let mine: Vec<_> = actives(placements).into_iter().filter(|(_, o)| *o == instance_id).map(|(t, _)| t).collect();
        assert!(bounds(placements.len(), member).contains(&(mine.len() as u64)), "{instance_id} has {}", mine.len());
        for sub_topology in input.tasks.iter().map(|planned| planned.task.sub_topology) {
            let all = placements.keys().filter(|task| task.sub_topology == sub_topology).count();
            let some = mine.iter().filter(|task| task.sub_topology == sub_topology).count();
            assert!(bounds(all, member).contains(&(some as u64)), "{instance_id}: {some} of {sub_topology}");
        }
    }
}

proptest! {
    #[test]
    fn every_task_has_one_active_and_all_load_is_bounded(shape in shape(0u32..5, 1..9)) {
        let input = shape.input();
        let placements = plan(&input);
        prop_assert_eq!(placements.len(), input.tasks.len());
        prop_assert!(placements.values().all(|p| p.active.as_ref().is_some_and(|a| input.members.contains_key(a))));
        assert_balanced(&input, &placements);
    }

    #[test]
    fn a_stable_cluster_plans_no_move(shape in shape(1u32..5, 1..9), standbys in 0usize..3) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        settle(&mut input);
        prop_assert_eq!(&plan(&input), &input.previous);
    }

    #[test]
    fn the_order_of_tasks_and_members_does_not_matter(shape in shape(1u32..5, 1..9), seed: u64) {
        let input = shape.input();
        let mut shuffled = input.clone();
        let count = shuffled.tasks.len();
        for i in 0..count {
            shuffled.tasks.swap(i, (seed as usize).wrapping_mul(i + 31) % count);
        }
        shuffled.members = input.members.clone().into_iter().rev().collect();
        prop_assert_eq!(plan(&shuffled), plan(&input));
    }

    /// The least that has to move is what the new member gets; the total bound may cost an exchange per sub-topology.
    #[test]
    fn a_member_that_joins_moves_its_share(shape in shape(Just(1u32), 1..9)) {
        let mut input = shape.input();
        settle(&mut input);
        input.members.insert(name(99), member(1));
        let after = plan(&input);
        assert_balanced(&input, &after);
        let share = actives(&after).values().filter(|owner| ***owner == name(99)).count();
        let moves = moved(&input.previous, &after, &input.members);
        prop_assert!(moves <= share + shape.partitions.len(), "{moves} moves for a share of {share}");
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_tasks(shape in shape(Just(1u32), 2..9), leaver: prop::sample::Index) {
        let mut input = shape.input();
        settle(&mut input);
        input.members.remove(&name(leaver.index(shape.capacities.len())));
        let after = plan(&input);
        assert_balanced(&input, &after);
        let moves = moved(&input.previous, &after, &input.members);
        prop_assert!(moves <= shape.partitions.len(), "{moves} moves beside the tasks of the leaver");
    }

    /// With capacities the shares of others change by rounding too, by at most one per member and sub-topology.
    #[test]
    fn with_capacities_moves_stay_near_the_share(shape in shape(1u32..5, 2..9), capacity in 1u32..5) {
        let mut input = shape.input();
        settle(&mut input);
        input.members.insert(name(99), member(capacity));
        let after = plan(&input);
        let share = actives(&after).values().filter(|owner| ***owner == name(99)).count();
        let slack = shape.partitions.len() * (shape.capacities.len() + 1) / 2;
        let moves = moved(&input.previous, &after, &input.members);
        prop_assert!(moves <= share + slack, "{moves} moves for a share of {share}");
    }

    /// Whatever has happened before: one plan and the cluster is stable, as long as the members do not change.
    #[test]
    fn any_history_settles_in_one_plan(
        shape in shape(1u32..4, 1..7),
        history in proptest::collection::vec((0usize..8, 0usize..5, any::<prop::sample::Index>()), 0..12),
        standbys in 0usize..2,
    ) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        for (index, event, task) in history {
            let task = input.tasks[task.index(input.tasks.len())].task;
            let entry = input.members.entry(name(index));
            match event {
                0 => { entry.or_insert_with(|| member(1)); }
                1 => if let std::collections::btree_map::Entry::Occupied(entry) = entry { entry.remove(); },
                2 => { entry.and_modify(|m| { m.failed.insert(task); }); }
                3 => { entry.and_modify(|m| m.acceptance = Acceptance::Keeps); }
                _ => { entry.and_modify(|m| m.acceptance = Acceptance::Draining); }
            }
            settle(&mut input);
            prop_assert_eq!(&plan(&input), &input.previous);
            let fit = |m: &PlanMember| m.acceptance == Acceptance::Open;
            if input.members.values().any(fit) {
                prop_assert!(input.previous.values().all(|p| p.active.is_some()));
            }
        }
    }
}

#[test]
fn an_orphan_goes_where_most_of_its_state_is() {
    let mut input = Shape { partitions: vec![6], capacities: vec![1, 1, 1] }.input();
    settle(&mut input);
    let orphans: Vec<TaskId> = input.members[&name(0)].held.iter().copied().collect();
    input.members.remove(&name(0));
    for (task, owner) in [(orphans[0], 1), (orphans[1], 2)] {
        for (index, offset) in [(owner, 1_000), (3 - owner, 900)] {
            input.members.get_mut(&name(index)).expect("a member").state.insert(task, offset);
        }
    }
    let after = plan(&input);
    for (task, owner) in [(orphans[0], 1), (orphans[1], 2)] {
        assert_eq!(after[&task].active, Some(name(owner)));
        assert_eq!(after[&task].reason, Reason::State);
    }
}

#[test]
fn a_member_that_returns_gets_the_tasks_back_whose_state_it_has() {
    let mut input = Shape { partitions: vec![8, 4], capacities: vec![1, 1, 1, 1] }.input();
    settle(&mut input);
    let mut returning = input.members.remove(&name(2)).expect("a member");
    let before = std::mem::take(&mut returning.held);
    settle(&mut input);
    returning.state = before.iter().map(|task| (*task, 7)).collect();
    input.members.insert(name(2), returning);
    settle(&mut input);
    assert_eq!(input.members[&name(2)].held, before);
}

#[test]
fn of_two_members_with_room_the_one_with_state_gets_one_more() {
    for owner in [1, 2] {
        let mut input = Shape { partitions: vec![3], capacities: vec![1, 1, 1] }.input();
        settle(&mut input);
        let orphan = *input.members[&name(0)].held.first().expect("a task");
        input.members.remove(&name(0));
        input.members.get_mut(&name(owner)).expect("a member").state.insert(orphan, 1);
        assert_eq!(plan(&input)[&orphan].active, Some(name(owner)));
    }
}

#[test]
fn a_new_member_gets_the_tasks_it_has_state_of() {
    let mut input = Shape { partitions: vec![12], capacities: vec![1, 1, 1] }.input();
    settle(&mut input);
    for nth in 0..4 {
        let mut newcomer = member(1);
        let given = input.members.values().map(|m| *m.held.iter().nth(nth).expect("four tasks each"));
        newcomer.state = given.map(|task| (task, 1)).collect();
        let expected: BTreeSet<TaskId> = newcomer.state.keys().copied().collect();
        let mut input = input.clone();
        input.members.insert(name(9), newcomer);
        settle(&mut input);
        assert_eq!(input.members[&name(9)].held, expected);
    }
}

#[test]
fn a_failed_task_moves_away_alone_and_stays_when_it_failed_everywhere() {
    let mut input = Shape { partitions: vec![6], capacities: vec![1, 1, 1] }.input();
    settle(&mut input);
    let broken = TaskId::new(0, 3);
    for failures in 1..=3 {
        let owner = input.previous[&broken].active.clone().expect("an owner");
        let before = input.previous.clone();
        input.members.get_mut(&owner).expect("a member").failed.insert(broken);
        settle(&mut input);
        assert_eq!(input.previous[&broken].active == Some(owner), failures == 3);
        let others = |placements: &Placements| placements.iter().filter(|(t, _)| **t != broken).count();
        assert_eq!(others(&before), others(&input.previous));
        assert!(before.iter().all(|(task, p)| *task == broken || input.previous[task] == *p), "healthy tasks stay");
    }
}

#[test]
fn a_draining_member_is_emptied_unless_it_is_alone_and_is_given_nothing() {
    let mut input = Shape { partitions: vec![6], capacities: vec![1, 1] }.input();
    settle(&mut input);
    input.members.get_mut(&name(0)).expect("a member").acceptance = Acceptance::Draining;
    settle(&mut input);
    assert!(input.members[&name(0)].held.is_empty());
    input.members.get_mut(&name(1)).expect("a member").acceptance = Acceptance::Draining;
    settle(&mut input);
    assert_eq!(input.members[&name(1)].held.len(), 6);
    input.members.remove(&name(1));
    settle(&mut input);
    assert!(input.members[&name(0)].held.is_empty());
}

#[test]
fn state_decides_over_an_assignment_that_nobody_carried_out() {
    let mut input = Shape { partitions: vec![6], capacities: vec![1, 1, 1] }.input();
    settle(&mut input);
    let before = input.previous.clone();
    for member in input.members.values_mut() {
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
    let mut input = Shape { partitions: vec![9], capacities: vec![1, 1, 1] }.input();
    settle(&mut input);
    let kept = input.members[&name(0)].held.clone();
    input.members.get_mut(&name(0)).expect("a member").acceptance = Acceptance::Keeps;
    input.members.remove(&name(1));
    settle(&mut input);
    assert_eq!(input.members[&name(0)].held, kept);
    assert_eq!(input.members[&name(2)].held.len(), 6);
}

#[test]
fn nobody_is_planned_for_when_nobody_is_there() {
    let input = Shape { partitions: vec![2], capacities: vec![] }.input();
    let placements = plan(&input);
    assert_eq!(placements.len(), 2);
    assert!(placements.values().all(|p| *p == TaskPlacement::default() && p.reason == Reason::NoMember));
}

#[test]
fn standbys_are_on_other_members_and_in_other_zones() {
    let mut input = Shape { partitions: vec![12], capacities: vec![1; 4] }.input();
    for (index, member) in input.members.values_mut().enumerate() {
        member.zone = Some(if index < 2 { "east" } else { "west" }.to_owned());
    }
    input.num_standby_replicas = 1;
    for placement in plan(&input).values() {
        let zone = |instance_id: &InstanceId| input.members[instance_id].zone.clone();
        let active = placement.active.as_ref().expect("an owner");
        let [standby] = &placement.standbys[..] else { panic!("one standby") };
        assert_ne!(zone(active), zone(standby));
    }
}

/// The worst that is foreseen: it must not keep a leader busy.
#[test]
fn a_large_cluster_is_planned_fast() {
    let mut input = Shape { partitions: vec![97; 20], capacities: (0..60).map(|i| 1 + i % 3).collect() }.input();
    settle(&mut input);
    assert_balanced(&input, &input.previous);
    input.members.remove(&name(7));
    settle(&mut input);
    assert_eq!(plan(&input), input.previous);
}
