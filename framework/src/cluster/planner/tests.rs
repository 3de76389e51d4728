use proptest::prelude::*;

use super::*;
use crate::cluster::metadata::Reason;

mod explain;
mod moves;
mod standbys;

/// A cluster for a plan: tasks per sub-topology, those of every second one with state, and members with their capacities.
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
        PlanInput { tasks: tasks.collect(), members: members.collect(), max_warmup_replicas: 2, ..PlanInput::default() }
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
        caught_up: BTreeSet::new(),
        state: BTreeMap::new(),
        failed: BTreeSet::new(),
    }
}

fn member_mut(input: &mut PlanInput, index: usize) -> &mut PlanMember {
    input.members.get_mut(&name(index)).expect("a member")
}

/// The next plan, carried out.
fn advance(input: &mut PlanInput) {
    let placements = plan(input);
    input.carry_out(&placements);
}

/// Plans that are carried out until nothing changes any more.
fn settle(input: &mut PlanInput) {
    let last = forecast(input).plans.pop().expect("a plan");
    input.carry_out(&last);
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

fn share_of(placements: &Placements, member: &InstanceId) -> usize {
    actives(placements).values().filter(|owner| **owner == member).count()
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

/// What every plan keeps to, whatever came before.
fn assert_sound(input: &PlanInput, placements: &Placements) {
    let somebody_is_open = input.members.values().any(|member| member.acceptance == Acceptance::Open);
    let mut warm_ups = 0;
    for (task, placement) in placements {
        let followers: Vec<_> = placement.standbys.iter().chain(&placement.warm_ups).collect();
        let hosts: BTreeSet<_> = followers.iter().copied().chain(&placement.active).collect();
        assert_eq!(hosts.len(), followers.len() + usize::from(placement.active.is_some()), "{task}: {placement:?}");
        assert!(hosts.iter().all(|host| input.members.contains_key(*host)), "{task}: {placement:?}");
        assert!(followers.iter().all(|id| input.members[*id].acceptance != Acceptance::Draining), "{task}");
        assert!(placement.standbys.len() <= input.num_standby_replicas, "{task}: {placement:?}");
        assert!(!somebody_is_open || placement.active.is_some(), "{task} is with nobody");
        let leaves = placement.active.as_ref().is_some_and(|id| input.members[id].acceptance == Acceptance::Draining);
        warm_ups += if leaves { 0 } else { placement.warm_ups.len() };
    }
    assert!(warm_ups <= input.max_warmup_replicas, "{warm_ups} warm-ups at once");
}

proptest! {
    #[test]
    fn every_task_has_one_active_and_all_load_is_bounded(shape in shape(0u32..5, 1..9)) {
        let input = shape.input();
        let placements = plan(&input);
        prop_assert_eq!(placements.len(), input.tasks.len());
        assert_sound(&input, &placements);
        assert_balanced(&input, &placements);
    }

    #[test]
    fn the_order_of_tasks_and_members_does_not_matter(
        shape in shape(1u32..5, 1..9), standbys in 0usize..3, seed: u64
    ) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        advance(&mut input);
        input.members.insert(name(99), member(1));
        let mut shuffled = input.clone();
        let count = shuffled.tasks.len();
        for i in 0..count {
            shuffled.tasks.swap(i, (seed as usize).wrapping_mul(i + 31) % count);
        }
        shuffled.members = input.members.clone().into_iter().rev().collect();
        prop_assert_eq!(plan(&shuffled), plan(&input));
    }

    /// Whatever has happened before: plans come to an end, and nothing moves then, as long as the members do not change.
    #[test]
    fn any_history_ends_at_a_level_load(
        shape in shape(1u32..4, 1..7),
        history in proptest::collection::vec((0usize..8, 0usize..8, any::<prop::sample::Index>(), 0usize..3), 0..12),
        standbys in 0usize..3,
        warm_ups in 0usize..4,
    ) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        input.max_warmup_replicas = warm_ups;
        for (index, event, task, plans) in history {
            let task = input.tasks[task.index(input.tasks.len())].task;
            let entry = input.members.entry(name(index));
            match event {
                // It is expected back, or is back.
                6 | 7 => { input.expected.insert(name(index)); },
                0 => { entry.or_insert_with(|| PlanMember { zone: Some(format!("{}", index % 3)), ..member(1) }); }
                1 => if let std::collections::btree_map::Entry::Occupied(entry) = entry { entry.remove(); },
                2 => { entry.and_modify(|m| { m.failed.insert(task); m.held.remove(&task); m.caught_up.remove(&task); }); }
                3 => { entry.and_modify(|m| m.acceptance = Acceptance::Keeps); }
                4 => { entry.and_modify(|m| m.acceptance = Acceptance::Open); }
                _ => { entry.and_modify(|m| m.acceptance = Acceptance::Draining); }
            }
            for _ in 0..plans {
                assert_sound(&input, &plan(&input));
                advance(&mut input);
            }
        }
        settle(&mut input);
        prop_assert_eq!(&plan(&input), &input.previous, "as long as somebody is expected");
        assert_sound(&input, &input.previous);
        input.expected.clear();
        settle(&mut input);
        let last = plan(&input);
        prop_assert_eq!(&last, &input.previous);
        assert_sound(&input, &last);
        prop_assert!(last.values().all(|placement| placement.kept_for.is_empty()));
        prop_assert!(last.values().all(|placement| placement.warm_ups.is_empty()));
        let open = input.members.values().all(|member| member.acceptance == Acceptance::Open && member.failed.is_empty());
        if open && !input.members.is_empty() {
            assert_balanced(&input, &last);
        }
    }

    /// The least that has to move is what the new member gets; the total bound may cost an exchange per sub-topology.
    #[test]
    fn a_member_that_joins_moves_its_share(shape in shape(Just(1u32), 1..9), standbys in 0usize..2) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        settle(&mut input);
        let before = input.previous.clone();
        input.members.insert(name(99), member(1));
        settle(&mut input);
        assert_balanced(&input, &input.previous);
        let (share, moves) = (share_of(&input.previous, &name(99)), moved(&before, &input.previous, &input.members));
        prop_assert!(moves <= share + shape.partitions.len(), "{moves} moves for a share of {share}");
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_tasks(
        shape in shape(Just(1u32), 2..9), leaver: prop::sample::Index, standbys in 0usize..2
    ) {
        let mut input = shape.input();
        input.num_standby_replicas = standbys;
        settle(&mut input);
        let before = input.previous.clone();
        input.members.remove(&name(leaver.index(shape.capacities.len())));
        let next = plan(&input);
        settle(&mut input);
        assert_balanced(&input, &input.previous);
        let moves = moved(&before, &input.previous, &input.members);
        let failed_over = next.values().filter(|placement| placement.reason == Reason::Failover).count();
        prop_assert!(moves <= shape.partitions.len() + failed_over, "{moves} moves beside the tasks of the leaver");
    }

    /// With capacities the shares of others change by rounding too, by at most one per member and sub-topology.
    #[test]
    fn with_capacities_moves_stay_near_the_share(shape in shape(1u32..5, 2..9), capacity in 1u32..5) {
        let mut input = shape.input();
        settle(&mut input);
        let before = input.previous.clone();
        input.members.insert(name(99), member(capacity));
        settle(&mut input);
        let (share, moves) = (share_of(&input.previous, &name(99)), moved(&before, &input.previous, &input.members));
        let slack = shape.partitions.len() * (shape.capacities.len() + 1) / 2;
        prop_assert!(moves <= share + slack, "{moves} moves for a share of {share}");
    }

    /// 60 tasks on three members: 15 of them are the share of a fourth.
    #[test]
    fn a_fourth_member_moves_at_most_sixteen_of_sixty(a in 0i32..=20, b in 0i32..=20, standbys in 0usize..2) {
        let partitions = [a, b, 60 - a - b].into_iter().filter(|count| *count > 0).collect();
        let mut input = Shape { partitions, capacities: vec![1; 3] }.input();
        input.num_standby_replicas = standbys;
        settle(&mut input);
        let before = input.previous.clone();
        input.members.insert(name(3), member(1));
        let mut changes = 0;
        for placements in &forecast(&input).plans {
            changes += moved(&input.previous, placements, &input.members);
            input.carry_out(placements);
        }
        prop_assert_eq!(share_of(&input.previous, &name(3)), 15);
        let moves = moved(&before, &input.previous, &input.members);
        prop_assert!(moves <= 16, "{moves} moves");
        prop_assert_eq!(changes, moves, "each of them once");
    }
}

#[test]
fn nobody_is_planned_for_when_nobody_is_there() {
    let input = Shape { partitions: vec![2], capacities: vec![] }.input();
    let placements = plan(&input);
    assert_eq!(placements.len(), 2);
    assert!(placements.values().all(|p| *p == TaskPlacement::default() && p.reason == Reason::NoMember));
}

#[test]
fn a_new_cluster_is_placed_by_the_ring() {
    let input = Shape { partitions: vec![6], capacities: vec![1; 3] }.input();
    assert!(plan(&input).values().all(|placement| placement.reason == Reason::Ring));
}

/// The worst that is foreseen: it must not keep a leader busy.
#[test]
fn a_large_cluster_is_planned_fast() {
    let mut input = Shape { partitions: vec![97; 20], capacities: (0..60).map(|i| 1 + i % 3).collect() }.input();
    input.num_standby_replicas = 1;
    advance(&mut input);
    assert_balanced(&input, &input.previous);
    input.members.remove(&name(7));
    let after = plan(&input);
    assert_sound(&input, &after);
}
