//! The world: what happens, what is asked of it, what must hold.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

mod checks;

use super::rng::Rng;
use crate::{
    cluster::{
        Action, Assignment, ClusterError, Coordinator, Event, Identity, InstanceId, MetadataRecord, Offsets, PlanTask,
        Role, Settings, TaskEvent, TaskState,
    },
    log::{Epoch, LogError, Member, MembershipEvent, TopicPartition},
    state::TaskId,
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

pub(super) struct World {
    rng: Rng,
    seed: u64,
    now: Duration,
    log: Vec<MetadataRecord>,
    generation: i32,
    /// Member id and process, in the order in which they came.
    members: Vec<(Arc<str>, usize)>,
    leader: Option<Arc<str>>,
    next_member: u32,
    /// The current epoch of each transactional id.
    producers: BTreeMap<String, u64>,
    tasks: Vec<PlanTask>,
    processes: Vec<Process>,
    calm: bool,
    assignments: usize,
}

/// One start of an instance. It stays here when it is dead, for what it may have left open.
struct Process {
    name: InstanceId,
    alive: bool,
    coordinator: Coordinator,
    /// How much of the log it has read.
    read: usize,
    loaded: bool,
    loaded_at: usize,
    incarnation: Option<u64>,
    /// The highest assignment it has read.
    assignment: Option<Arc<Assignment>>,
    membership: VecDeque<MembershipEvent>,
    /// Answers to be given, and the ids that are fenced with them.
    answers: Vec<(Event, Vec<String>)>,
    /// To be appended to the log.
    outbox: VecDeque<MetadataRecord>,
    runs: BTreeMap<TaskId, Run>,
    reports: VecDeque<Event>,
    drop_ordered: bool,
    /// The epochs of its own producers.
    sessions: BTreeMap<String, u64>,
    /// What its tasks commit with.
    epoch: Option<Epoch>,
    stopping: bool,
    wants_to_join: bool,
    /// It does nothing till then.
    stalled_until: Duration,
    /// Its producers were initialised when the log had this many records: nothing is committed before they are read.
    barrier: usize,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    role: Role,
    state: TaskState,
    /// In which role it goes on when it is released.
    follow: Option<Role>,
    /// Started by a member of the group, not by one that was out and did not know it yet.
    inside: bool,
}

// === impl Run ===

impl Run {
    fn begun(role: Role, inside: bool) -> Self {
        Self { role, state: TaskState::Restoring, follow: None, inside }
    }
}

// === impl World: what happens ===

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let partitions = [1 + rng.below(6), 1 + rng.below(6)];
        let sub_topologies = partitions.iter().enumerate().take(1 + rng.below(2));
        let tasks = sub_topologies.flat_map(|(s, count)| {
            (0..*count).map(move |p| PlanTask { task: TaskId::new(s as u32, p as i32), stateful: s == 0 })
        });
        let tasks = tasks.collect();
        let mut world = Self {
            rng,
            seed,
            now: Duration::ZERO,
            log: Vec::new(),
            generation: 0,
            members: Vec::new(),
            leader: None,
            next_member: 0,
            producers: BTreeMap::new(),
            tasks,
            processes: Vec::new(),
            calm: false,
            assignments: 0,
        };
        for name in &NAMES[..1 + world.rng.below(3)] {
            world.start((*name).into());
        }
        world
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.log.iter().map(|record| format!("{record:?}")).collect()
    }

    /// One thing happens.
    pub(super) fn chaos(&mut self) {
        let alive = self.alive();
        let Some(p) = self.rng.pick(&alive) else {
            let name = self.rng.pick(&NAMES).expect("names").into();
            return self.start(name);
        };
        if self.processes[p].stalled_until > self.now {
            return self.tick();
        }
        match self.rng.below(1000) {
            0..=299 => drop(self.read(p)),
            300..=449 => drop(self.append(p)),
            450..=569 => drop(self.hear(p)),
            570..=689 => drop(self.answer(p)),
            690..=899 => drop(self.work(p)),
            900..=969 => self.tick(),
            970..=973 => self.start_any(),
            974 => self.suspect(p),
            975..=978 => self.crash(p),
            979..=981 => self.evict(p),
            982..=984 => self.stop(p),
            985..=986 => self.fail_task(p),
            987 => self.fall_behind(p),
            989..=991 => self.processes[p].stalled_until = self.now + Duration::from_secs(5),
            992..=995 => self.detect_fence(p),
            _ => self.time_out_the_dead(),
        }
        self.check();
    }

    /// No more faults: everything under way arrives, and time passes.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        for _ in 0..150 {
            // Of two processes of one name the one that goes on may be the one that was asked to stop.
            if self.alive().iter().all(|p| self.processes[*p].stopping) {
                self.start("z".into());
            }
            self.settle();
            for p in self.alive() {
                self.suspect(p);
            }
            self.tick();
        }
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "seed {}: it never ends", self.seed);
            self.time_out_the_dead();
            let mut moved = false;
            for p in self.alive() {
                self.detect_fence(p);
                moved |= self.append(p) | self.hear(p) | self.read(p) | self.answer(p) | self.work(p);
                self.check();
            }
            if !moved {
                return;
            }
        }
    }

    fn standbys(&self) -> usize {
        [1, 0, 2][(self.seed % 3) as usize]
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|p| self.processes[*p].alive).collect()
    }

    fn start_any(&mut self) {
        let name = self.rng.pick(&NAMES).expect("names");
        let running = self.alive().into_iter().any(|p| *self.processes[p].name == *name);
        // Seldom, a second process is started under a name that is in use.
        if !running || self.rng.percent(15) {
            self.start(name.into());
        }
    }

    fn start(&mut self, name: InstanceId) {
        let transactional_ids: Vec<_> = (0..1 + self.rng.below(2)).map(|n| format!("{name}-{n}")).collect();
        let skew = self.rng.below(20_000) as u64;
        let identity = Identity {
            instance_id: name.clone(),
            // No two processes in the same ms, modulo 1000.
            started_ms: (self.now.as_millis() as u64 + skew) / 20 * 20 + self.processes.len() as u64 % 20,
            url: format!("http://{name}"),
            zone: self.seed.is_multiple_of(2).then(|| (name.as_bytes()[0] % 3).to_string()),
            capacity: 1,
            transactional_ids: transactional_ids.clone(),
            topology_fingerprint: "f".to_owned(),
        };
        let settings = Settings {
            failure_memory: Duration::from_secs(20),
            answer_deadline: Duration::from_secs(8),
            num_standby_replicas: self.standbys(),
            max_warmup_replicas: [2, 1, 0, 3][(self.seed % 4) as usize],
            standby_replacement_delay: Duration::from_secs([0, 3, 12][(self.seed % 3) as usize]),
            evicts: !self.seed.is_multiple_of(5),
            ..Settings::default()
        };
        let mut process = Process {
            name,
            alive: true,
            coordinator: Coordinator::new(identity, settings),
            read: 0,
            loaded: false,
            loaded_at: 0,
            incarnation: None,
            assignment: None,
            membership: VecDeque::new(),
            answers: Vec::new(),
            outbox: VecDeque::new(),
            runs: BTreeMap::new(),
            reports: VecDeque::new(),
            drop_ordered: false,
            sessions: BTreeMap::new(),
            epoch: None,
            stopping: false,
            wants_to_join: true,
            stalled_until: Duration::ZERO,
            barrier: 0,
        };
        initialise(&mut self.producers, &mut process.sessions, transactional_ids);
        self.processes.push(process);
    }

    fn crash(&mut self, p: usize) {
        self.processes[p].alive = false;
        self.processes[p].outbox.clear();
    }

    /// The group puts a live member out; it hears of it some time.
    fn evict(&mut self, p: usize) {
        if self.is_member(p) {
            self.members.retain(|(_, process)| *process != p);
            self.processes[p].membership.push_back(MembershipEvent::Lost { reason: "silent".to_owned() });
            self.begin_generation();
        }
    }

    fn stop(&mut self, p: usize) {
        self.processes[p].stopping = true;
        let event = if self.rng.percent(50) { Event::Stop } else { Event::Drain };
        self.step(p, event);
    }

    fn fail_task(&mut self, p: usize) {
        let runs: Vec<TaskId> = self.processes[p].runs.keys().copied().collect();
        if let Some(task) = self.rng.pick(&runs) {
            self.processes[p].runs.remove(&task);
            let event = TaskEvent::Failed { reason: "bad luck".to_owned() };
            self.processes[p].reports.push_back(Event::Task { task, event });
        }
    }

    /// A standby or warm-up does not keep up.
    fn fall_behind(&mut self, p: usize) {
        let caught_up = |run: &Run| run.role != Role::Active && run.state == TaskState::Running;
        let process = &mut self.processes[p];
        let followers: Vec<TaskId> =
            process.runs.iter().filter(|(_, run)| caught_up(run)).map(|(task, _)| *task).collect();
        if let Some(task) = self.rng.pick(&followers) {
            let process = &mut self.processes[p];
            process.runs.entry(task).and_modify(|run| run.state = TaskState::Restoring);
            process.reports.push_back(Event::Task { task, event: TaskEvent::Restoring });
        }
    }

    /// The workers notice that their producers are fenced: they drop their tasks and initialise them anew.
    fn detect_fence(&mut self, p: usize) {
        if self.sessions_are_valid(p) {
            return;
        }
        let process = &mut self.processes[p];
        for (task, _) in std::mem::take(&mut process.runs) {
            let event = TaskEvent::Dropped { reason: "fenced".to_owned() };
            process.reports.push_back(Event::Task { task, event });
        }
        let ids: Vec<_> = process.sessions.keys().cloned().collect();
        self.initialise_again(p, ids);
    }

    /// Not when a later process of the same name owns the ids: two of them would fence each other for ever.
    fn initialise_again(&mut self, p: usize, ids: Vec<String>) {
        let is_owner = |other: &Process| other.alive && other.name == self.processes[p].name;
        if !self.processes[p + 1..].iter().any(is_owner) {
            initialise(&mut self.producers, &mut self.processes[p].sessions, ids);
            self.processes[p].barrier = self.log.len();
        }
    }

    /// A process does not hear some others for a while, be they dead or not. When all is calm, it hears who is there.
    fn suspect(&mut self, p: usize) {
        let mut suspects = BTreeMap::new();
        for (_, instance) in
            self.processes[p].coordinator.view().instances.iter().filter(|(id, _)| **id != self.processes[p].name)
        {
            let dead = self.processes.iter().all(|other| !other.alive || other.name != instance.host.instance_id);
            let silent = if self.calm { dead } else { self.rng.percent(if dead { 90 } else { 20 }) };
            if silent {
                suspects.insert(instance.host.instance_id.clone(), instance.host.epoch.member_id.clone());
            }
        }
        self.step(p, Event::Suspects(suspects));
    }

    /// Whether it has read what was there when it initialised its producers.
    fn is_past_barrier(&self, p: usize) -> bool {
        self.processes[p].read >= self.processes[p].barrier
    }

    /// Whether its membership was evicted before its producers were initialised last: it will find that out.
    fn is_evicted(&self, p: usize) -> bool {
        let member = self.members.iter().find(|(_, process)| *process == p).map(|(member_id, _)| member_id);
        self.log[..self.processes[p].barrier]
            .iter()
            .any(|record| matches!(record, MetadataRecord::Eviction(eviction) if Some(&eviction.member_id) == member))
    }

    /// The session timeout of members that are dead.
    fn time_out_the_dead(&mut self) {
        let before = self.members.len();
        self.members.retain(|(_, p)| self.processes[*p].alive);
        if self.members.len() != before {
            self.begin_generation();
        }
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(50 + self.rng.below(450) as u64);
        for p in self.alive() {
            let stalled = self.processes[p].stalled_until > self.now;
            if self.calm || (!stalled && self.rng.percent(70)) {
                self.step(p, Event::Tick);
            }
        }
    }

    fn begin_generation(&mut self) {
        self.members.retain(|(_, p)| self.processes[*p].alive);
        if self.members.is_empty() && self.rng.percent(30) {
            // The group has expired.
            self.generation = 0;
            self.leader = None;
            return;
        }
        self.generation += 1;
        let ids: Vec<_> = self.members.iter().map(|(id, _)| id.clone()).collect();
        if self.leader.as_ref().is_none_or(|leader| !ids.contains(leader)) {
            let leader = self.rng.below(ids.len().max(1));
            self.leader = ids.get(leader).cloned();
        }
        for (member_id, p) in &self.members {
            let epoch = Epoch { generation: self.generation, member_id: member_id.clone() };
            let leader = self.leader.as_ref() == Some(member_id);
            self.processes[*p].membership.push_back(MembershipEvent::Joined { epoch, leader });
        }
    }
}

// === impl World: what is under way arrives ===

impl World {
    /// A record is read from the log.
    fn read(&mut self, p: usize) -> bool {
        let process = &mut self.processes[p];
        let Some(record) = self.log.get(process.read).cloned() else {
            if process.loaded {
                return false;
            }
            process.loaded = true;
            process.loaded_at = process.read;
            self.step(p, Event::MetadataLoaded);
            return true;
        };
        process.read += 1;
        let record = if self.seed.is_multiple_of(64) { through_json(&record) } else { record };
        if let MetadataRecord::Assignment(assignment) = &record
            && process.assignment.as_ref().is_none_or(|known| known.order() < assignment.order())
        {
            process.assignment = Some(assignment.clone());
        }
        self.step(p, Event::Metadata(record));
        true
    }

    /// A record is appended to the log, or lost on the way.
    fn append(&mut self, p: usize) -> bool {
        let Some(record) = self.processes[p].outbox.pop_front() else { return false };
        if self.calm || !self.rng.percent(3) {
            self.assignments += usize::from(matches!(record, MetadataRecord::Assignment(_)));
            self.log.push(record);
        }
        true
    }

    /// Membership tells something.
    fn hear(&mut self, p: usize) -> bool {
        if !self.processes[p].loaded {
            return false;
        }
        if let Some(event) = self.processes[p].membership.pop_front() {
            self.processes[p].wants_to_join |= matches!(event, MembershipEvent::Lost { .. });
            self.step(p, Event::Membership(event));
            return true;
        }
        if self.processes[p].alive && std::mem::take(&mut self.processes[p].wants_to_join) {
            self.next_member += 1;
            let member_id = format!("{}-{}", self.processes[p].name, self.next_member).into();
            self.members.push((member_id, p));
            self.begin_generation();
            return true;
        }
        false
    }

    /// A question is answered; not in the order in which they were asked.
    fn answer(&mut self, p: usize) -> bool {
        if self.processes[p].answers.is_empty() {
            return false;
        }
        let which = self.rng.below(self.processes[p].answers.len());
        let (mut event, to_fence) = self.processes[p].answers.swap_remove(which);
        if !self.calm && self.rng.percent(3) {
            return true;
        }
        let fails = !self.calm && self.rng.percent(10);
        let error = || LogError::Unavailable { what: "it".to_owned(), reason: "chance".to_owned() };
        match &mut event {
            Event::Members { result, .. } => {
                let members = self.members.iter().map(|(member_id, process)| Member {
                    member_id: member_id.clone(),
                    client_id: self.processes[*process].name.to_string(),
                });
                *result = if fails { Err(error()) } else { Ok(members.collect()) };
            }
            Event::Topics { result, .. } if fails => {
                *result = Err(error());
            }
            Event::Fenced { result, .. } => {
                if fails {
                    *result = Err(error());
                }
                // An error does not say that nothing was fenced.
                let fenced = if fails { to_fence.len() / 2 } else { to_fence.len() };
                for id in &to_fence[..fenced] {
                    *self.producers.get_mut(id).expect("an id of a process") += 1;
                }
            }
            _ => {}
        }
        self.step(p, event);
        true
    }

    /// The runtime goes on with one thing.
    fn work(&mut self, p: usize) -> bool {
        let process = &mut self.processes[p];
        if process.drop_ordered {
            process.drop_ordered = false;
            process.runs.clear();
            process.reports.clear();
            let ids: Vec<_> = process.sessions.keys().cloned().collect();
            self.initialise_again(p, ids);
            self.step(p, Event::AllDropped);
            return true;
        }
        if let Some(event) = process.reports.pop_front() {
            self.step(p, event);
            return true;
        }
        let unfinished: Vec<TaskId> = process
            .runs
            .iter()
            .filter(|(_, run)| matches!(run.state, TaskState::Restoring | TaskState::Releasing))
            .map(|(task, _)| *task)
            .collect();
        let Some(task) = self.rng.pick(&unfinished) else { return false };
        let process = &mut self.processes[p];
        let run = process.runs.get_mut(&task).expect("one of them");
        let event = if run.state == TaskState::Releasing {
            match run.follow.take() {
                Some(role) => *run = Run { role, state: TaskState::Restoring, ..*run },
                None => drop(process.runs.remove(&task)),
            }
            TaskEvent::Released
        } else {
            run.state = TaskState::Running;
            TaskEvent::Running
        };
        process.reports.push_back(Event::Task { task, event });
        let partition = |task: &TaskId| TopicPartition::new("changelog", task.partition);
        let offsets = process.runs.keys().map(|task| (*task, Offsets::from_iter([(partition(task), 5)]))).collect();
        process.reports.push_back(Event::Offsets(offsets));
        true
    }
}

// === impl World: actions ===

impl World {
    fn step(&mut self, p: usize, event: Event) {
        let actions = self.processes[p].coordinator.step(self.now, event);
        for action in actions {
            self.act(p, action);
        }
    }

    fn act(&mut self, p: usize, action: Action) {
        let process = &mut self.processes[p];
        match action {
            Action::PublishHost(host) => {
                process.incarnation = Some(host.incarnation);
                process.outbox.push_back(MetadataRecord::Host(host));
            }
            Action::PublishAssignment(assignment) => process.outbox.push_back(MetadataRecord::Assignment(assignment)),
            Action::PublishTombstone { instance_id } => process.outbox.push_back(MetadataRecord::HostGone(instance_id)),
            Action::PublishEviction(eviction) => process.outbox.push_back(MetadataRecord::Eviction(eviction)),
            Action::PublishEvictionTombstone { instance_id } => {
                process.outbox.push_back(MetadataRecord::EvictionGone(instance_id));
            }
            Action::Evicted => {}
            Action::Rejoin => {
                process.membership.clear();
                process.wants_to_join = true;
                self.members.retain(|(_, process)| *process != p);
                self.begin_generation();
            }
            Action::QueryMembers { generation } => {
                process.answers.push((Event::Members { generation, result: Ok(Vec::new()) }, Vec::new()));
            }
            Action::CheckTopics { generation } => {
                process.answers.push((Event::Topics { generation, result: Ok(self.tasks.clone()) }, Vec::new()));
            }
            Action::Fence { generation, instance_id, transactional_ids } => {
                process.answers.push((Event::Fenced { generation, instance_id, result: Ok(()) }, transactional_ids));
            }
            Action::StartTask { task, role, epoch } => {
                if role == Role::Active {
                    self.check_start(p, task, &epoch);
                }
                let inside = self.is_member(p);
                let before = self.processes[p].runs.insert(task, Run::begun(role, inside));
                assert!(before.is_none(), "seed {}: {task} is started twice", self.seed);
            }
            Action::PromoteTask { task, epoch } => {
                self.check_start(p, task, &epoch);
                let inside = self.is_member(p);
                if let Some(run) = self.processes[p].runs.get_mut(&task) {
                    *run = Run::begun(Role::Active, inside);
                }
            }
            Action::ReleaseTask { task, follow } => {
                self.check_release(p, task);
                if let Some(run) = self.processes[p].runs.get_mut(&task) {
                    (run.state, run.follow) = (TaskState::Releasing, follow);
                }
            }
            Action::FollowAs { task, role } => {
                if let Some(run) = self.processes[p].runs.get_mut(&task) {
                    assert!(run.role != Role::Active && role != Role::Active, "seed {}: {task}", self.seed);
                    run.role = role;
                }
            }
            Action::DropAll => {
                process.drop_ordered = true;
                let evicted = self.log.iter().any(|record| {
                    matches!(record, MetadataRecord::Eviction(eviction)
                        if self.members.iter().any(|(id, process)| *process == p && *id == eviction.member_id))
                });
                let out = !self.is_member(p) || self.has_namesake(p) || evicted;
                assert!(out, "seed {}: {} drops everything and is a member", self.seed, self.processes[p].name);
            }
            Action::UpdateEpoch { epoch } => process.epoch = Some(epoch),
            Action::Drained => self.step(p, Event::Stop),
            Action::Stopped => {
                let idle = process.runs.is_empty();
                assert!(idle, "seed {}: {} stops with tasks", self.seed, self.processes[p].name);
                while self.append(p) {}
                self.leave(p);
            }
            Action::Fatal(error) => {
                let superseded = matches!(error, ClusterError::Superseded { .. }) && self.has_namesake(p);
                assert!(superseded, "seed {}: {error}", self.seed);
                self.processes[p].runs.clear();
                self.leave(p);
            }
        }
    }

    fn leave(&mut self, p: usize) {
        self.processes[p].alive = false;
        self.time_out_the_dead();
    }

    fn is_member(&self, p: usize) -> bool {
        self.members.iter().any(|(_, process)| *process == p)
    }

    /// Whether another process of the same name has spoken since this one has begun.
    fn has_namesake(&self, p: usize) -> bool {
        let process = &self.processes[p];
        self.log[process.loaded_at..].iter().any(|record| {
            matches!(record, MetadataRecord::Host(host)
                if host.instance_id == process.name && Some(host.incarnation) != process.incarnation)
        })
    }

    fn sessions_are_valid(&self, p: usize) -> bool {
        self.processes[p].sessions.iter().all(|(id, epoch)| self.producers[id] == *epoch)
    }
}

/// A new session under each id.
fn initialise(producers: &mut BTreeMap<String, u64>, sessions: &mut BTreeMap<String, u64>, ids: Vec<String>) {
    for id in ids {
        let epoch = producers.entry(id.clone()).or_default();
        *epoch += 1;
        sessions.insert(id, *epoch);
    }
}

fn through_json(record: &MetadataRecord) -> MetadataRecord {
    MetadataRecord::decode(Some(record.key().as_bytes()), record.value().as_deref()).expect("what was written")
}
