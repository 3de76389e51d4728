use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::{
    cluster::{
        AssignedMember, InstanceId, Offsets, PlanTask, Reason, Role, TaskPlacement, TaskReport, TaskState,
        planner::Placements,
    },
    log::{LogError, Member, TopicPartition},
    state::TaskId,
};

mod followers;
mod placement;
mod take_over;

const RETRY: Duration = Duration::from_secs(1);

/// One coordinator and its topic: what it publishes is read back at once.
struct Instance {
    coordinator: Coordinator,
    now: Duration,
    published: Vec<MetadataRecord>,
}

impl Instance {
    /// An instance named `a` that has read a topic with these records.
    fn load(records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        Self::load_with(0, records)
    }

    fn load_with(num_standby_replicas: usize, records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        Self::load_by(Settings { evicts: true, num_standby_replicas, ..Settings::default() }, records)
    }

    fn load_by(settings: Settings, records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        let identity = Identity {
            instance_id: "a".into(),
            started_ms: 100,
            url: "http://a".to_owned(),
            zone: None,
            capacity: 0,
            transactional_ids: vec!["a-0".to_owned()],
            topology_fingerprint: "f".to_owned(),
        };
        let mut instance =
            Self { coordinator: Coordinator::new(identity, settings), now: Duration::ZERO, published: Vec::new() };
        for record in records {
            assert_eq!(instance.step(Event::Metadata(record)), []);
        }
        assert_eq!(instance.step(Event::MetadataLoaded), []);
        instance
    }

    /// An instance that runs `task` as the only member, in generation 1.
    fn alone(task: TaskId) -> Self {
        let mut a = Self::load([]);
        a.join(1, true);
        a.answer(1, &[("a", "a-1")], &[task]);
        a.step(Event::Task { task, event: TaskEvent::Running });
        a
    }

    /// Everything but what goes to the topic.
    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = VecDeque::from(self.coordinator.step(self.now, event));
        let mut others = Vec::new();
        while let Some(action) = actions.pop_front() {
            let record = match action {
                Action::PublishHost(host) => MetadataRecord::Host(host),
                Action::PublishAssignment(assignment) => MetadataRecord::Assignment(assignment),
                Action::PublishTombstone { instance_id } => MetadataRecord::HostGone(instance_id),
                Action::PublishEviction(eviction) => MetadataRecord::Eviction(eviction),
                Action::PublishEvictionTombstone { instance_id } => MetadataRecord::EvictionGone(instance_id),
                other => {
                    others.push(other);
                    continue;
                }
            };
            self.published.push(record.clone());
            actions.extend(self.coordinator.step(self.now, Event::Metadata(record)));
        }
        others
    }

    fn read(&mut self, record: impl Into<MetadataRecord>) -> Vec<Action> {
        self.step(Event::Metadata(record.into()))
    }

    fn join(&mut self, generation: i32, leader: bool) -> Vec<Action> {
        self.step(Event::Membership(MembershipEvent::Joined { epoch: epoch(generation, "a-1"), leader }))
    }

    fn answer(&mut self, generation: i32, members: &[(&str, &str)], tasks: &[TaskId]) -> Vec<Action> {
        let member = |(name, id): &(&str, &str)| Member { member_id: (*id).into(), client_id: (*name).to_owned() };
        let members = members.iter().map(member).collect();
        let tasks = tasks.iter().map(|task| PlanTask { task: *task, stateful: true }).collect();
        let mut actions = self.step(Event::Members { generation, result: Ok(members) });
        actions.extend(self.step(Event::Topics { generation, result: Ok(tasks) }));
        actions
    }

    fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.step(Event::Tick)
    }

    fn host(&self) -> Arc<HostMetadata> {
        let hosts = self.published.iter().rev().filter_map(|record| match record {
            MetadataRecord::Host(host) => Some(host.clone()),
            _ => None,
        });
        hosts.into_iter().next().expect("host metadata was published")
    }

    fn assignment(&self) -> Arc<Assignment> {
        let assignments = self.published.iter().rev().filter_map(|record| match record {
            MetadataRecord::Assignment(assignment) => Some(assignment.clone()),
            _ => None,
        });
        assignments.into_iter().next().expect("an assignment was published")
    }

    fn owner(&self, task: TaskId) -> Option<InstanceId> {
        self.assignment().tasks[&task].active.clone()
    }
}

impl From<HostMetadata> for MetadataRecord {
    fn from(host: HostMetadata) -> Self {
        Self::Host(Arc::new(host))
    }
}

impl From<Assignment> for MetadataRecord {
    fn from(assignment: Assignment) -> Self {
        Self::Assignment(Arc::new(assignment))
    }
}

fn epoch(generation: i32, member_id: &str) -> Epoch {
    Epoch { generation, member_id: member_id.into() }
}

fn task(partition: i32) -> TaskId {
    TaskId::new(0, partition)
}

/// An instance that has these tasks and runs them; its first incarnation is 50.
fn host(name: &str, epoch: Epoch, seq: u64, tasks: &[TaskId]) -> HostMetadata {
    let report =
        TaskReport { role: Role::Active, state: TaskState::Running, reason: None, offsets: Offsets::default() };
    HostMetadata {
        instance_id: name.into(),
        incarnation: 50,
        seq,
        epoch,
        url: format!("http://{name}"),
        zone: None,
        capacity: 1,
        transactional_ids: vec![format!("{name}-0"), format!("{name}-1")],
        topology_fingerprint: "f".to_owned(),
        tasks: tasks.iter().map(|task| (*task, report.clone())).collect(),
        stored: BTreeMap::new(),
        draining: false,
    }
}

/// An assignment of `b` with these members and owners.
fn assignment(generation: i32, version: u64, members: &[(&str, &str)], owners: &[(TaskId, &str)]) -> Assignment {
    let member = |(name, member_id): &(&str, &str)| {
        let transactional_ids = vec![format!("{name}-0"), format!("{name}-1")];
        ((*name).into(), AssignedMember { member_id: (*member_id).into(), incarnation: Some(50), transactional_ids })
    };
    let placement = |(task, owner): &(TaskId, &str)| {
        let active = Some((*owner).into());
        (*task, TaskPlacement { active, reason: Reason::Ring, ..TaskPlacement::default() })
    };
    Assignment {
        term: 0,
        generation,
        version,
        provisional: false,
        leader: "b".into(),
        leader_member_id: members.iter().find(|(name, _)| *name == "b").map(|(_, member_id)| (*member_id).into()),
        topology_fingerprint: "f".to_owned(),
        members: members.iter().map(member).collect(),
        tasks: owners.iter().map(placement).collect::<Placements>(),
        fenced: BTreeMap::new(),
    }
}

fn start(task: TaskId, epoch: Epoch) -> Action {
    Action::StartTask { task, role: Role::Active, epoch }
}

fn failed(task: TaskId) -> Event {
    Event::Task { task, event: TaskEvent::Failed { reason: "no space left".to_owned() } }
}

#[test]
fn the_first_instance_leads_and_starts_everything() {
    let mut a = Instance::load([]);
    let asked = a.join(1, true);
    assert_eq!(asked, [Action::QueryMembers { generation: 1 }, Action::CheckTopics { generation: 1 }]);
    let started = a.answer(1, &[("a", "a-1")], &[task(0), task(1)]);
    let expected = [
        Action::UpdateEpoch { epoch: epoch(1, "a-1") },
        start(task(0), epoch(1, "a-1")),
        start(task(1), epoch(1, "a-1")),
    ];
    assert_eq!(started, expected);
    let claimed = a.published.iter().any(|record| match record {
        MetadataRecord::Host(host) => host.tasks.values().all(|report| report.state == TaskState::Claimed),
        _ => false,
    });
    assert!(claimed, "claimed before it is started");
    assert_eq!(a.host().tasks[&task(0)].state, TaskState::Restoring);
    assert_eq!((a.host().incarnation, a.host().capacity), (100, 1));
    a.step(Event::Task { task: task(0), event: TaskEvent::Running });
    assert_eq!(a.host().tasks[&task(0)].state, TaskState::Running);
    let view = a.coordinator.view();
    assert_eq!(view.owner(task(0)), Some((&"a".into(), "http://a")));
    assert!(Arc::ptr_eq(&view, &a.coordinator.view()), "unchanged");
}

#[test]
fn tasks_that_stay_only_learn_the_new_epoch() {
    let mut a = Instance::alone(task(0));
    let (questions, rest): (Vec<_>, Vec<_>) = a
        .join(2, true)
        .into_iter()
        .partition(|action| matches!(action, Action::QueryMembers { .. } | Action::CheckTopics { .. }));
    assert_eq!(questions.len(), 2);
    assert_eq!(rest, [Action::UpdateEpoch { epoch: epoch(2, "a-1") }], "confirmed before anybody has answered");
    assert_eq!((a.assignment().order().to_string().as_str(), a.assignment().provisional), ("0.2.1", true));
    a.read(host("b", epoch(2, "b-1"), 1, &[]));
    assert_eq!(a.answer(2, &[("a", "a-1"), ("b", "b-1")], &[task(0)]), []);
    assert_eq!((a.owner(task(0)), a.assignment().members.len()), (Some("a".into()), 2));
}

#[test]
fn a_task_moves_when_its_old_owner_has_released_it() {
    let mut a = Instance::load([host("b", epoch(1, "b-1"), 1, &[task(0)]).into()]);
    a.join(2, false);
    let members = [("a", "a-1"), ("b", "b-1")];
    let confirmed = a.read(assignment(2, 1, &members, &[(task(0), "a")]));
    assert_eq!(confirmed, [Action::UpdateEpoch { epoch: epoch(2, "a-1") }]);
    assert!(a.host().tasks.is_empty(), "not even claimed");
    assert_eq!(a.read(host("b", epoch(2, "b-1"), 3, &[])), [start(task(0), epoch(2, "a-1"))]);
    assert_eq!(a.read(host("b", epoch(2, "b-1"), 2, &[task(0)])), [], "an old record");
    assert_eq!(
        a.read(assignment(2, 2, &members, &[(task(0), "b")])),
        [Action::ReleaseTask { task: task(0), follow: None }]
    );
    assert_eq!(a.host().tasks[&task(0)].state, TaskState::Releasing);
    a.step(Event::Task { task: task(0), event: TaskEvent::Released });
    assert!(a.host().tasks.is_empty());
}

/// `b` follows an older assignment than `a` does, and its claim is on the topic before that of `a`.
#[test]
fn of_two_claims_the_later_waits() {
    let mut a = Instance::load([]);
    a.join(2, false);
    let assigned = assignment(2, 2, &[("a", "a-1"), ("b", "b-1")], &[(task(0), "a")]);
    let actions = a.coordinator.step(RETRY, Event::Metadata(assigned.into()));
    let [.., Action::PublishHost(claim)] = &actions[..] else { panic!("a claim") };
    assert_eq!(claim.tasks[&task(0)].state, TaskState::Claimed);
    assert_eq!(a.read(host("b", epoch(2, "b-1"), 1, &[task(0)])), []);
    assert_eq!(a.read(MetadataRecord::Host(claim.clone())), [], "claimed, but not free");
    assert_eq!(a.read(host("b", epoch(2, "b-1"), 2, &[])), [start(task(0), epoch(2, "a-1"))]);
}

#[test]
fn a_claim_ends_with_its_generation() {
    let mut a = Instance::load([]);
    a.join(2, false);
    let members = [("a", "a-1"), ("b", "b-1")];
    let actions = a.coordinator.step(RETRY, Event::Metadata(assignment(2, 2, &members, &[(task(0), "a")]).into()));
    let [.., Action::PublishHost(claim)] = &actions[..] else { panic!("a claim") };
    a.join(3, false);
    assert_eq!(a.read(MetadataRecord::Host(claim.clone())), []);
    let first = a.host();
    assert_eq!(
        (first.epoch.generation, first.tasks.len()),
        (3, 0),
        "the leader takes it for all that this instance has"
    );
}

#[test]
fn a_tombstone_of_an_instance_that_holds_tasks_does_not_free_them() {
    let mut a = Instance::load([host("b", epoch(1, "b-1"), 1, &[task(0)]).into()]);
    a.join(2, false);
    a.read(assignment(2, 2, &[("a", "a-1"), ("b", "b-1")], &[(task(0), "a")]));
    assert_eq!(a.read(MetadataRecord::HostGone("b".into())), [], "somebody else of its name wrote it");
    let started = a.read(assignment(2, 3, &[("a", "a-1")], &[(task(0), "a")]));
    assert_eq!(started, [start(task(0), epoch(2, "a-1"))], "now it is gone, and fenced");
}

#[test]
fn an_assignment_of_another_generation_starts_and_releases_nothing() {
    let mut a = Instance::load([]);
    let members = [("a", "a-1"), ("b", "b-1")];
    a.join(2, false);
    assert_eq!(a.read(assignment(3, 1, &members, &[(task(0), "a")])), []);
    assert_eq!(a.read(assignment(2, 9, &members, &[(task(1), "a")])), [], "the highest counts");
    let begun = a.join(3, false);
    assert_eq!(begun, [Action::UpdateEpoch { epoch: epoch(3, "a-1") }, start(task(0), epoch(3, "a-1"))]);
    a.join(4, false);
    assert_eq!(a.read(assignment(3, 2, &members, &[(task(0), "b")])), []);
    assert_eq!(a.host().tasks.len(), 1);
}

#[test]
fn a_member_that_crashed_is_fenced_before_its_tasks_are_assigned() {
    let mut a = Instance::load([
        host("b", epoch(1, "b-1"), 1, &[task(0)]).into(),
        assignment(1, 1, &[("b", "b-1")], &[(task(0), "b")]).into(),
    ]);
    a.join(2, true);
    let fence = Action::Fence {
        generation: 2,
        instance_id: "b".into(),
        transactional_ids: vec!["b-0".to_owned(), "b-1".to_owned()],
    };
    assert_eq!(a.answer(2, &[("a", "a-1")], &[task(0)]), std::slice::from_ref(&fence));
    let unreachable = LogError::Unavailable { what: "it".to_owned(), reason: "away".to_owned() };
    let answer = |result| Event::Fenced { generation: 2, instance_id: "b".into(), result };
    assert_eq!(a.step(answer(Err(unreachable))), []);
    assert_eq!(a.wait(RETRY), [fence]);
    assert_eq!(a.owner(task(0)), Some("b".into()), "confirmed, but not assigned yet");
    let epoch = epoch(2, "a-1");
    assert_eq!(a.step(answer(Ok(()))), [Action::UpdateEpoch { epoch: epoch.clone() }, start(task(0), epoch)]);
    assert_eq!(a.assignment().fenced, BTreeMap::from([("b".into(), "b-1".into())]));
    assert!(a.published.contains(&MetadataRecord::HostGone("b".into())), "nobody else cleans up");
}

#[test]
fn of_a_restarted_instance_only_producers_it_has_no_use_for_are_fenced() {
    let restarted = HostMetadata {
        incarnation: 60,
        transactional_ids: vec!["b-0".to_owned()],
        ..host("b", epoch(2, "b-2"), 1, &[])
    };
    let mut a = Instance::load([assignment(1, 1, &[("b", "b-1")], &[(task(0), "b")]).into(), restarted.into()]);
    a.join(2, true);
    let fence = a.answer(2, &[("a", "a-1"), ("b", "b-2")], &[task(0)]);
    let transactional_ids = vec!["b-1".to_owned()];
    assert_eq!(fence, [Action::Fence { generation: 2, instance_id: "b".into(), transactional_ids }]);
    a.step(Event::Fenced { generation: 2, instance_id: "b".into(), result: Ok(()) });
    a.wait(Settings::default().state_wait);
    assert_eq!(a.owner(task(0)), Some("b".into()), "it has its state");
}

/// `b` was to give a task to `a` and was restarted, with fewer producers: what it has left open is fenced by the next plan.
#[test]
fn nothing_is_started_while_a_restarted_instance_may_have_left_something_open() {
    let mut a = Instance::load([host("b", epoch(2, "b-1"), 1, &[task(0)]).into()]);
    a.join(2, false);
    a.read(assignment(2, 1, &[("a", "a-1"), ("b", "b-1")], &[(task(0), "a")]));
    let restarted = HostMetadata { incarnation: 60, ..host("b", epoch(3, "b-2"), 1, &[]) };
    let fewer = HostMetadata { transactional_ids: vec!["b-0".to_owned()], ..restarted.clone() };
    assert_eq!(a.read(fewer), []);
    assert_eq!(a.read(HostMetadata { seq: 2, ..restarted }), [start(task(0), epoch(2, "a-1"))]);
}

#[test]
fn a_silent_member_is_waited_for_and_then_keeps_what_it_has() {
    let owners = [(task(0), "b"), (task(1), "c"), (task(2), "c"), (task(3), "c")];
    let tasks: Vec<TaskId> = owners.iter().map(|(task, _)| *task).collect();
    let mut a = Instance::load([
        host("b", epoch(1, "b-1"), 1, &[task(0)]).into(),
        assignment(1, 1, &[("b", "b-1"), ("c", "c-1")], &owners).into(),
    ]);
    a.join(2, true);
    assert_eq!(a.answer(2, &[("a", "a-1"), ("b", "b-1")], &tasks), []);
    assert_eq!(a.wait(Duration::from_millis(2_900)), []);
    assert!(a.assignment().provisional, "it waits");
    assert!(matches!(&a.wait(Duration::from_millis(100))[..], [Action::Fence { .. }]));
    a.step(Event::Fenced { generation: 2, instance_id: "c".into(), result: Ok(()) });
    let of_b = |a: &Instance| a.assignment().tasks_of("b").into_keys().collect::<Vec<_>>();
    assert_eq!(of_b(&a), [task(0)]);
    a.read(host("b", epoch(2, "b-1"), 2, &[task(0)]));
    assert_eq!(of_b(&a).len(), 2, "its share, now that it has spoken");
}

/// Before its own record of the generation is read back, it may not know the last assignment.
#[test]
fn a_leader_that_has_not_read_its_own_record_publishes_no_assignment() {
    let mut a = Instance::load([]);
    let mut step = |event| a.coordinator.step(a.now, event);
    step(Event::Membership(MembershipEvent::Joined { epoch: epoch(2, "a-1"), leader: true }));
    let member = Member { member_id: "a-1".into(), client_id: "a".to_owned() };
    step(Event::Members { generation: 2, result: Ok(vec![member]) });
    step(Event::Topics { generation: 2, result: Ok(vec![PlanTask { task: task(0), stateful: true }]) });
    let actions = a.coordinator.step(Settings::default().report_deadline, Event::Tick);
    assert!(matches!(&actions[..], [Action::PublishHost(_)]), "again: {actions:?}");
}

/// `b` was restarted and is in the next generation already.
#[test]
fn a_leader_plans_no_more_when_its_generation_is_over() {
    let mut a = Instance::load([]);
    a.join(2, true);
    a.read(host("b", epoch(2, "b-1"), 1, &[]));
    a.answer(2, &[("a", "a-1"), ("b", "b-1")], &[task(0), task(1)]);
    let before = a.assignment();
    assert_eq!(before.members.len(), 2);
    a.read(HostMetadata { incarnation: 60, ..host("b", epoch(3, "b-2"), 1, &[]) });
    a.wait(Settings::default().report_deadline);
    assert_eq!(a.assignment(), before, "what `b` held is not given away");
}

#[test]
fn an_instance_that_the_leader_counts_as_gone_drops_everything() {
    let mut a = Instance::alone(task(0));
    a.join(2, false);
    assert_eq!(a.read(assignment(2, 1, &[("b", "b-1")], &[(task(0), "b")])), [Action::DropAll]);
    assert_eq!(a.step(Event::Task { task: task(0), event: TaskEvent::Running }), [], "of a task that is not there");
    assert_eq!(a.host().tasks.len(), 1, "it says nothing before everything is dropped");
    a.step(Event::AllDropped);
    assert!(a.host().tasks.is_empty());
}

#[test]
fn a_provisional_assignment_starts_releases_and_drops_nothing() {
    let provisional = |generation, members, owner| Assignment {
        provisional: true,
        ..assignment(generation, 1, members, &[(task(0), owner)])
    };
    let mut a = Instance::alone(task(0));
    a.join(2, false);
    let members = [("a", "a-1"), ("b", "b-1")];
    let confirmed = [Action::UpdateEpoch { epoch: epoch(2, "a-1") }];
    assert_eq!(
        a.read(provisional(2, &members, "b")),
        confirmed,
        "a late assignment of an old leader may have given it away"
    );
    a.join(3, false);
    assert_eq!(a.read(provisional(3, &members[1..], "b")), [], "or have counted it in");
    let mut b = Instance::load([]);
    b.join(2, false);
    assert_eq!(b.read(provisional(2, &members, "a")), confirmed);
    assert!(b.host().tasks.is_empty());
}

#[test]
fn a_lost_membership_drops_everything_before_the_next_epoch_is_published() {
    let mut a = Instance::alone(task(0));
    assert_eq!(a.step(Event::Membership(MembershipEvent::Lost { reason: "silent".to_owned() })), [Action::DropAll]);
    let published = a.published.len();
    let joined = MembershipEvent::Joined { epoch: epoch(3, "a-2"), leader: false };
    assert_eq!(a.step(Event::Membership(joined)), []);
    assert_eq!(a.read(assignment(3, 1, &[("a", "a-2")], &[(task(0), "a")])), [], "not even the epoch is confirmed");
    assert_eq!(a.published.len(), published);
    let dropped = a.coordinator.step(a.now, Event::AllDropped);
    let [Action::UpdateEpoch { .. }, Action::PublishHost(first)] = &dropped[..] else { panic!("{dropped:?}") };
    assert_eq!(first.epoch, epoch(3, "a-2"));
    let started = a.read(MetadataRecord::Host(first.clone()));
    assert_eq!(started, [start(task(0), epoch(3, "a-2"))]);
}

#[test]
fn another_topology_is_fatal_for_the_member_that_differs() {
    let differs = Assignment { topology_fingerprint: "g".to_owned(), ..assignment(2, 1, &[("a", "a-1")], &[]) };
    let mut member = Instance::load([]);
    member.join(2, false);
    let error = ClusterError::TopologyMismatch {
        instance_id: "a".into(),
        fingerprint: "f".to_owned(),
        leader: "b".into(),
        cluster_fingerprint: "g".to_owned(),
    };
    assert_eq!(member.read(differs.clone()), [Action::DropAll, Action::Fatal(error.clone())]);
    assert_eq!(member.step(Event::Tick), [], "it is out");

    let other = |generation| HostMetadata {
        topology_fingerprint: "g".to_owned(),
        ..host("b", epoch(generation, "b-1"), 1, &[])
    };
    let mut leader = Instance::load([differs.clone().into(), other(3).into()]);
    leader.join(3, true);
    let fatal = leader.answer(3, &[("a", "a-1"), ("b", "b-1")], &[task(0)]);
    assert_eq!(fatal, [Action::DropAll, Action::Fatal(error)], "the running cluster decides, not who leads");

    let mut upgraded = Instance::load([differs.into()]);
    upgraded.join(3, true);
    upgraded.answer(3, &[("a", "a-1")], &[task(0)]);
    upgraded.wait(Settings::default().state_wait);
    assert_eq!(upgraded.assignment().topology_fingerprint, "f", "nobody runs the old one any more");
}

#[test]
fn a_later_process_of_the_same_name_is_fatal_and_an_earlier_one_is_answered() {
    let mut a = Instance::alone(task(0));
    let earlier = HostMetadata { incarnation: 99, ..host("a", epoch(1, "a-0"), 9, &[]) };
    let seq = a.host().seq;
    a.read(earlier);
    assert_eq!(a.host().seq, seq + 1, "compaction must not keep the other one");
    a.read(MetadataRecord::HostGone("a".into()));
    assert_eq!(a.host().seq, seq + 2);
    let fatal = a.read(HostMetadata { incarnation: 101, ..host("a", epoch(1, "a-2"), 1, &[]) });
    let error = ClusterError::Superseded { instance_id: "a".into(), incarnation: 100, by: 101 };
    assert_eq!(fatal, [Action::DropAll, Action::Fatal(error)]);
    assert!(!a.published.contains(&MetadataRecord::HostGone("a".into())), "the record is not its own any more");
}

#[test]
fn a_start_is_later_than_every_earlier_one_whatever_the_clock_says() {
    let mut a = Instance::load([HostMetadata { incarnation: 500, ..host("a", epoch(1, "a-0"), 9, &[]) }.into()]);
    a.join(2, false);
    assert_eq!((a.host().incarnation, a.host().seq), (601, 1));
}

#[test]
fn a_failed_task_moves_and_is_tried_again_when_there_is_nowhere_to_go() {
    let mut a = Instance::alone(task(0));
    assert_eq!(a.step(failed(task(0))), []);
    assert_eq!(a.host().tasks[&task(0)].reason.as_deref(), Some("no space left"));
    assert_eq!(a.wait(Duration::from_millis(4_900)), []);
    assert_eq!(a.wait(Duration::from_millis(100)), [start(task(0), epoch(1, "a-1"))]);
    let retried = &a.host().tasks[&task(0)];
    assert_eq!((retried.state, retried.reason.is_some()), (TaskState::Restoring, true), "no reason to move it back");
    a.step(Event::Task { task: task(0), event: TaskEvent::Running });
    assert_eq!(a.host().tasks[&task(0)].reason, None);
    a.step(failed(task(0)));
    assert_eq!(a.wait(Duration::from_secs(9)), [], "twice as long");
    a.join(2, true);
    a.read(host("b", epoch(2, "b-1"), 1, &[]));
    a.answer(2, &[("a", "a-1"), ("b", "b-1")], &[task(0)]);
    assert_eq!(a.owner(task(0)), Some("b".into()));
    assert_eq!(a.assignment().tasks[&task(0)].reason, Reason::Failure);
}

#[test]
fn a_dropped_task_starts_again_at_once_but_not_for_ever() {
    let mut a = Instance::alone(task(0));
    let dropped = || Event::Task { task: task(0), event: TaskEvent::Dropped { reason: "fenced".to_owned() } };
    assert_eq!(a.step(dropped()), [start(task(0), epoch(1, "a-1"))]);
    assert_eq!(a.step(dropped()), []);
    assert!(a.host().tasks.is_empty(), "it did not fail");
    assert_eq!(a.wait(Duration::from_secs(5)), [start(task(0), epoch(1, "a-1"))]);
}

#[test]
fn a_stop_releases_then_says_so_then_takes_its_record_back() {
    let mut a = Instance::alone(task(0));
    assert_eq!(a.step(Event::Stop), [Action::ReleaseTask { task: task(0), follow: None }]);
    assert!(a.host().draining);
    assert_eq!(a.step(Event::Task { task: task(0), event: TaskEvent::Released }), [Action::Stopped]);
    let [.., MetadataRecord::Host(last), MetadataRecord::HostGone(gone)] = &a.published[..] else {
        panic!("a tombstone")
    };
    assert_eq!((&**gone, last.tasks.len()), ("a", 0));
    assert_eq!(a.step(Event::Tick), []);
    assert_eq!(
        Coordinator::step(&mut Instance::load([]).coordinator, RETRY, Event::Stop).last(),
        Some(&Action::Stopped)
    );
}

#[test]
fn a_draining_instance_is_done_when_it_has_nothing_and_shall_have_nothing() {
    let mut a = Instance::alone(task(0));
    assert_eq!(a.step(Event::Drain), [], "there is nobody else");
    a.join(2, true);
    a.read(host("b", epoch(2, "b-1"), 1, &[]));
    assert_eq!(a.answer(2, &[("a", "a-1"), ("b", "b-1")], &[task(0)]), [], "the other one has to catch up first");
    let report = TaskReport { role: Role::WarmUp, ..host("b", epoch(2, "b-1"), 1, &[task(0)]).tasks[&task(0)].clone() };
    let warm = HostMetadata { tasks: BTreeMap::from([(task(0), report)]), ..host("b", epoch(2, "b-1"), 2, &[]) };
    assert_eq!(a.read(warm), [Action::ReleaseTask { task: task(0), follow: None }]);
    assert_eq!(a.step(Event::Task { task: task(0), event: TaskEvent::Released }), [Action::Drained]);
    assert_eq!(a.step(Event::Tick), [], "said once");
}

#[test]
fn topics_that_cannot_be_checked_are_asked_for_again() {
    let mut a = Instance::load([]);
    a.join(1, true);
    let error = LogError::Unavailable { what: "checking the topics".to_owned(), reason: "away".to_owned() };
    a.step(Event::Topics { generation: 1, result: Err(error) });
    assert_eq!(a.wait(RETRY), [Action::CheckTopics { generation: 1 }]);
    assert_eq!(a.wait(Settings::default().answer_deadline).len(), 2, "neither question was answered");
}

#[test]
fn what_does_not_arrive_on_the_topic_is_published_again() {
    let mut a = Instance::load([]);
    let joined = MembershipEvent::Joined { epoch: epoch(1, "a-1"), leader: false };
    let publishes = |actions: Vec<Action>| actions.iter().filter(|a| matches!(a, Action::PublishHost(_))).count();
    assert_eq!(publishes(a.coordinator.step(Duration::ZERO, Event::Membership(joined))), 1);
    assert_eq!(publishes(a.coordinator.step(RETRY / 2, Event::Tick)), 0);
    assert_eq!(publishes(a.coordinator.step(RETRY, Event::Tick)), 1);
}

/// The group was deleted while nobody was there: its generations begin at 1, the topic still knows generation 70.
#[test]
fn a_group_that_counts_anew_begins_a_new_term() {
    let old = assignment(70, 2, &[("b", "b-1")], &[(task(0), "b")]);
    let mut a = Instance::load([old.clone().into()]);
    a.join(1, true);
    a.answer(1, &[("a", "a-1")], &[task(0)]);
    a.step(Event::Fenced { generation: 1, instance_id: "b".into(), result: Ok(()) });
    a.wait(Settings::default().state_wait);
    assert_eq!(a.assignment().order().to_string(), "1.1.1");
    assert_eq!(a.host().tasks.len(), 1);

    let mut old_leader = Instance::load([old.into()]);
    old_leader.join(69, true);
    old_leader.answer(69, &[("a", "a-1"), ("b", "b-1")], &[task(0)]);
    old_leader.wait(Settings::default().report_deadline);
    assert!(!old_leader.published.iter().any(|record| matches!(record, MetadataRecord::Assignment(_))));
}

/// After a stop of all: what was assigned last was never carried out, and the first to come has only a part of the state.
#[test]
fn a_cluster_that_starts_again_waits_for_those_who_have_the_state() {
    let state = |task: TaskId| BTreeMap::from([(task, Offsets::from_iter([(TopicPartition::new("c", 0), 7)]))]);
    let last = assignment(4, 9, &[("a", "a-0"), ("b", "b-0")], &[(task(0), "a"), (task(1), "a")]);
    let started = || {
        let mut a = Instance::load([last.clone().into()]);
        a.step(Event::Offsets(state(task(0))));
        a.join(5, true);
        a.answer(5, &[("a", "a-1")], &[task(0), task(1)]);
        a
    };
    let fence = |a: &mut Instance, generation| {
        for instance_id in ["a", "b"] {
            a.step(Event::Fenced { generation, instance_id: instance_id.into(), result: Ok(()) });
        }
    };
    let published = |a: &Instance| a.published.iter().any(|record| matches!(record, MetadataRecord::Assignment(_)));
    let mut a = started();
    fence(&mut a, 5);
    assert!(!published(&a));
    a.wait(Settings::default().state_wait);
    assert_eq!(a.assignment().tasks_of("a").len(), 2, "but not for ever");

    let mut a = started();
    a.join(6, true);
    a.read(HostMetadata { stored: state(task(1)), ..host("b", epoch(6, "b-1"), 1, &[]) });
    a.answer(6, &[("a", "a-1"), ("b", "b-1")], &[task(0), task(1)]);
    fence(&mut a, 6);
    assert_eq!([0, 1].map(|n| a.owner(task(n)).expect("an owner").to_string()), ["a", "b"]);
}

#[test]
fn offsets_are_published_now_and_then() {
    let mut a = Instance::alone(task(0));
    let partition = TopicPartition::new("changelog", 0);
    let offsets = |offset| Offsets::from_iter([(partition.clone(), offset)]);
    let seq = a.host().seq;
    a.step(Event::Offsets(BTreeMap::from([(task(0), offsets(7)), (task(1), offsets(8))])));
    assert_eq!(a.host().seq, seq, "not at once");
    a.wait(Settings::default().offsets_interval);
    assert_eq!((&a.host().tasks[&task(0)].offsets, &a.host().stored[&task(1)]), (&offsets(7), &offsets(8)));
    a.wait(Settings::default().offsets_interval);
    assert_eq!(a.host().seq, seq + 1, "not when nothing is new");
}
