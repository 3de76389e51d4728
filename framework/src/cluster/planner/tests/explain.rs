//! The sentences, and that they belong to the plan.

use super::*;

fn cluster() -> PlanInput {
    let mut input = Shape { partitions: vec![4], capacities: vec![1; 2] }.input();
    input.num_standby_replicas = 1;
    settle(&mut input);
    input
}

/// All that is said of the tasks of one member, without their names.
fn said(input: &PlanInput) -> BTreeSet<String> {
    let explained = explain(input);
    let placements: Placements = explained.iter().map(|(task, why)| (*task, why.placement.clone())).collect();
    assert_eq!(placements, plan(input));
    let sentences = explained.into_values().flat_map(|why| {
        let followers = why.followers.into_iter().map(|(id, why)| format!("{id} {why}"));
        [why.active].into_iter().chain(followers).collect::<Vec<_>>()
    });
    sentences.collect()
}

fn contains(input: &PlanInput, sentence: &str) {
    let said = said(input);
    assert!(said.contains(sentence), "{sentence:?} is not among {said:#?}");
}

#[test]
fn every_placement_has_a_reason_in_words() {
    let fresh = Shape { partitions: vec![1], capacities: vec![1; 2] }.input();
    assert!(said(&fresh).iter().all(|s| s.ends_with("takes it: the ring decides; nobody has state of it")));
    assert_eq!(
        said(&Shape { partitions: vec![1], capacities: vec![] }.input()),
        BTreeSet::from(["there is no member that can take it".to_owned()])
    );

    let input = cluster();
    contains(&input, "instance-0 has it");
    contains(&input, "instance-1 follows it and has caught up");

    let mut joined = input.clone();
    joined.max_warmup_replicas = 1;
    joined.members.insert(name(2), member(1));
    contains(&joined, "instance-1 has it; instance-2 takes it when it has caught up, to level the load");
    contains(&joined, "instance-2 warms up: it shall have the active");
    contains(
        &joined,
        "instance-2 shall have the place of instance-0, but has to wait: not more than 1 warm up at once",
    );
    contains(&joined, "instance-0 keeps its place until instance-2 has caught up");

    let mut left = input.clone();
    left.members.remove(&name(1));
    contains(&left, "instance-0 takes it over, as instance-1 is gone: it follows it and has caught up");
    let mut lost = left.clone();
    lost.members.insert(name(0), PlanMember { state: [(TaskId::new(0, 0), 7)].into(), ..member(1) });
    contains(&lost, "instance-0 takes it, as instance-1 is gone: it has most of the state that is left");

    let mut drained = input.clone();
    member_mut(&mut drained, 0).acceptance = Acceptance::Draining;
    contains(&drained, "instance-1 takes it from instance-0, which is to be emptied, as it has caught up");
    member_mut(&mut drained, 1).caught_up.clear();
    contains(
        &drained,
        "instance-0 is to be emptied, and nobody else has caught up; instance-1 takes it when it has caught up",
    );

    let mut silent = input;
    member_mut(&mut silent, 0).acceptance = Acceptance::Keeps;
    contains(&silent, "instance-0 has it and was not heard of in this generation: only it can give it up");
}
